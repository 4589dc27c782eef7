//! What `unstick serve` answers with.

use std::path::Path;

use unstick_core::services::{Echo, Files, Info};
use unstick_core::{Route, Service};
use unstick_std::{Directory, Shell, udp};

use crate::args::Serve;
use crate::failure::Failure;

/// How many octets of an echo are held while they wait to be sent back.
const ECHO_LEN: usize = 4 * 1024;
/// The room for lines of `list`, and for what is read of a file to be digested, in octets.
const LINES_LEN: usize = 16 * 1024;
/// What peers are answered with.
pub struct Services {
    info: Info,
    allow_exec: bool,
    files: Option<Directory>,
}

impl Services {
    /// As the command line asks for.
    pub fn new(args: &Serve, with_udp: bool) -> Result<Self, Failure> {
        let files = args.root.as_deref();
        Ok(Self {
            info: info_of(args, with_udp),
            allow_exec: args.allow_exec,
            files: files.map(|root| open(root, args.writable)).transpose()?,
        })
    }

    /// What answers a peer over a stream.
    pub fn stream(&self) -> impl Service + Send + use<> {
        self.service(u64::MAX)
    }

    /// What answers a peer in datagrams, with so many octets of a file in each.
    pub fn datagram(&self, frame_len: u64) -> impl Service + Send + use<> {
        self.service(frame_len)
    }

    fn service(&self, frame_len: u64) -> impl Service + Send + use<> {
        let shell = if self.allow_exec {
            Shell::new()
        } else {
            Shell::disabled()
        };
        let files = self.files.clone();
        let files = files.map(|files| Files::<_, LINES_LEN>::new(files).with_frame_len(frame_len));
        Echo::<ECHO_LEN>::new()
            .or(self.info.into_service())
            .or(shell)
            .or(files)
    }
}

/// The directory whose files are served.
fn open(root: &Path, writable: bool) -> Result<Directory, Failure> {
    let directory = Directory::open(root);
    let cannot = format_args!("cannot serve the files in {}", root.display());
    let directory = directory.map_err(|error| Failure::io(cannot, &error))?;
    Ok(directory.writable(writable))
}

fn info_of(args: &Serve, with_udp: bool) -> Info {
    Info {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        max_header: args.max_header as u64,
        max_body: args.max_body,
        max_datagram: if with_udp {
            udp::MAX_DATAGRAM as u64
        } else {
            0
        },
        ops: ops(args),
    }
}

/// What is carried out, for as long as this process is there.
fn ops(args: &Serve) -> &'static [&'static str] {
    let (exec, read) = (args.allow_exec, args.root.is_some());
    let ops = [
        ("echo", true),
        ("exec", exec),
        ("get", read),
        ("info", true),
        ("list", read),
        ("put", args.writable),
        ("stat", read),
    ];
    let served = ops
        .into_iter()
        .filter_map(|(op, is_served)| is_served.then_some(op));
    served.collect::<Vec<_>>().leak()
}

//! What `unstick serve` answers with.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;

use unstick_core::services::{Echo, Files, Info};
use unstick_core::{Route, Service};
use unstick_std::{Directory, Shell, udp};

use crate::args::Serve;
use crate::failure::Failure;
use crate::listen::Listen;
use crate::metrics::{Counted, Requests};
use crate::over_tcp::OverTcp;

/// How many octets of an echo are held while they wait to be sent back.
const ECHO_LEN: usize = 4 * 1024;
/// The room for lines of `list`, and for what is read of a file to be digested, in octets.
const LINES_LEN: usize = 16 * 1024;
/// All operations that there can be.
pub const OPS: [&str; 7] = ["echo", "exec", "get", "info", "list", "put", "stat"];
/// Those that are about files.
const OF_FILES: [&str; 4] = ["get", "list", "put", "stat"];

/// What peers are answered with.
pub struct Services {
    /// What is said of streams, and of datagrams.
    info: [Info; 2],
    allow_exec: bool,
    files: Option<Directory>,
    /// Whether files are there for datagrams too: where addresses can be forged, a few octets would have long replies.
    files_over_udp: bool,
    requests: Option<Arc<Requests>>,
}

impl Services {
    /// As the command line asks for; counted as `requests`, if they are to be.
    pub fn new(
        args: &Serve,
        udp: Option<&Listen<UdpSocket>>,
        requests: Option<Arc<Requests>>,
    ) -> Result<Self, Failure> {
        let files = args.root.as_deref();
        let files_over_udp = udp.is_some_and(Listen::is_loopback);
        Ok(Self {
            info: [true, files_over_udp].map(|files| info_of(args, udp.is_some(), files)),
            allow_exec: args.allow_exec,
            files: files.map(|root| open(root, args.writable)).transpose()?,
            files_over_udp,
            requests,
        })
    }

    /// What answers a peer over a stream.
    pub fn stream(&self) -> impl Service + Send + use<> {
        let files = self.files(u64::MAX);
        self.service(&self.info[0], files)
    }

    /// What answers a peer in datagrams, with so many octets of a file in each.
    pub fn datagram(&self, frame_len: u64) -> impl Service + Send + use<> {
        let files = self.files_over_udp.then(|| self.files(frame_len)).flatten();
        let denied = (!self.files_over_udp && self.files.is_some()).then_some(OverTcp(&OF_FILES));
        self.service(&self.info[1], Route::or(files, denied))
    }

    fn files(&self, frame_len: u64) -> Option<impl Route + Send + use<>> {
        let files = self.files.clone();
        files.map(|files| Files::<_, LINES_LEN>::new(files).with_frame_len(frame_len))
    }

    fn service<F: Route + Send>(&self, info: &Info, files: F) -> impl Service + Send + use<F> {
        let shell = if self.allow_exec {
            Shell::new()
        } else {
            Shell::disabled()
        };
        let service = Echo::<ECHO_LEN>::new()
            .or(info.into_service())
            .or(shell)
            .or(files);
        Counted::new(service, self.requests.clone())
    }
}

/// The directory whose files are served.
fn open(root: &Path, writable: bool) -> Result<Directory, Failure> {
    let directory = Directory::open(root);
    let cannot = format_args!("cannot serve the files in {}", root.display());
    let directory = directory.map_err(|error| Failure::io(cannot, &error))?;
    Ok(directory.writable(writable))
}

fn info_of(args: &Serve, with_udp: bool, with_files: bool) -> Info {
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
        ops: ops(args, with_files),
    }
}

/// What is carried out, for as long as this process is there.
fn ops(args: &Serve, with_files: bool) -> &'static [&'static str] {
    let is_served = |op: &&str| match *op {
        "exec" => args.allow_exec,
        "put" => with_files && args.writable,
        op if OF_FILES.contains(&op) => with_files && args.root.is_some(),
        _ => true,
    };
    let served = OPS.into_iter().filter(is_served);
    served.collect::<Vec<_>>().leak()
}

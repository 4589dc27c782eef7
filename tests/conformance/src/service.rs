//! What every engine serves: the services of a board.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use unstick_core::services::{Command, Commands, Echo, Info, Output};
use unstick_core::{Route, Service};

/// How many octets of an echo are held while they wait to be sent back.
const ECHO_LEN: usize = 512;
/// The longest command line, and the longest output of a command.
const LINE_LEN: usize = 64;
const OUTPUT_LEN: usize = 512;

/// What all connections of a server have in common.
#[derive(Debug)]
pub struct Board {
    start: Instant,
    led: AtomicBool,
    /// Commands that were carried out.
    requests: AtomicU32,
    /// Connections that are served.
    taken: AtomicU32,
}

impl Board {
    /// One that was just started.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            led: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            taken: AtomicU32::new(0),
        })
    }
}

/// Counts as a connection for as long as it is there, if it is one.
#[derive(Debug)]
pub struct Peer {
    board: Arc<Board>,
    is_connection: bool,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.is_connection {
            self.board.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

const COMMANDS: &[Command<Peer>] = &[
    Command {
        name: "uptime",
        help: "the time since the start",
        run: uptime,
    },
    Command {
        name: "stats",
        help: "what was served, and how many slots are taken",
        run: stats,
    },
    Command {
        name: "led",
        help: "on|off|status: the light",
        run: led,
    },
];

fn uptime(peer: &mut Peer, _: &str, out: &mut Output<'_>) -> i32 {
    peer.board.requests.fetch_add(1, Ordering::Relaxed);
    writeln!(out, "{:.3} s", peer.board.start.elapsed().as_secs_f64());
    0
}

fn stats(peer: &mut Peer, _: &str, out: &mut Output<'_>) -> i32 {
    let requests = peer.board.requests.fetch_add(1, Ordering::Relaxed) + 1;
    writeln!(out, "requests {requests}");
    writeln!(out, "taken {}", peer.board.taken.load(Ordering::Relaxed));
    0
}

fn led(peer: &mut Peer, arguments: &str, out: &mut Output<'_>) -> i32 {
    peer.board.requests.fetch_add(1, Ordering::Relaxed);
    match arguments {
        "on" => peer.board.led.store(true, Ordering::Relaxed),
        "off" => peer.board.led.store(false, Ordering::Relaxed),
        "status" => {
            let status = match peer.board.led.load(Ordering::Relaxed) {
                true => "on",
                false => "off",
            };
            writeln!(out, "{status}");
        }
        _ => {
            writeln!(out, "led on|off|status");
            return 2;
        }
    }
    0
}

/// The services for a client over TCP.
pub fn for_connection(board: &Arc<Board>, info: Info) -> impl Service + Send + use<> {
    board.taken.fetch_add(1, Ordering::Relaxed);
    services(board, info, true)
}

/// The services for a request over UDP.
pub fn for_datagram(board: &Arc<Board>, info: Info) -> impl Service + Send + use<> {
    services(board, info, false)
}

fn services(board: &Arc<Board>, info: Info, is_connection: bool) -> impl Route + Send + use<> {
    let peer = Peer {
        board: board.clone(),
        is_connection,
    };
    let exec = Commands::new(peer, COMMANDS).into_service::<LINE_LEN, OUTPUT_LEN>();
    Echo::<ECHO_LEN>::new().or(info.into_service()).or(exec)
}

/// What a server with these limits says of itself.
pub fn info(name: &'static str, max_header: usize, max_body: u64, max_datagram: usize) -> Info {
    Info {
        name,
        version: env!("CARGO_PKG_VERSION"),
        max_header: max_header as u64,
        max_body,
        max_datagram: max_datagram as u64,
        ops: &["echo", "exec", "info"],
    }
}

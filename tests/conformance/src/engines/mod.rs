//! The servers that can be started in this process.

mod nal;
mod passes;
mod smoltcp;
mod threads;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::target::Target;

/// Something that can be started, and then listens.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// Its name.
    pub name: &'static str,
    /// Starts it; it listens when this returns.
    pub start: fn() -> Result<Running>,
}

/// The engines of this process.
pub const ENGINES: &[Engine] = &[
    Engine {
        name: "threads",
        start: threads::start,
    },
    Engine {
        name: "nal",
        start: nal::start,
    },
    Engine {
        name: "smoltcp",
        start: smoltcp::start,
    },
];

/// What keeps a server running; dropped, it stops it.
pub trait Server: Send {
    /// Sees to it that it still runs, and has never failed.
    ///
    /// # Errors
    /// Why it does not.
    fn check(&mut self) -> Result<()>;
}

/// A server that runs until this is dropped.
pub struct Running {
    /// How it is reached.
    pub target: Target,
    /// What keeps it running.
    pub server: Box<dyn Server>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// The deadlines that the engines here are given: long for a machine with a lot to do, and short for whoever waits.
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

fn target(tcp: SocketAddr, udp: SocketAddr, slots: usize) -> Target {
    Target {
        tcp,
        udp,
        slots,
        since: Instant::now(),
        header_timeout: HEADER_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        patience: Duration::from_secs(20),
        pace: Duration::ZERO,
        seed: 1,
    }
}

/// A port of this machine that other machines do not reach.
fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

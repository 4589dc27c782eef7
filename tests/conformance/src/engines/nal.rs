//! unstick-nal over std-embedded-nal: slots, and one pass after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use std_embedded_nal::Stack;
use unstick_core::Timeouts;
use unstick_nal::{Entry, Limits, Slot, TcpServer, UdpServer, std_stack};
use unstick_std::udp::MAX_DATAGRAM;

use super::{HEADER_TIMEOUT, IDLE_TIMEOUT, Running, Server, loopback, target};
use crate::service::{Board, for_connection, for_datagram, info};

/// How many connections it serves at once.
const SLOTS: usize = 16;
/// The longest header, in octets.
const HEADER_LEN: usize = 4096;
/// Octets that are read, and written, at a time.
const BUFFER_LEN: usize = 1024;
/// How many replies over UDP are remembered.
const REPLIES: usize = 16;
/// How long it sleeps when there is nothing to do.
const PAUSE: Duration = Duration::from_micros(100);

/// The deadlines of the engines here.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    header: HEADER_TIMEOUT,
    idle: IDLE_TIMEOUT,
};

/// A thread that goes on until it is told to stop.
pub(super) struct Loop {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Loop {
    /// Starts `run`, which is given what tells it to stop and where to say that it listens; waits for what it says.
    pub(super) fn start<T: Send + 'static>(
        run: impl FnOnce(&AtomicBool, Sender<T>) -> Result<()> + Send + 'static,
    ) -> Result<(Self, T)> {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = channel();
        let until = stop.clone();
        let thread = thread::Builder::new()
            .stack_size(16 * 1024 * 1024)
            .spawn(move || run(&until, sender))?;
        let mut server = Self {
            stop,
            thread: Some(thread),
        };
        match receiver.recv() {
            Ok(said) => Ok((server, said)),
            Err(_) => Err(server.end().err().context("it ended at once")?),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let end = thread.join();
        end.map_err(|_| anyhow::anyhow!("the server panicked"))?
    }
}

impl Server for Loop {
    fn check(&mut self) -> Result<()> {
        let ended = self
            .thread
            .as_ref()
            .is_none_or(|thread| thread.is_finished());
        if ended {
            self.end()?;
        }
        ensure!(!ended, "the server has ended");
        Ok(())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

pub(super) fn start() -> Result<Running> {
    let (server, [tcp, udp]) = Loop::start(serve)?;
    Ok(Running {
        target: target(loopback(tcp), loopback(udp), SLOTS),
        server: Box::new(server),
    })
}

/// Serves until it is told to stop; says on which ports.
fn serve(stop: &AtomicBool, ports: Sender<[u16; 2]>) -> Result<()> {
    let stack = &mut Stack;
    let limits = Limits {
        timeouts: TIMEOUTS,
        ..Limits::default()
    };
    let policy = std_stack::Policy {
        loopback_only: true,
    };
    let board = Board::new();
    let info = info("nal", HEADER_LEN, limits.max_body, MAX_DATAGRAM);

    let mut slots: Vec<Slot<_, _, HEADER_LEN, BUFFER_LEN, BUFFER_LEN>> = Vec::new();
    slots.resize_with(SLOTS, || Slot::FREE);
    let mut tcp = TcpServer::bind(stack, 0, policy, limits, &mut slots)
        .map_err(|error| error.0)
        .context("tcp")?;
    let mut entries: Vec<Entry<MAX_DATAGRAM>> = Vec::new();
    entries.resize_with(REPLIES, || Entry::EMPTY);
    let mut udp: UdpServer<'_, _, _, _, HEADER_LEN, { MAX_DATAGRAM + 1 }, MAX_DATAGRAM> =
        UdpServer::bind(stack, 0, policy, limits, &mut entries).context("udp")?;
    ports.send([
        std_stack::local_port(tcp.listener())?,
        std_stack::udp_local_port(udp.socket())?,
    ])?;

    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = start.elapsed();
        let by_tcp = match tcp.poll(stack, now, |_| for_connection(&board, info)) {
            Err(nb::Error::Other(error)) => return Err(error.0).context("cannot accept"),
            polled => polled.is_ok(),
        };
        let by_udp = udp.poll(stack, now, |_| for_datagram(&board, info)).is_ok();
        if !by_tcp && !by_udp {
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

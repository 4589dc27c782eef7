//! unstick-nal over std-embedded-nal: slots, and one pass after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};
use std_embedded_nal::Stack;
use unstick_nal::{Entry, Limits, Slot, TcpServer, UdpServer, UdpSlot, std_stack};
use unstick_std::udp::MAX_DATAGRAM;

use super::passes::{PAUSE, Passes, TIMEOUTS};
use super::{Running, loopback, target};
use crate::service::{Board, info};

/// How many connections it serves at once.
const SLOTS: usize = 16;
/// The longest header, in octets.
const HEADER_LEN: usize = 4096;
/// Octets that are read, and written, at a time.
const BUFFER_LEN: usize = 1024;
/// How many replies over UDP are remembered.
const REPLIES: usize = 16;

pub(super) fn start() -> Result<Running> {
    let (server, [tcp, udp]) = Passes::start(serve)?;
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
    let board = Board::new("nal", SLOTS);
    let info = info("nal", HEADER_LEN, MAX_DATAGRAM);

    let mut slots: Vec<Slot<_, _, HEADER_LEN, BUFFER_LEN, BUFFER_LEN>> = Vec::new();
    slots.resize_with(SLOTS, || Slot::FREE);
    let mut tcp = TcpServer::bind(stack, 0, policy, limits, &mut slots)
        .map_err(|error| error.0)
        .context("tcp")?;
    let mut entries: Vec<Entry<MAX_DATAGRAM>> = Vec::new();
    entries.resize_with(REPLIES, || Entry::EMPTY);
    let mut place = Box::new(UdpSlot::free());
    let mut udp: UdpServer<'_, _, _, _, HEADER_LEN, { MAX_DATAGRAM + 1 }, MAX_DATAGRAM> =
        UdpServer::bind(stack, 0, policy, limits, &mut place, &mut entries).context("udp")?;
    ports.send([
        std_stack::local_port(tcp.listener())?,
        std_stack::udp_local_port(udp.socket())?,
    ])?;

    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = start.elapsed();
        let by_tcp = match tcp.poll(stack, now, |_| board.for_connection(info)) {
            Err(nb::Error::Other(error)) => return Err(error.0).context("cannot accept"),
            polled => polled.is_ok(),
        };
        let by_udp = udp.poll(stack, now, |_| board.for_datagram(info)).is_ok();
        if !by_tcp && !by_udp {
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

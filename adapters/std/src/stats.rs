//! What a server has done so far, for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a TCP server has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpStats {
    /// Connections that were given a place.
    pub accepted: u64,
    /// Connections that were turned away, since there was none.
    pub refused: u64,
    /// Connections that have a place now.
    pub open: u64,
}

/// What a UDP server has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UdpStats {
    /// Datagrams that arrived.
    pub received: u64,
    /// Datagrams that the system took, to send them.
    pub sent: u64,
    /// Requests that had been carried out already.
    pub repeats: u64,
}

/// A number that several threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What [`UdpStats`] is read from.
#[derive(Debug, Default)]
pub(crate) struct UdpCounters {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) repeats: Counter,
}

impl UdpCounters {
    pub(crate) fn read(&self) -> UdpStats {
        UdpStats {
            received: self.received.get(),
            sent: self.sent.get(),
            repeats: self.repeats.get(),
        }
    }
}

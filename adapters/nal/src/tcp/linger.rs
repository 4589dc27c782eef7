//! Closing so that the peer gets the last frame.
//!
//! TCP answers octets that nobody reads with a reset, and the reset destroys what the peer has not read yet. So a connection
//! whose last words matter is kept for a while, and what the peer still sends is read and thrown away.

use core::time::Duration;

use embedded_nal::TcpClientStack;

use crate::policy::{Received, TcpPolicy};

/// How long at most.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// How long at least before another peer may have the place.
pub(super) const LEAST: Duration = Duration::from_millis(100);
/// Without a half-close the peer cannot see that it is over, and may never end: this long without an octet is enough.
const QUIET: Duration = Duration::from_millis(250);

/// A connection that is over but for what its peer still sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linger {
    since: Duration,
    /// When the peer was last heard of; none where it can see the end, and will end too.
    heard: Option<Duration>,
}

impl Linger {
    pub(super) const fn new(half_closed: bool, now: Duration) -> Self {
        Self {
            since: now,
            heard: if half_closed { None } else { Some(now) },
        }
    }

    /// When it ends, unless the peer is heard of.
    pub(super) fn until(&self) -> Duration {
        let quiet = self.heard.map(|heard| heard.saturating_add(QUIET));
        let end = self.since.saturating_add(LINGER);
        quiet.map_or(end, |quiet| quiet.min(end))
    }

    /// When another peer may have its place.
    pub(super) fn gives_way(&self) -> Duration {
        self.since.saturating_add(LEAST)
    }

    /// Reads once; whether anything came, or none if it is over.
    ///
    /// Not inlined: what it reads into is on the stack.
    #[inline(never)]
    pub(super) fn poll<T: TcpClientStack, P: TcpPolicy<T>, const B: usize>(
        &mut self,
        stack: &mut T,
        policy: &mut P,
        socket: &mut T::TcpSocket,
        now: Duration,
    ) -> Option<bool> {
        if self.until() <= now {
            return None;
        }
        match policy.received(stack.receive(socket, &mut [0; B])) {
            Received::Octets(_) => {
                self.heard = self.heard.map(|_| now);
                Some(true)
            }
            Received::Nothing => Some(false),
            Received::End | Received::Gone => None,
        }
    }
}

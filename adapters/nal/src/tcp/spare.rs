//! The place for one peer more than there are slots: it is told `busy`.

use core::time::Duration;

use embedded_nal::TcpClientStack;
use unstick_core::{Refusal, Reply, encode};

use super::linger::{LINGER, Linger};
use crate::limits::RETRY_AFTER_MS;
use crate::policy::{Sent, TcpPolicy};

/// What the frame has room in; a test sees to it that this is enough.
const FRAME_LEN: usize = 128;
/// What is read at a time of what the peer still sends.
const DISCARD_LEN: usize = 128;

/// The peer that is being turned away, if there is one.
#[derive(Debug)]
pub(super) struct Spare<K> {
    socket: Option<K>,
    since: Duration,
    /// Octets of the frame that were sent.
    sent: usize,
    /// Known once all of it was.
    linger: Option<Linger>,
}

impl<K> Spare<K> {
    pub(super) const fn new() -> Self {
        Self {
            socket: None,
            since: Duration::ZERO,
            sent: 0,
            linger: None,
        }
    }

    pub(super) const fn socket(&self) -> Option<&K> {
        self.socket.as_ref()
    }

    /// Whether the frame is still to be sent.
    pub(super) const fn is_telling(&self) -> bool {
        self.linger.is_none()
    }

    /// When another peer may have the place; none if at once.
    pub(super) fn gives_way(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        Some(match &self.linger {
            Some(linger) => linger.gives_way(),
            None => self.until(),
        })
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.socket.as_ref().map(|_| self.until())
    }

    fn until(&self) -> Duration {
        let telling = self.since.saturating_add(LINGER);
        self.linger.map_or(telling, |linger| linger.until())
    }

    /// Takes this peer instead of whoever is here.
    pub(super) fn occupy<T: TcpClientStack<TcpSocket = K>>(
        &mut self,
        stack: &mut T,
        socket: K,
        now: Duration,
    ) {
        self.free(stack);
        self.socket = Some(socket);
        self.since = now;
        self.sent = 0;
        self.linger = None;
    }

    pub(super) fn free<T: TcpClientStack<TcpSocket = K>>(&mut self, stack: &mut T) {
        if let Some(socket) = self.socket.take() {
            // Nothing is left to be done about a socket that does not close.
            let _ = stack.close(socket);
        }
    }

    /// At most one send or receive; whether there was something to do.
    ///
    /// Not inlined: the frame is on the stack.
    #[inline(never)]
    pub(super) fn poll<T: TcpClientStack<TcpSocket = K>, P: TcpPolicy<T>>(
        &mut self,
        stack: &mut T,
        policy: &mut P,
        now: Duration,
    ) -> bool {
        let until = self.until();
        let Some(socket) = &mut self.socket else {
            return false;
        };
        let moved = match &mut self.linger {
            Some(linger) => linger.poll::<T, P, DISCARD_LEN>(stack, policy, socket, now),
            None if until <= now => None,
            None => {
                let mut frame = [0; FRAME_LEN];
                let len = busy(&mut frame);
                let rest = frame.get(self.sent..len).unwrap_or_default();
                match policy.sent(stack.send(socket, rest)) {
                    Sent::Octets(octets) => {
                        self.sent = self.sent.saturating_add(octets);
                        if self.sent >= len {
                            let half_closed = policy.half_close(stack, socket);
                            self.linger = Some(Linger::new(half_closed, now));
                        }
                        Some(true)
                    }
                    Sent::Full => Some(false),
                    Sent::Gone => None,
                }
            }
        };
        if moved.is_none() {
            self.free(stack);
        }
        moved.unwrap_or(true)
    }
}

/// Writes what a peer is told, always the same; its length.
fn busy(frame: &mut [u8]) -> usize {
    let refusal = Refusal::busy("too many connections; try again later", RETRY_AFTER_MS);
    encode(&Reply::from(refusal), frame).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_fits() {
        assert!(busy(&mut [0; FRAME_LEN]) > 0);
    }
}

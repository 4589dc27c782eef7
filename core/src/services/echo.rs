//! `echo`: the body comes back.

use core::task::{Context, Poll};

use crate::head::{Refusal, Reply, Request};
use crate::octets::copy;
use crate::service::{Route, Service};

/// The operation `echo`: replies with the request's body, of any length, while it arrives.
///
/// At most `B` octets are held, those that have arrived and are not yet sent back. `B` has to be at least 1.
#[derive(Debug)]
pub struct Echo<const B: usize> {
    total_size: u64,
    buffer: [u8; B],
    start: usize,
    end: usize,
}

impl<const B: usize> Echo<B> {
    /// The service.
    pub const fn new() -> Self {
        const { assert!(B > 0, "an echo without a buffer never ends") };
        Self {
            total_size: 0,
            buffer: [0; B],
            start: 0,
            end: 0,
        }
    }
}

impl<const B: usize> Default for Echo<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const B: usize> Service for Echo<B> {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        self.total_size = request.total_size;
        (self.start, self.end) = (0, 0);
        Ok(())
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        let taken = copy(free, octets);
        self.end = self.end.saturating_add(taken);
        Ok(taken)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    fn reply(&mut self, _: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        Poll::Ready(Ok(Reply::new(self.total_size)))
    }

    fn fill(&mut self, _: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        let held = self.buffer.get(self.start..self.end).unwrap_or_default();
        let sent = copy(out, held);
        self.start = self.start.saturating_add(sent);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        match sent {
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(sent)),
        }
    }
}

impl<const B: usize> Route for Echo<B> {
    fn serves(&self, op: &str) -> bool {
        op == "echo"
    }
}

//! A service whose requests are counted.

use std::sync::Arc;
use std::task::{Context, Poll};

use unstick_core::{Refusal, Reply, Request, Service};

use super::requests::{OK, Requests, Running};

/// A service, and what is counted of it, if anything is.
pub struct Counted<S> {
    service: S,
    requests: Option<Arc<Requests>>,
    running: Option<Running>,
    /// What the frame at hand lacks of its body.
    left: u64,
    /// Whether another frame follows.
    more: bool,
}

impl<S> Counted<S> {
    /// Counts the requests to `service`.
    pub fn new(service: S, requests: Option<Arc<Requests>>) -> Self {
        Self {
            service,
            requests,
            running: None,
            left: 0,
            more: false,
        }
    }

    /// Hands `result` on; a refusal ends the request.
    fn watch<T>(&mut self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = &result
            && let Some(running) = self.running.take()
        {
            running.finish(refusal.code.as_str());
        }
        result
    }

    /// The request is over with the last octet of the last frame.
    fn end_if_whole(&mut self) {
        if self.left == 0
            && !self.more
            && let Some(running) = self.running.take()
        {
            running.finish(OK);
        }
    }
}

impl<S: Service> Service for Counted<S> {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        if let Some(requests) = &self.requests {
            let op = request.op.as_ref().map_or("", |op| op.as_str());
            self.running = Some(requests.begin(op));
        }
        let begun = self.service.begin(request);
        self.watch(begun)
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        let taken = self.service.body(octets);
        if let (Ok(taken), Some(running)) = (&taken, &self.running) {
            running.taken(*taken);
        }
        self.watch(taken)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        let ended = self.service.end();
        self.watch(ended)
    }

    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        let reply = self.service.reply(cx).map(|reply| self.watch(reply));
        if let Poll::Ready(Ok(reply)) = &reply {
            (self.left, self.more) = (reply.total_size, reply.more);
            self.end_if_whole();
        }
        reply
    }

    fn fill(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        let filled = self.service.fill(cx, out).map(|filled| self.watch(filled));
        if let (Poll::Ready(Ok(octets)), Some(running)) = (&filled, &self.running) {
            let octets = *octets as u64;
            running.sent(octets);
            self.left = self.left.saturating_sub(octets);
            self.end_if_whole();
        }
        filled
    }

    fn cancel(&mut self) {
        self.running = None;
        self.service.cancel();
    }
}

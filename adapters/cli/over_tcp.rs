//! What is served over TCP alone.

use std::task::{Context, Poll};

use unstick_core::{Code, Refusal, Reply, Request, Route, Service};

/// Refuses these operations, in datagrams.
pub struct OverTcp(pub &'static [&'static str]);

impl Service for OverTcp {
    fn begin(&mut self, _request: &Request) -> Result<(), Refusal> {
        let message = "over UDP there are files on loopback only: ask over TCP";
        Err(Refusal::new(Code::Denied, message))
    }

    fn body(&mut self, _octets: &[u8]) -> Result<usize, Refusal> {
        Ok(0)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    fn reply(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        Poll::Pending
    }

    fn fill(&mut self, _cx: &mut Context<'_>, _out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        Poll::Pending
    }
}

impl Route for OverTcp {
    fn serves(&self, op: &str) -> bool {
        self.0.contains(&op)
    }
}

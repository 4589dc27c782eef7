//! The small responder: the whole body in, the whole reply out.

use core::fmt;
use core::task::{Context, Poll};

use heapless::{Vec, VecView};

use crate::head::{Code, Refusal, Reply, Request, Stream};
use crate::octets::{copy, take};
use crate::service::{Route, Service};

/// What a [`Responder`] calls for every request: a closure, or a type with this one method.
pub trait Respond {
    /// Answers the request with this body by writing to `out`.
    ///
    /// # Errors
    /// The refusal to send instead.
    fn respond(&mut self, body: &[u8], out: &mut Output<'_>) -> Result<(), Refusal>;
}

impl<F: FnMut(&[u8], &mut Output<'_>) -> Result<(), Refusal>> Respond for F {
    fn respond(&mut self, body: &[u8], out: &mut Output<'_>) -> Result<(), Refusal> {
        self(body, out)
    }
}

/// The body of a reply while it is written.
///
/// Writing more than there is room for is no error here: the peer gets `too_large` instead of a cut reply.
#[derive(Debug)]
pub struct Output<'a> {
    octets: &'a mut VecView<u8>,
    exit: Option<i32>,
    overflow: bool,
}

impl Output<'_> {
    /// Appends octets.
    pub fn write(&mut self, octets: &[u8]) {
        self.overflow |= self.octets.extend_from_slice(octets).is_err();
    }

    /// Appends formatted text: `write!(out, "{degrees} degrees")`.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) {
        self.overflow |= fmt::write(self, text).is_err();
    }

    /// Makes this the output of a command with this exit status.
    pub fn exit(&mut self, status: i32) {
        self.exit = Some(status);
    }
}

impl fmt::Write for Output<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

/// Serves one operation: collects a body of at most `IN` octets, calls `R`, sends the at most `OUT` octets it wrote.
///
/// ```
/// use unstick_core::services::{Output, Responder};
///
/// let shout = Responder::<_, 64, 64>::new("shout", |body: &[u8], out: &mut Output<'_>| {
///     body.iter().for_each(|octet| out.write(&[octet.to_ascii_uppercase()]));
///     Ok(())
/// });
/// ```
#[derive(Debug)]
pub struct Responder<R, const IN: usize, const OUT: usize> {
    op: &'static str,
    respond: R,
    body: Vec<u8, IN>,
    out: Vec<u8, OUT>,
    sent: usize,
    /// The answer is complete, as output with this exit status if it is a command's.
    answer: Option<Option<i32>>,
}

impl<R: Respond, const IN: usize, const OUT: usize> Responder<R, IN, OUT> {
    /// The service for the operation `op`.
    pub const fn new(op: &'static str, respond: R) -> Self {
        Self {
            op,
            respond,
            body: Vec::new(),
            out: Vec::new(),
            sent: 0,
            answer: None,
        }
    }
}

impl<R: Respond, const IN: usize, const OUT: usize> Service for Responder<R, IN, OUT> {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        self.body.clear();
        self.answer = None;
        if request.total_size > IN as u64 {
            return Err(Refusal::new(
                Code::TooLarge,
                format_args!("`{}` takes a body of at most {IN} octets", self.op),
            ));
        }
        Ok(())
    }

    fn body(&mut self, mut octets: &[u8]) -> Result<usize, Refusal> {
        let room = IN.saturating_sub(self.body.len());
        let taken = take(&mut octets, room as u64);
        // `begin` has seen to it that the body fits.
        let _ = self.body.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.out.clear();
        self.sent = 0;
        let mut out = Output {
            octets: &mut self.out,
            exit: None,
            overflow: false,
        };
        self.respond.respond(&self.body, &mut out)?;
        if out.overflow {
            return Err(Refusal::new(
                Code::TooLarge,
                format_args!("the answer is longer than {OUT} octets"),
            ));
        }
        self.answer = Some(out.exit);
        Ok(())
    }

    fn reply(&mut self, _: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        let Some(exit) = self.answer.take() else {
            return Poll::Pending;
        };
        let mut head = Reply::new(self.out.len() as u64);
        head.exit = exit;
        head.stream = exit.map(|_| Stream::Stdout);
        Poll::Ready(Ok(head))
    }

    fn fill(&mut self, _: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        let sent = copy(out, self.out.get(self.sent..).unwrap_or_default());
        self.sent = self.sent.saturating_add(sent);
        Poll::Ready(Ok(sent))
    }
}

impl<R: Respond, const IN: usize, const OUT: usize> Route for Responder<R, IN, OUT> {
    fn serves(&self, op: &str) -> bool {
        op == self.op
    }
}

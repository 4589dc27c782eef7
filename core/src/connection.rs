//! The server's side of one connection as a state machine without I/O.
//!
//! Everything that changes the state stands in this file; the states and the steps between them are drawn in
//! ARCHITECTURE.md, from the code, by a test. The caller moves octets: what has arrived goes into
//! [`receive`](Connection::receive), what [`transmit`](Connection::transmit) hands out is sent, and
//! [`wants`](Connection::wants) says which is next. Deadlines are the caller's too, who has a clock:
//! [`phase`](Connection::phase) says which one applies, [`abort`](Connection::abort) is how one ends.

use core::fmt;
use core::task::{Context, Poll};

use crate::decode::Decoder;
use crate::encode::encode;
use crate::error::DecodeError;
use crate::frame::Event;
use crate::head::{Code, Refusal, Reply, Request};
use crate::octets::take;
use crate::service::Service;

/// What a connection needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// More of the peer's octets, through [`Connection::receive`], or their end, through
    /// [`Connection::finish`]. What was transmitted so far should be on its way before waiting for them.
    Input,
    /// Room for the reply, through [`Connection::transmit`].
    Output,
    /// The service waits for something outside of the connection: when its waker is woken,
    /// [`Connection::transmit`] again.
    Pending,
    /// Nothing any more: send what was transmitted, then close.
    Close,
}

/// Where a connection stands, as far as deadlines are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between requests: nothing of the next one has arrived.
    Idle,
    /// A header has begun to arrive.
    Header,
    /// A request is being received, carried out or answered.
    Turn,
}

/// Why a connection closes before its peer has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The peer's octets are not a stream of frames.
    Peer(DecodeError),
    /// The peer's body is larger than the limit: its length, in octets.
    BodyTooLarge(u64),
    /// The caller gave up, with this code.
    Aborted(Code),
    /// The service broke off a reply inside a frame's body.
    ReplyCut,
    /// A reply's header is longer than the whole of the buffer given to [`Connection::transmit`].
    BufferTooSmall,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(error) => error.fmt(f),
            Self::BodyTooLarge(len) => write!(f, "a body of {len} octets is over the limit"),
            Self::Aborted(code) => write!(f, "given up: {code}"),
            Self::ReplyCut => f.write_str("the service broke off inside a reply"),
            Self::BufferTooSmall => {
                f.write_str("the reply's header does not fit the output buffer")
            }
        }
    }
}

impl core::error::Error for Fault {}

/// Where the request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// None has arrived yet, at least not its whole header.
    Await,
    /// Its body goes to the service.
    Body,
    /// Its body goes nowhere: it was refused.
    Drain,
    /// It is complete.
    Whole,
}

/// Where the reply stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Output {
    /// There is no request to reply to.
    Await,
    /// The service is asked for the next frame.
    Ask,
    /// This header is to be written.
    Head(Reply),
    /// The service is asked for this many more octets of body, at least one; then for `more` frames, or none.
    Body { left: u64, more: bool },
    /// The reply is complete.
    Whole,
    /// Nothing will be sent any more.
    Closed,
}

/// The server's side of one connection: requests in, replies out, one request at a time and in order.
///
/// `S` carries the requests out; headers have up to `N` octets. Octets of requests behind the current one
/// are left in the caller's input, so memory is bounded whatever the peer pipelines.
///
/// ```
/// use core::task::{Context, Waker};
/// use unstick_core::services::Echo;
/// use unstick_core::{Connection, Wants};
///
/// let mut connection = Connection::<_, 256>::new(Echo::<64>::new());
/// let mut input = &b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}hello"[..];
/// let (mut out, mut len) = ([0; 128], 0);
/// loop {
///     match connection.wants() {
///         Wants::Input if input.is_empty() => break,
///         Wants::Input => connection.receive(&mut input),
///         Wants::Output => {
///             len += connection.transmit(&mut Context::from_waker(Waker::noop()), &mut out[len..]);
///         }
///         Wants::Pending | Wants::Close => unreachable!(),
///     }
/// }
/// assert_eq!(&out[..len], b"\x10\0\0\0{\"total_size\":5}hello");
/// ```
#[derive(Debug)]
pub struct Connection<S, const N: usize> {
    decoder: Decoder<Request, N>,
    service: S,
    max_body: u64,
    datagram: bool,
    input: Input,
    output: Output,
    /// The request's `id` and `timeout_ms`.
    id: Option<u32>,
    timeout_ms: Option<u64>,
    /// The octets of body in this reply's frames so far.
    replied: u64,
    /// The service has nothing to send for now.
    stalled: bool,
    /// The service takes no more of the body for now.
    full: bool,
    /// What is being sent is the last.
    closing: bool,
    fault: Option<Fault>,
}

impl<S: Service, const N: usize> Connection<S, N> {
    /// A connection to a new peer, with headers of up to `N` octets and bodies of any length.
    pub const fn new(service: S) -> Self {
        Self {
            decoder: Decoder::new(),
            service,
            max_body: u64::MAX,
            datagram: false,
            input: Input::Await,
            output: Output::Await,
            id: None,
            timeout_ms: None,
            replied: 0,
            stalled: false,
            full: false,
            closing: false,
            fault: None,
        }
    }

    /// The same with headers of up to `max_header` octets (at most `N`) and bodies of up to `max_body` octets.
    #[must_use]
    pub fn with_limits(mut self, max_header: usize, max_body: u64) -> Self {
        self.decoder = Decoder::with_max_header_len(max_header);
        self.max_body = max_body;
        self
    }

    /// The same for datagrams: each call of [`transmit`](Self::transmit) writes one frame, which has to fit,
    /// and the frames of a reply of several carry `offset` (PROTOCOL.md, "UDP").
    ///
    /// A frame that does not fit is replaced by the error `too_large`.
    #[must_use]
    pub fn for_datagrams(mut self) -> Self {
        self.datagram = true;
        self
    }

    /// What the connection needs next.
    pub fn wants(&self) -> Wants {
        match &self.output {
            Output::Head(_) => Wants::Output,
            Output::Closed => Wants::Close,
            Output::Ask | Output::Body { .. } if !self.stalled => Wants::Output,
            Output::Ask | Output::Body { .. } if self.input != Input::Body || self.full => {
                Wants::Pending
            }
            _ => Wants::Input,
        }
    }

    /// Where the connection stands, as far as deadlines are concerned.
    pub fn phase(&self) -> Phase {
        match (&self.output, self.decoder.is_between_frames()) {
            (Output::Await | Output::Closed, true) => Phase::Idle,
            (Output::Await, false) => Phase::Header,
            _ => Phase::Turn,
        }
    }

    /// The `timeout_ms` of the request at hand: how long it may take as a whole, in milliseconds.
    pub const fn timeout_ms(&self) -> Option<u64> {
        self.timeout_ms
    }

    /// Why the connection closes, if it does so before its peer has ended it.
    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The service.
    pub const fn service(&self) -> &S {
        &self.service
    }

    /// Whether what was transmitted so far ends with a whole frame.
    pub const fn is_between_frames(&self) -> bool {
        !matches!(self.output, Output::Body { .. })
    }

    /// Takes octets that the peer has sent off the front of `input`, while [`Wants::Input`].
    ///
    /// What is left in `input` belongs to later: call again when input is wanted again.
    pub fn receive(&mut self, input: &mut &[u8]) {
        while self.wants() == Wants::Input {
            if self.input == Input::Body && self.decoder.body_left() > 0 {
                if input.is_empty() {
                    return;
                }
                self.offer(input);
                continue;
            }
            match self.decoder.decode(input) {
                Ok(None) => return,
                Ok(Some(Event::Header(request))) => self.begin(&request),
                // Of a request that was refused.
                Ok(Some(Event::Body(_))) => {}
                Ok(Some(Event::End)) => self.end(),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Says that the peer will send no more: its end of stream, once all of the input is received.
    ///
    /// A request that is complete is still answered.
    pub fn finish(&mut self) {
        match self.decoder.finish() {
            Ok(()) if self.output == Output::Await => self.output = Output::Closed,
            Ok(()) => self.closing = true,
            Err(error) => self.fail(error),
        }
    }

    /// Gives up: the peer gets `refusal` as its last frame if one can be sent, then the connection closes.
    ///
    /// Inside the body of a frame none can.
    pub fn abort(&mut self, refusal: Refusal) {
        if self.fault.is_none() {
            self.fault = Some(Fault::Aborted(refusal.code));
        }
        self.closing = true;
        self.refuse(refusal);
    }

    /// Writes as many octets of replies as there are and as fit to the front of `out`; returns how many.
    ///
    /// `cx` is handed to the service. A header is written whole or not at all: after 0 octets written to an
    /// `out` that has room for one, [`wants`](Self::wants) asks for something else.
    pub fn transmit(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> usize {
        let mut filled = 0_usize;
        self.stalled = false;
        self.full = false;
        while self.wants() == Wants::Output {
            let free = out.get_mut(filled..).unwrap_or_default();
            if free.is_empty() {
                break;
            }
            match &self.output {
                Output::Head(head) => {
                    let head = head.clone();
                    match self.write_head(free, &head) {
                        Some(octets) => filled = filled.saturating_add(octets),
                        None if filled > 0 => break,
                        None => self.break_off(Fault::BufferTooSmall),
                    }
                }
                Output::Body { left, more } => {
                    let (left, more) = (*left, *more);
                    filled = filled.saturating_add(self.write_body(cx, free, left, more));
                }
                _ => self.ask(cx),
            }
            if self.datagram && filled > 0 && self.is_between_frames() {
                break;
            }
        }
        filled
    }

    fn begin(&mut self, request: &Request) {
        self.input = Input::Body;
        self.output = Output::Ask;
        self.id = request.id;
        self.timeout_ms = request.timeout_ms;
        self.replied = 0;
        self.stalled = false;
        self.full = false;
        if request.total_size > self.max_body {
            self.fault = Some(Fault::BodyTooLarge(request.total_size));
            self.closing = true;
            self.refuse(Refusal::new(
                Code::TooLarge,
                format_args!(
                    "a body of {} octets: the limit is {}",
                    request.total_size, self.max_body
                ),
            ));
        } else if let Err(refusal) = self.service.begin(request) {
            self.refuse(refusal);
        }
    }

    /// Offers the service what has arrived of the body.
    fn offer(&mut self, input: &mut &[u8]) {
        let (mut rest, left) = (*input, self.decoder.body_left());
        match self.service.body(take(&mut rest, left)) {
            Ok(0) => self.full = true,
            Ok(taken) => {
                // The decoder counts what was taken; what was not stays in the input.
                let mut taken = take(input, left.min(taken as u64));
                let _ = self.decoder.decode(&mut taken);
                self.stalled = false;
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn end(&mut self) {
        let to_service = self.input == Input::Body;
        self.input = Input::Whole;
        self.stalled = false;
        if to_service {
            if let Err(refusal) = self.service.end() {
                self.refuse(refusal);
            }
        } else if self.output == Output::Whole {
            self.rest();
        }
    }

    fn fail(&mut self, error: DecodeError) {
        self.fault = Some(Fault::Peer(error));
        self.closing = true;
        self.refuse(match error {
            DecodeError::HeaderTooLong(len) => Refusal::new(
                Code::TooLarge,
                format_args!(
                    "the prefix announces a header of {len} octets: the limit is {}",
                    self.decoder.max_header_len()
                ),
            ),
            error => Refusal::new(Code::BadHeader, error),
        });
    }

    /// Makes `refusal` the last frame of the reply, if there is still room for one.
    fn refuse(&mut self, refusal: Refusal) {
        match &self.output {
            Output::Closed => return,
            Output::Whole if self.closing => {
                self.output = Output::Closed;
                return;
            }
            Output::Whole => return,
            // The first refusal is the reason for those that follow from it.
            Output::Head(head) if head.error.is_some() => return,
            Output::Await => {}
            Output::Ask | Output::Head(_) | Output::Body { .. } => self.service.cancel(),
        }
        if self.input == Input::Body {
            self.input = Input::Drain;
        }
        self.output = if self.is_between_frames() {
            Output::Head(self.in_reply(Reply::from(refusal)))
        } else {
            Output::Closed
        };
    }

    /// Gives up without a word.
    fn break_off(&mut self, fault: Fault) {
        self.service.cancel();
        self.fault = Some(fault);
        self.output = Output::Closed;
    }

    /// Asks the service for the next frame.
    fn ask(&mut self, cx: &mut Context<'_>) {
        match self.service.reply(cx) {
            Poll::Pending => self.stalled = true,
            Poll::Ready(Ok(head)) => self.output = Output::Head(self.in_reply(head)),
            Poll::Ready(Err(refusal)) => self.refuse(refusal),
        }
    }

    /// `head` as a frame of this reply.
    fn in_reply(&self, mut head: Reply) -> Reply {
        head.id = self.id;
        if self.datagram && (head.more || self.replied > 0) {
            head.offset = Some(self.replied);
        }
        head
    }

    /// Writes `head` if it fits.
    fn write_head(&mut self, out: &mut [u8], head: &Reply) -> Option<usize> {
        let octets = encode(head, out).ok()?;
        let frame_len = head.total_size.saturating_add(octets as u64);
        if self.datagram && frame_len > out.len() as u64 && head.error.is_none() {
            self.refuse(Refusal::new(
                Code::TooLarge,
                format_args!(
                    "a frame of {frame_len} octets: a datagram holds {}; ask over TCP",
                    out.len()
                ),
            ));
            return Some(0);
        }
        self.replied = self.replied.saturating_add(head.total_size);
        self.sent(head.total_size, head.more);
        Some(octets)
    }

    /// Writes octets of the frame's body, `left` of which are missing.
    fn write_body(&mut self, cx: &mut Context<'_>, out: &mut [u8], left: u64, more: bool) -> usize {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let out = out.get_mut(..most).unwrap_or_default();
        match self.service.fill(cx, out) {
            Poll::Pending => self.stalled = true,
            Poll::Ready(Ok(octets)) if octets > 0 => {
                let octets = octets.min(most);
                self.sent(left.saturating_sub(octets as u64), more);
                return octets;
            }
            Poll::Ready(_) => self.break_off(Fault::ReplyCut),
        }
        0
    }

    /// Goes on behind octets of a frame that has `left` more.
    fn sent(&mut self, left: u64, more: bool) {
        if left > 0 {
            self.output = Output::Body { left, more };
        } else if more {
            self.output = Output::Ask;
        } else if self.closing {
            self.output = Output::Closed;
        } else if self.input == Input::Whole {
            self.rest();
        } else {
            self.input = Input::Drain;
            self.output = Output::Whole;
        }
    }

    /// Waits for the next request.
    fn rest(&mut self) {
        self.input = Input::Await;
        self.output = Output::Await;
        self.id = None;
        self.timeout_ms = None;
    }
}

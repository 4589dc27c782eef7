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
    /// If the connection [is stalled](Connection::is_stalled), the service's waker can be first.
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
    /// This error frame is to be written, the reply's last. The service is not called any more.
    Refusal(Reply),
    /// The reply is complete.
    Whole,
    /// Nothing will be sent any more.
    Closed,
    /// The same, inside a frame.
    Cut,
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
    /// How many requests have begun.
    requests: u32,
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
            requests: 0,
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
        self.set_limits(max_header, max_body);
        self
    }

    /// The same for datagrams: a call of [`transmit`](Self::transmit) writes octets of one frame only, and the
    /// frames of a reply of several carry `offset` (PROTOCOL.md, "UDP"). It counts from 0 and replaces the service's;
    /// a reply of several frames that begins elsewhere is refused.
    ///
    /// A frame has to fit the `out` that its header is written to, or the error `too_large` takes its place.
    /// The service may need more than one call to fill it: what is behind those octets is the next call's
    /// `out`, until [`is_between_frames`](Self::is_between_frames) says that the datagram is complete.
    #[must_use]
    pub const fn for_datagrams(mut self) -> Self {
        self.datagram = true;
        self
    }

    /// Begins anew with another peer and its service, with the same limits.
    ///
    /// As good as a new connection, without moving one: on a board that would be stack. The service of the last peer is
    /// dropped.
    pub fn restart(&mut self, service: S) {
        self.decoder.restart(self.decoder.max_header_len());
        self.service = service;
        self.input = Input::Await;
        self.output = Output::Await;
        self.id = None;
        self.timeout_ms = None;
        self.requests = 0;
        self.replied = 0;
        self.stalled = false;
        self.full = false;
        self.closing = false;
        self.fault = None;
    }

    /// Takes headers of up to `max_header` octets (at most `N`) and bodies of up to `max_body` octets from the next peer
    /// on: between [`restart`](Self::restart) and the first octet.
    pub const fn set_limits(&mut self, max_header: usize, max_body: u64) {
        self.decoder.restart(max_header);
        self.max_body = max_body;
    }

    /// What the connection needs next.
    pub fn wants(&self) -> Wants {
        match &self.output {
            Output::Head(_) | Output::Refusal(_) => Wants::Output,
            Output::Closed | Output::Cut => Wants::Close,
            Output::Ask | Output::Body { .. } if !self.stalled => Wants::Output,
            Output::Ask | Output::Body { .. } if self.input != Input::Body || self.full => {
                Wants::Pending
            }
            _ => Wants::Input,
        }
    }

    /// Whether the service had nothing to send when it was asked last: its waker may be woken, also while the
    /// rest of the body is waited for, and then it is to be asked again, through [`transmit`](Self::transmit).
    pub const fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Where the connection stands, as far as deadlines are concerned.
    pub fn phase(&self) -> Phase {
        match (&self.output, self.decoder.is_between_frames()) {
            (Output::Await | Output::Closed, true) => Phase::Idle,
            (Output::Await, false) => Phase::Header,
            _ => Phase::Turn,
        }
    }

    /// The `timeout_ms` of the request that is being carried out: how long it may take as a whole, in
    /// milliseconds. None while what is left of one that was refused or answered passes by.
    pub const fn timeout_ms(&self) -> Option<u64> {
        match self.output {
            Output::Ask | Output::Head(_) | Output::Body { .. } => self.timeout_ms,
            _ => None,
        }
    }

    /// How many requests have begun on this connection, modulo 2^32.
    pub const fn requests(&self) -> u32 {
        self.requests
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
        !matches!(self.output, Output::Body { .. } | Output::Cut)
    }

    /// Takes octets that the peer has sent off the front of `input`, while [`Wants::Input`].
    ///
    /// What is left in `input` belongs to later: call again when input is wanted again.
    pub fn receive(&mut self, input: &mut &[u8]) {
        // The end of a body takes no octets, so the request is complete as soon as its last octet is here.
        while self.wants() == Wants::Input || self.is_at_end() {
            if self.input == Input::Body && self.decoder.body_left() > 0 {
                if input.is_empty() {
                    return;
                }
                self.offer(input);
                continue;
            }
            // Looked at where it is: a header that is moved is on the stack twice.
            match &self.decoder.decode(input) {
                Ok(None) => return,
                Ok(Some(Event::Header(request))) => self.begin(request),
                // Of a request that was refused.
                Ok(Some(Event::Body(_))) => {}
                Ok(Some(Event::End)) => self.end(),
                Err(error) => self.fail(*error),
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

    /// Ends the request at hand with `refusal` as the last frame of its reply; the connection goes on.
    ///
    /// Without a request that is being carried out this does nothing. Inside the body of a frame there is no
    /// room for a refusal, and the connection closes.
    pub fn cancel(&mut self, refusal: Refusal) {
        if let Output::Ask | Output::Head(_) | Output::Body { .. } = self.output {
            self.service.cancel();
            self.refuse(refusal);
        }
    }

    /// Gives up: the peer gets `refusal` as its last frame if one can be sent, then the connection closes.
    ///
    /// Inside the body of a frame none can.
    pub fn abort(&mut self, refusal: Refusal) {
        self.give_up(Fault::Aborted(refusal.code), refusal);
    }

    /// Writes as many octets of replies as there are and as fit to the front of `out`; returns how many.
    ///
    /// `out` has to have room for a header: the connection breaks off where one does not fit at all.
    /// [`Session`](crate::Session) sees to that, by having earlier octets sent first.
    ///
    /// `cx` is handed to the service. A header is written whole or not at all: after 0 octets written to an
    /// `out` that has room for one, [`wants`](Self::wants) asks for something else.
    pub fn transmit(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> usize {
        self.transmit_behind(0, cx, out)
    }

    /// [`transmit`](Self::transmit) where `out` is the room behind `held` octets: a header that does not fit
    /// there waits until those are sent.
    pub(crate) fn transmit_behind(
        &mut self,
        held: usize,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> usize {
        let mut filled = 0_usize;
        self.stalled = false;
        self.full = false;
        while self.wants() == Wants::Output {
            let free = out.get_mut(filled..).unwrap_or_default();
            if free.is_empty() {
                break;
            }
            match &self.output {
                Output::Head(head) | Output::Refusal(head) => {
                    let (total_size, more) = (head.total_size, head.more);
                    match encode(head, free) {
                        Ok(octets) => {
                            let sent = self.head_written(octets, free.len(), total_size, more);
                            filled = filled.saturating_add(sent);
                        }
                        Err(_) if filled > 0 || held > 0 => break,
                        Err(_) => self.break_off(),
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

    /// Not inlined, as others that hold whole headers: the stack is needed for decoding one.
    #[inline(never)]
    fn begin(&mut self, request: &Request) {
        self.input = Input::Body;
        self.output = Output::Ask;
        self.id = request.id;
        self.timeout_ms = request.timeout_ms;
        self.requests = self.requests.wrapping_add(1);
        self.replied = 0;
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

    /// Whether every octet of the request's body is here, but its end is not known yet.
    fn is_at_end(&self) -> bool {
        matches!(self.input, Input::Body | Input::Drain) && self.decoder.body_left() == 0
    }

    fn end(&mut self) {
        let to_service = self.input == Input::Body;
        self.input = Input::Whole;
        if to_service {
            if let Err(refusal) = self.service.end() {
                self.refuse(refusal);
            }
        } else if self.output == Output::Whole {
            self.rest();
        }
    }

    #[inline(never)]
    fn fail(&mut self, error: DecodeError) {
        let refusal = match error {
            DecodeError::HeaderTooLong(len) => Refusal::new(
                Code::TooLarge,
                format_args!(
                    "the prefix announces a header of {len} octets: the limit is {}",
                    self.decoder.max_header_len()
                ),
            ),
            error => Refusal::new(Code::BadHeader, error),
        };
        self.give_up(Fault::Peer(error), refusal);
    }

    /// Closes the connection for this reason, with `refusal` as its last frame if one can be sent.
    fn give_up(&mut self, fault: Fault, refusal: Refusal) {
        if self.wants() == Wants::Close {
            return;
        }
        self.fault.get_or_insert(fault);
        self.closing = true;
        match self.output {
            // The first refusal is the reason for those that follow from it.
            Output::Refusal(_) => {}
            Output::Whole => self.output = Output::Closed,
            _ => {
                if self.output != Output::Await {
                    self.service.cancel();
                }
                self.refuse(refusal);
            }
        }
    }

    /// Makes `refusal` the last frame of the reply, if there is still room for one. Ends the service's part.
    fn refuse(&mut self, refusal: Refusal) {
        if self.input == Input::Body {
            self.input = Input::Drain;
        }
        if self.is_between_frames() {
            self.output = Output::Refusal(self.in_reply(refusal.into()));
        } else {
            self.cut();
        }
    }

    /// Breaks off inside a frame.
    fn cut(&mut self) {
        self.fault.get_or_insert(Fault::ReplyCut);
        self.output = Output::Cut;
    }

    /// Gives up without a word: there is no room for one.
    fn break_off(&mut self) {
        if !matches!(self.output, Output::Refusal(_)) {
            self.service.cancel();
        }
        self.fault.get_or_insert(Fault::BufferTooSmall);
        self.output = Output::Closed;
    }

    /// Asks the service for the next frame.
    fn ask(&mut self, cx: &mut Context<'_>) {
        match self.service.reply(cx) {
            Poll::Pending => self.stalled = true,
            // The client counts from 0, and would take octets from the middle of a file for its start.
            Poll::Ready(Ok(head)) if self.datagram && head.more && self.is_elsewhere(&head) => {
                self.service.cancel();
                self.refuse(Refusal::new(
                    Code::Denied,
                    "datagrams are counted from the start of the file: resume over TCP",
                ));
            }
            Poll::Ready(Ok(head)) => self.output = Output::Head(self.in_reply(head)),
            Poll::Ready(Err(refusal)) => self.refuse(refusal),
        }
    }

    /// Whether the service begins this frame's body elsewhere than where the reply stands.
    fn is_elsewhere(&self, head: &Reply) -> bool {
        head.offset.is_some_and(|offset| offset != self.replied)
    }

    /// `head` as a frame of this reply.
    fn in_reply(&self, mut head: Reply) -> Reply {
        head.id = self.id;
        if self.datagram {
            head.offset = (head.more || self.replied > 0).then_some(self.replied);
        }
        head
    }

    /// Goes on behind a frame's header of `octets` octets, now in a buffer of `room` octets, and returns how
    /// many of them stay there: none if the frame does not fit its datagram.
    fn head_written(&mut self, octets: usize, room: usize, total_size: u64, more: bool) -> usize {
        let frame_len = total_size.saturating_add(octets as u64);
        if self.datagram && frame_len > room as u64 {
            self.service.cancel();
            self.refuse(Refusal::new(
                Code::TooLarge,
                format_args!(
                    "a frame of {frame_len} octets: a datagram holds {room}; ask over TCP"
                ),
            ));
            return 0;
        }
        self.replied = self.replied.saturating_add(total_size);
        self.sent(total_size, more);
        octets
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
            Poll::Ready(_) => self.cut(),
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
    }
}

//! The server: one datagram in, carried out at once, its reply out, one bounded pass at a time.

use core::net::SocketAddr;
use core::task::{Context, Waker};
use core::time::Duration;

use embedded_nal::UdpFullStack;
use serde::Deserialize;
use serde::de::IgnoredAny;
use unstick_core::{
    Code, Connection, DecodeError, EncodeError, Fault, Header, HeaderError, PREFIX_LEN, Refusal,
    Reply, Request, Service, Wants, encode, json,
};

use super::cache::{Admission, Cache, Entry, Key};
use super::open;
use crate::limits::{Limits, RETRY_AFTER_MS, SHUTTING_DOWN};
use crate::policy::{UdpPolicy, UdpReceived};

/// How long a datagram waits for the stack; then it is lost, as it might be anywhere on its way.
const SEND_WAIT: Duration = Duration::from_millis(10);
/// Room for an error frame, whatever its sentence.
const ERROR_LEN: usize = 320;

/// What a server has done so far; the numbers wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UdpStats {
    /// Datagrams that arrived.
    pub received: u32,
    /// Requests that were carried out.
    pub requests: u32,
    /// Requests that had been carried out already.
    pub repeats: u32,
    /// Datagrams that were answered with an error by the server itself: bad ones, and those for which there was no room.
    pub refused: u32,
    /// Datagrams that the stack took, to send them.
    pub sent: u32,
    /// Datagrams that the stack did not take.
    pub lost: u32,
}

impl UdpStats {
    /// Counts a datagram that the stack took, or did not.
    #[inline(never)]
    fn count(&mut self, sent: bool) {
        let count = if sent { &mut self.sent } else { &mut self.lost };
        *count = count.wrapping_add(1);
    }
}

/// A UDP server on the stack `T`, with a service `S` for each request and the policy `P`.
///
/// Headers have up to `N` octets, datagrams that arrive fewer than `IN`, replies up to `OUT`. One request is carried out
/// at a time; while its service waits, others are told `busy`.
///
/// A request with an `id` is carried out once: its reply has an [`Entry`] of the caller's memory for at least 5 seconds, or until
/// its peer asks for something else and there is no other room, or, of a request that [may be carried out again](Request::is_safe), until
/// another one needs the room. Without room a request is told `busy`. An entry holds up
/// to 8 datagrams of `OUT` octets together; a reply that is longer ends with `too_large`.
pub struct UdpServer<'m, T: UdpFullStack, S, P, const N: usize, const IN: usize, const OUT: usize> {
    socket: T::UdpSocket,
    policy: P,
    limits: Limits,
    cache: Cache<'m, OUT>,
    slot: &'m mut UdpSlot<S, N, IN, OUT>,
    turn: Option<Turn>,
    stop: Option<Duration>,
    stats: UdpStats,
}

/// The place of the one request that a [`UdpServer`] carries out at a time, and of its datagrams.
///
/// Nearly all of its size is `N + IN + OUT` and the service.
#[derive(Debug)]
pub struct UdpSlot<S, const N: usize, const IN: usize, const OUT: usize> {
    /// Vacant between requests.
    connection: Connection<Option<S>, N>,
    datagram: [u8; IN],
    out: [u8; OUT],
}

impl<S: Service, const N: usize, const IN: usize, const OUT: usize> UdpSlot<S, N, IN, OUT> {
    /// A free slot.
    pub const fn free() -> Self {
        const { assert!(OUT >= ERROR_LEN, "an error frame has to fit a reply") };
        Self {
            connection: Connection::new(None).for_datagrams(),
            datagram: [0; IN],
            out: [0; OUT],
        }
    }
}

/// The request that is being carried out.
#[derive(Debug)]
struct Turn {
    to: Addressee,
    entry: Option<usize>,
    /// What the service has not taken yet of the datagram.
    input: (usize, usize),
    /// Octets of the reply's next datagram.
    filled: usize,
    /// The datagram is whole; until then the stack has time to take it.
    send_by: Option<Duration>,
    /// Octets of body that were sent.
    offset: u64,
    /// When to give up, and whether that moves on with the reply.
    deadline: Duration,
    idle: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Addressee {
    peer: SocketAddr,
    id: Option<u32>,
}

impl<'m, T, S, P, const N: usize, const IN: usize, const OUT: usize>
    UdpServer<'m, T, S, P, N, IN, OUT>
where
    T: UdpFullStack,
    S: Service,
    P: UdpPolicy<T>,
{
    /// A server that receives on `port`.
    ///
    /// # Errors
    /// What the stack says to that.
    pub fn bind(
        stack: &mut T,
        port: u16,
        policy: P,
        limits: Limits,
        slot: &'m mut UdpSlot<S, N, IN, OUT>,
        entries: &'m mut [Entry<OUT>],
    ) -> Result<Self, T::Error> {
        let mut socket = stack.socket()?;
        if let Err(error) = stack.bind(&mut socket, port) {
            let _ = stack.close(socket);
            return Err(error);
        }
        Ok(Self {
            socket,
            policy,
            limits,
            cache: Cache::new(entries),
            slot,
            turn: None,
            stop: None,
            stats: UdpStats::default(),
        })
    }

    /// The socket.
    pub const fn socket(&self) -> &T::UdpSocket {
        &self.socket
    }

    /// What was done so far.
    pub const fn stats(&self) -> UdpStats {
        self.stats
    }

    /// Whether nothing is being carried out.
    pub const fn is_idle(&self) -> bool {
        self.turn.is_none()
    }

    /// Whether the next pass receives: only then is the socket worth waiting for.
    pub fn is_receiving(&self) -> bool {
        let input = self.turn.as_ref().map(|turn| turn.input);
        input.is_none_or(|(start, end)| start >= end)
    }

    /// Whether a datagram of ours waits for the stack to take it.
    pub fn is_sending(&self) -> bool {
        self.turn
            .as_ref()
            .is_some_and(|turn| turn.send_by.is_some())
    }

    /// When there is something to do unless a datagram arrives, or a service wakes its waker, before.
    pub fn next_deadline(&self) -> Option<Duration> {
        let turn = self.turn.as_ref()?;
        let all = [Some(turn.deadline), turn.send_by, self.stop];
        all.into_iter().flatten().min()
    }

    /// Takes no new requests; what is being carried out is given up `at` this time. Repeats are still answered.
    pub fn stop(&mut self, at: Duration) {
        self.stop = Some(at);
    }

    /// Closes the socket.
    ///
    /// # Errors
    /// What the stack says to that.
    pub fn close(self, stack: &mut T) -> Result<(), T::Error> {
        stack.close(self.socket)
    }

    /// One pass, for services that wait for nothing but octets: see [`poll_with`](Self::poll_with).
    ///
    /// # Errors
    /// As there.
    pub fn poll(
        &mut self,
        stack: &mut T,
        now: Duration,
        factory: impl FnMut(SocketAddr) -> S,
    ) -> nb::Result<(), T::Error> {
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_with(&mut cx, stack, now, factory)
    }

    /// One bounded pass: goes on with the request at hand until a datagram of its reply is sent, or receives one datagram and
    /// carries it out so far.
    ///
    /// # Errors
    /// [`nb::Error::WouldBlock`] if there was nothing to do, and nothing else: what fails is one datagram, and those get lost.
    pub fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        stack: &mut T,
        now: Duration,
        factory: impl FnMut(SocketAddr) -> S,
    ) -> nb::Result<(), T::Error> {
        let moved = self.step(cx, stack, now);
        // The datagram's memory belongs to the request until its service has taken the body.
        let received = self.is_receiving() && self.receive(cx, stack, now, factory);
        match moved || received {
            true => Ok(()),
            false => Err(nb::Error::WouldBlock),
        }
    }

    /// Receives a datagram, if there is one; whether there was.
    ///
    /// Not inlined: a header is on the stack in here, which those who call need for other things.
    #[inline(never)]
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        stack: &mut T,
        now: Duration,
        factory: impl FnMut(SocketAddr) -> S,
    ) -> bool {
        let received = stack.receive(&mut self.socket, &mut self.slot.datagram);
        let (len, peer) = match self.policy.received(received) {
            UdpReceived::Datagram(len, peer) => (len.min(IN), peer),
            UdpReceived::Other => return true,
            UdpReceived::Nothing => return false,
        };
        self.stats.received = self.stats.received.wrapping_add(1);
        let datagram = self.slot.datagram.get(..len).unwrap_or_default();
        let opened = open::<Request, N>(datagram, self.limits.max_header);
        let (request, body_len) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let refusal = self.refusal(len, error);
                self.refuse(stack, Addressee { peer, id: None }, refusal);
                return true;
            }
        };
        if request.op.is_none() && is_error_frame::<N>(datagram) {
            // Or two servers could be made to answer each other for ever.
            return true;
        }
        let to = Addressee {
            peer,
            id: request.id,
        };
        // One octet more than is taken, even where the stack has not cut it: whether a frame is taken is not up to the stack.
        let too_long = len == IN && request.total_size >= body_len as u64;
        if request.total_size != body_len as u64 || too_long {
            let refusal = match too_long {
                true => self.refusal(len, DecodeError::Truncated),
                false => Refusal::new(
                    Code::BadHeader,
                    format_args!(
                        "total_size is {}: the datagram has {body_len} octets of body",
                        request.total_size
                    ),
                ),
            };
            self.refuse(stack, to, refusal);
            return true;
        }
        let mut entry = None;
        if let Some(id) = request.id {
            match self
                .cache
                .admit(Key { peer, id }, datagram, request.is_safe(), now)
            {
                Admission::New(at) => entry = Some(at),
                Admission::Repeat(at) => {
                    self.repeat(stack, at, peer);
                    return true;
                }
                Admission::InUse => return true,
                Admission::Full => {
                    let message = "too many requests of late: no room to keep another reply";
                    self.refuse(stack, to, Refusal::busy(message, RETRY_AFTER_MS));
                    return true;
                }
            }
        }
        let busy = match (self.stop, &self.turn) {
            (Some(_), _) => Some(SHUTTING_DOWN),
            (_, Some(_)) => Some("another request is being carried out"),
            _ => None,
        };
        match busy {
            Some(why) => {
                let refusal = Refusal::busy(why, RETRY_AFTER_MS);
                self.refuse_admitted(stack, to, entry, refusal, 0, now);
            }
            None => {
                self.begin(&request, to, entry, len, now, factory);
                self.step(cx, stack, now);
            }
        }
        true
    }

    /// Not inlined: on its way into the slot the service is on the stack, which those who call need for other things.
    #[inline(never)]
    fn begin(
        &mut self,
        request: &Request,
        to: Addressee,
        entry: Option<usize>,
        len: usize,
        now: Duration,
        mut factory: impl FnMut(SocketAddr) -> S,
    ) {
        let peer = SocketAddr::new(to.peer.ip().to_canonical(), to.peer.port());
        let connection = &mut self.slot.connection;
        connection.restart(Some(factory(peer)));
        connection.set_limits(self.limits.max_header, self.limits.max_body);
        let idle = self.limits.timeouts.idle;
        let timeout = request.timeout_ms.map(Duration::from_millis);
        self.stats.requests = self.stats.requests.wrapping_add(1);
        self.turn = Some(Turn {
            to,
            entry,
            input: (0, len),
            filled: 0,
            send_by: None,
            offset: 0,
            deadline: now.saturating_add(timeout.unwrap_or(idle)),
            idle: timeout.is_none().then_some(idle),
        });
    }

    /// Goes on with the request at hand until a datagram is sent, the service has nothing, or it is answered; whether there was
    /// something to do.
    fn step(&mut self, cx: &mut Context<'_>, stack: &mut T, now: Duration) -> bool {
        let Some(turn) = &mut self.turn else {
            return false;
        };
        let mut sent = false;
        if let Some(by) = turn.send_by {
            let frame = self.slot.out.get(..turn.filled).unwrap_or_default();
            match stack.send_to(&mut self.socket, turn.to.peer, frame) {
                Err(nb::Error::WouldBlock) if now < by => return false,
                result => self.stats.count(result.is_ok()),
            }
            (turn.send_by, turn.filled) = (None, 0);
            sent = true;
        }
        let mut moved = sent;
        loop {
            match self.slot.connection.wants() {
                Wants::Input if turn.input.0 >= turn.input.1 => {
                    self.finish(now);
                    return true;
                }
                Wants::Input => {
                    let (start, end) = turn.input;
                    let mut input = self.slot.datagram.get(start..end).unwrap_or_default();
                    self.slot.connection.receive(&mut input);
                    turn.input.0 = end.saturating_sub(input.len());
                    moved = true;
                }
                Wants::Output | Wants::Pending if sent => return true,
                Wants::Output | Wants::Pending => {
                    let room = self.slot.out.get_mut(turn.filled..).unwrap_or_default();
                    let octets = self.slot.connection.transmit(cx, room);
                    turn.filled = turn.filled.saturating_add(octets);
                    moved |= octets > 0;
                    if turn.filled > 0 && self.slot.connection.is_between_frames() {
                        let frame = self.slot.out.get(..turn.filled).unwrap_or_default();
                        let wants = self.slot.connection.wants();
                        let last = !matches!(wants, Wants::Output | Wants::Pending);
                        let kept = turn.entry.map(|at| self.cache.push(at, frame, last));
                        if kept == Some(false) {
                            let refusal = Refusal::new(
                                Code::TooLarge,
                                "the reply is too long to be kept for repeats; ask over TCP",
                            );
                            self.give_up(stack, refusal, now);
                            return true;
                        }
                        turn.offset = turn.offset.saturating_add(body_len(frame));
                        if let Some(idle) = turn.idle {
                            turn.deadline = now.saturating_add(idle);
                        }
                        match stack.send_to(&mut self.socket, turn.to.peer, frame) {
                            Err(nb::Error::WouldBlock) => {
                                turn.send_by = Some(now.saturating_add(SEND_WAIT));
                                return true;
                            }
                            result => self.stats.count(result.is_ok()),
                        }
                        turn.filled = 0;
                        sent = true;
                    } else if self.slot.connection.wants() == Wants::Pending {
                        let late = turn.deadline <= now;
                        if self.stop.is_some_and(|at| at <= now) {
                            let refusal = Refusal::busy(SHUTTING_DOWN, RETRY_AFTER_MS);
                            self.give_up(stack, refusal, now);
                            return true;
                        }
                        if late {
                            let refusal = Refusal::new(Code::Deadline, "it took too long");
                            self.give_up(stack, refusal, now);
                            return true;
                        }
                        return moved;
                    }
                }
                Wants::Close => {
                    let fault = self.slot.connection.fault();
                    let cut = !self.slot.connection.is_between_frames()
                        || fault == Some(Fault::BufferTooSmall);
                    match fault {
                        // Nothing of this frame was sent: unlike over TCP, there can be word of it.
                        Some(fault) if cut => {
                            self.give_up(stack, Refusal::new(Code::Internal, fault), now);
                        }
                        _ => self.finish(now),
                    }
                    return true;
                }
            }
        }
    }

    /// Stops what the service has begun, and says why.
    #[inline(never)]
    fn give_up(&mut self, stack: &mut T, refusal: Refusal, now: Duration) {
        if let Some(turn) = self.turn.take() {
            self.slot.connection.abort(refusal.clone());
            self.slot.connection.restart(None);
            self.refuse_admitted(stack, turn.to, turn.entry, refusal, turn.offset, now);
        }
    }

    /// The request at hand is answered.
    fn finish(&mut self, now: Duration) {
        if let Some(at) = self.turn.as_ref().and_then(|turn| turn.entry) {
            self.cache.finish(at, now);
        }
        self.turn = None;
        self.slot.connection.restart(None);
    }

    /// Sends what is kept of a reply once more.
    fn repeat(&mut self, stack: &mut T, at: usize, peer: SocketAddr) {
        self.stats.repeats = self.stats.repeats.wrapping_add(1);
        let entry = self.cache.entry(at);
        for datagram in entry.into_iter().flat_map(Entry::datagrams) {
            let sent = stack.send_to(&mut self.socket, peer, datagram);
            self.stats.count(sent.is_ok());
        }
    }

    /// Ends a reply with an error, which is kept if there is an entry for it.
    #[inline(never)]
    fn refuse_admitted(
        &mut self,
        stack: &mut T,
        to: Addressee,
        entry: Option<usize>,
        refusal: Refusal,
        offset: u64,
        now: Duration,
    ) {
        let mut frame = [0; ERROR_LEN];
        let len = error_frame(refusal, to.id, offset, &mut frame);
        let frame = frame.get(..len).unwrap_or_default();
        if let Some(at) = entry {
            // Without room for a long sentence a repeat gets less than the first did, which is late anyway.
            self.cache.push(at, frame, true);
            self.cache.finish(at, now);
        }
        self.send(stack, to.peer, frame);
    }

    /// Answers what has no entry.
    #[inline(never)]
    fn refuse(&mut self, stack: &mut T, to: Addressee, refusal: Refusal) {
        let mut frame = [0; ERROR_LEN];
        let len = error_frame(refusal, to.id, 0, &mut frame);
        self.send(stack, to.peer, frame.get(..len).unwrap_or_default());
    }

    /// Sends an error frame. If that fails it is lost, like others on their way: the client asks again.
    fn send(&mut self, stack: &mut T, peer: SocketAddr, frame: &[u8]) {
        self.stats.refused = self.stats.refused.wrapping_add(1);
        let sent = stack.send_to(&mut self.socket, peer, frame);
        self.stats.count(sent.is_ok());
    }

    /// What is said to a datagram of `len` octets that is no frame.
    #[inline(never)]
    fn refusal(&self, len: usize, error: DecodeError) -> Refusal {
        match error {
            // As long as can be: the stack may have cut it.
            DecodeError::Truncated if len == IN => Refusal::new(
                Code::TooLarge,
                format_args!("the datagram has more than {} octets", IN.saturating_sub(1)),
            ),
            DecodeError::HeaderTooLong(_) => Refusal::new(Code::TooLarge, error),
            error => Refusal::new(Code::BadHeader, error),
        }
    }
}

/// Whether this is a frame with `error`.
fn is_error_frame<const N: usize>(datagram: &[u8]) -> bool {
    open::<Verdict, N>(datagram, N).is_ok_and(|(verdict, _)| verdict.error.is_some())
}

/// A header of which only `error` matters: a whole [`Reply`] is kilobytes of flash to read.
#[derive(Deserialize)]
struct Verdict {
    total_size: u64,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

impl Header for Verdict {
    fn body_len(&self) -> u64 {
        self.total_size
    }

    fn decode(text: &mut [u8], scratch: &mut [u8]) -> Result<Self, HeaderError> {
        json::decode(text, scratch)
    }

    fn encode(&self, _: &mut [u8]) -> Result<usize, EncodeError> {
        Err(EncodeError::HeaderLength)
    }
}

/// Writes an error frame; its length.
fn error_frame(refusal: Refusal, id: Option<u32>, offset: u64, out: &mut [u8]) -> usize {
    let mut reply = Reply::from(refusal);
    reply.id = id;
    reply.offset = (offset > 0).then_some(offset);
    encode(&reply, out).unwrap_or(0)
}

/// How many octets of body a frame of ours has.
fn body_len(frame: &[u8]) -> u64 {
    let header = frame
        .first_chunk()
        .map_or(0, |prefix| u32::from_le_bytes(*prefix));
    (frame.len() as u64)
        .saturating_sub(PREFIX_LEN as u64)
        .saturating_sub(u64::from(header))
}

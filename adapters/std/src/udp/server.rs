//! The server: one thread receives and answers what can be answered at once, the rest has a thread each.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Scope, ScopedJoinHandle, Thread};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use tracing::{debug, warn};
use unstick_core::{
    Code, Connection, Fault, Header, PREFIX_LEN, Refusal, Reply, Request, Service, Wants, encode,
};

use super::cache::{self, Admission, Cache, Key, Overflow};
use super::{MAX_DATAGRAM, adopt, bind, open, send};
use crate::poll::wait;
use crate::stats::{UdpCounters, UdpStats};
use crate::{HEADER_CAPACITY, Limits, Shutdown};

/// How many frames of a reply the receiving thread sends itself: a long reply does not hold up the others.
const INLINE_FRAMES: usize = 4;
/// The operation that takes as long as a disk takes, without a wait that it could tell of.
const STORES: &str = "put";
/// How many receives may fail in a row, and how long the server then pauses before each of the next.
const FAILURES: u32 = 16;
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
/// How often a server that is shutting down looks whether its workers are done.
const WORKERS_CHECK: Duration = Duration::from_millis(10);
/// When to try again where all places are taken, in milliseconds.
const RETRY_MS: u32 = 1000;
const SHUTTING_DOWN: &str = "the server is shutting down";

/// A server over UDP: requests are carried out once, however often they arrive.
///
/// That goes for requests with an `id`; one without is carried out every time. Of every peer, the replies of
/// the last 5 to 30 seconds are kept, in at most 128 MiB. Where there is no room, new requests are told `busy`
/// rather than that one is forgotten which may still be repeated.
///
/// A datagram whose frame has `error` is a reply: it is not answered, so that no two servers talk for ever.
#[derive(Debug)]
pub struct Server {
    socket: UdpSocket,
    limits: Limits,
    cache: Mutex<Cache>,
    counters: UdpCounters,
}

impl Server {
    /// A server on this address; port 0 lets the system choose one.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn bind(addr: impl ToSocketAddrs, limits: Limits) -> io::Result<Self> {
        Ok(Self::new(bind(addr)?, limits))
    }

    /// The same on a socket that is bound already: one that another process has handed over, say.
    ///
    /// # Errors
    /// If the system fails.
    pub fn from_socket(socket: UdpSocket, limits: Limits) -> io::Result<Self> {
        Ok(Self::new(adopt(socket)?, limits))
    }

    fn new(socket: UdpSocket, limits: Limits) -> Self {
        Self {
            socket,
            limits,
            cache: Mutex::new(Cache::new(cache::MAX_OCTETS)),
            counters: UdpCounters::default(),
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> UdpStats {
        self.counters.read()
    }

    /// The same with up to `max_octets` of memory for the replies that may be asked for again, instead of
    /// 128 MiB. A request finds room if there is some for a whole datagram.
    #[must_use]
    pub fn with_cache(mut self, max_octets: usize) -> Self {
        self.cache = Mutex::new(Cache::new(max_octets));
        self
    }

    /// The address that the server listens on.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown`, with a new service for every request, from `factory`.
    ///
    /// A service that never waits answers on this thread. One that says `Poll::Pending`, or has a long
    /// reply, goes on in a thread of its own; `put`, which waits for a disk, begins there. The request's
    /// `timeout_ms` is its deadline; without it, it may go without progress for [`Limits::idle_timeout`].
    ///
    /// After the shutdown, requests that have begun have [`Limits::grace`] to end, and repeats are still
    /// answered. What the network does to single datagrams never ends the server; a service that panics
    /// does not either: its client is told `internal`.
    ///
    /// # Errors
    /// If the system lacks the memory to wait for datagrams.
    pub fn serve_forever<S: Service + Send>(
        &self,
        shutdown: &Shutdown,
        factory: impl Fn(SocketAddr) -> S + Sync,
    ) -> io::Result<()> {
        let end = OnceLock::new();
        thread::scope(|scope| {
            let mut receiver = Receiver {
                server: self,
                factory: &factory,
                scope,
                end: &end,
                workers: Vec::new(),
                out: Vec::new(),
                header: Vec::new(),
            };
            let served = receiver.run(shutdown);
            receiver.end_workers();
            served
        })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, datagram: &[u8], peer: SocketAddr) {
        send(&self.socket, datagram, peer, &self.counters);
    }

    /// Answers what is not worth a place in the cache.
    fn refuse(&self, peer: SocketAddr, id: Option<u32>, refusal: Refusal) {
        debug!(%peer, id, code = %refusal.code, reason = %refusal.message, "refused");
        self.send(&error_frame(refusal, id, 0), peer);
    }
}

/// The frame that says so, behind `offset` octets of the reply's body.
fn error_frame(refusal: Refusal, id: Option<u32>, offset: u64) -> Vec<u8> {
    let mut reply = Reply::from(refusal);
    reply.id = id;
    reply.offset = (offset > 0).then_some(offset);
    // A sentence of 96 octets, each escaped with six, and the rest of the header.
    let mut frame = vec![0; 1024];
    let len = encode(&reply, &mut frame).unwrap_or_default();
    frame.truncate(len);
    frame
}

/// The receiving thread.
struct Receiver<'scope, 'env, F> {
    server: &'scope Server,
    factory: &'scope F,
    scope: &'scope Scope<'scope, 'env>,
    /// When the grace after a shutdown is over.
    end: &'scope OnceLock<Instant>,
    workers: Vec<ScopedJoinHandle<'scope, ()>>,
    /// Room for a datagram to send, and to decode a header in.
    out: Vec<u8>,
    header: Vec<u8>,
}

impl<'scope, S, F> Receiver<'scope, '_, F>
where
    S: Service + Send + 'scope,
    F: Fn(SocketAddr) -> S + Sync,
{
    fn run(&mut self, shutdown: &Shutdown) -> io::Result<()> {
        let socket = &self.server.socket;
        // One octet more than any datagram has, so that none is cut unnoticed.
        let mut datagram = vec![0; usize::from(u16::MAX) + 1];
        let mut failures = 0;
        loop {
            if shutdown.is_requested() {
                self.end_workers();
                if self.busy_workers() == 0 {
                    return Ok(());
                }
            }
            match socket.recv_from(&mut datagram) {
                Ok((len, peer)) => {
                    failures = 0;
                    self.server.counters.received.add_one();
                    self.handle(&datagram[..len], peer);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    failures = 0;
                    let ours = PollFd::new(socket, PollFlags::IN);
                    let theirs = PollFd::new(shutdown, PollFlags::IN);
                    if self.end.get().is_some() {
                        wait(&mut [ours], Some(WORKERS_CHECK))?;
                    } else {
                        wait(&mut [ours, theirs], self.until_expiry())?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // What the network has to say about a datagram of ours; the next receive is as good as ever.
                    debug!(%error, "a receive failed");
                    failures += 1;
                    if failures > FAILURES {
                        let theirs = PollFd::new(shutdown, PollFlags::IN);
                        wait(&mut [theirs], Some(FAILURE_PAUSE))?;
                    }
                }
            }
        }
    }

    /// How long to wait for a datagram before the cache is looked through, if it is worth it.
    fn until_expiry(&self) -> Option<Duration> {
        let mut cache = self.server.cache();
        cache.expire(Instant::now());
        (!cache.is_empty()).then_some(cache::KEEP)
    }

    /// Tells the workers when their time is over, once.
    fn end_workers(&mut self) {
        let grace = self.server.limits.grace;
        if self.end.get().is_none() {
            self.end.get_or_init(|| after(Instant::now(), grace));
            for worker in &self.workers {
                worker.thread().unpark();
            }
        }
    }

    fn busy_workers(&mut self) -> usize {
        self.workers.retain(|worker| !worker.is_finished());
        self.workers.len()
    }

    fn handle(&mut self, datagram: &[u8], peer: SocketAddr) {
        let server = self.server;
        let opened = open::<Request>(datagram, server.limits.max_header, &mut self.header);
        let (request, body) = match opened {
            Ok(opened) => opened,
            Err(refusal) => return server.refuse(peer, None, refusal),
        };
        if request.op.is_none() && self.is_error_frame(datagram) {
            debug!(%peer, "an error frame is not a request");
            return;
        }
        let id = request.id;
        if request.body_len() != body.len() as u64 {
            let message = format_args!(
                "total_size is {}: the datagram has {} octets of body",
                request.total_size,
                body.len()
            );
            return server.refuse(peer, id, Refusal::new(Code::BadHeader, message));
        }
        let key = id.map(|id| Key { peer, id });
        if let Some(key) = key {
            let admission = server.cache().admit(key, datagram, Instant::now());
            match admission {
                Admission::New => {}
                Admission::Repeat(datagrams) => {
                    server.counters.repeats.add_one();
                    return datagrams
                        .iter()
                        .for_each(|datagram| server.send(datagram, peer));
                }
                Admission::InUse => {
                    debug!(%peer, id, "the id is in use: the request is passed over");
                    return;
                }
                Admission::Full => {
                    let message = "too many requests of late: no room to keep another reply";
                    return server.refuse(peer, id, Refusal::busy(message, RETRY_MS));
                }
            }
        }
        let mut answer = Answer {
            server,
            peer,
            key,
            offset: 0,
            over: false,
        };
        if self.end.get().is_some() {
            answer.refuse(Refusal::busy(SHUTTING_DOWN, RETRY_MS));
        } else if !self.has_place() {
            let most = server.limits.max_connections;
            let message = format_args!("{most} requests are being carried out, as many as may");
            answer.refuse(Refusal::busy(message, RETRY_MS));
        } else {
            let stores = request.op.as_ref().is_some_and(|op| op.as_str() == STORES);
            let inline = if stores { 0 } else { INLINE_FRAMES };
            self.carry_out(datagram, inline, answer);
        }
    }

    /// Whether this is a frame with `error`.
    fn is_error_frame(&mut self, datagram: &[u8]) -> bool {
        open::<Reply>(datagram, self.server.limits.max_header, &mut self.header)
            .is_ok_and(|(reply, _)| reply.error.is_some())
    }

    /// Whether one more request may be carried out.
    fn has_place(&mut self) -> bool {
        let most = self.server.limits.max_connections;
        self.workers.len() < most || self.busy_workers() < most
    }

    /// Carries a request out: the first `inline` frames here, and the rest, from where it takes time, in a worker.
    fn carry_out(&mut self, datagram: &[u8], inline: usize, answer: Answer<'scope>) {
        let out = &mut self.out;
        out.resize(MAX_DATAGRAM, 0);
        let unfinished = catch_unwind(AssertUnwindSafe(|| {
            let service = (self.factory)(answer.peer);
            let mut turn = Turn::new(service, answer, std::mem::take(out));
            let mut cx = Context::from_waker(Waker::noop());
            let mut input = datagram;
            for _ in 0..inline {
                match turn.step(&mut cx, &mut input) {
                    Step::Sent => {}
                    Step::Waits => break,
                    Step::Over => {
                        // The buffer serves the next request.
                        *out = turn.out;
                        return None;
                    }
                }
            }
            Some((turn, input.to_vec()))
        }));
        let Ok(Some((turn, input))) = unfinished else {
            return;
        };
        let (peer, end) = (turn.answer.peer, self.end);
        // If there is no thread to be had the turn is dropped, which answers the client.
        let worker = thread::Builder::new().name("unstick-udp".to_owned());
        let spawned = worker.spawn_scoped(self.scope, move || {
            // The panic has been reported by its hook, and dropping the turn has answered the client.
            let _ = catch_unwind(AssertUnwindSafe(|| turn.run(&input, end)));
        });
        self.busy_workers();
        match spawned {
            Ok(worker) => self.workers.push(worker),
            Err(error) => warn!(%peer, %error, "no thread for a request"),
        }
    }
}

/// `duration` after `start`; far away if there is no such instant.
fn after(start: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    start.checked_add(duration).unwrap_or_else(|| start + FAR)
}

/// The reply to one request, on its way: what is sent is kept for repeats.
///
/// Dropped before it is complete, which only a panic or the lack of a thread does, it ends with `internal`.
struct Answer<'a> {
    server: &'a Server,
    peer: SocketAddr,
    /// Without one, nothing is kept.
    key: Option<Key>,
    /// How many octets of body were sent.
    offset: u64,
    over: bool,
}

impl Answer<'_> {
    fn send(&mut self, frame: &[u8]) -> Result<(), Overflow> {
        if let Some(key) = self.key {
            // Kept first: what was sent is never unknown to the cache.
            let mut cache = self.server.cache();
            cache.push(key, frame.into(), Instant::now())?;
        }
        self.server.send(frame, self.peer);
        self.offset += body_len(frame);
        Ok(())
    }

    /// Ends the reply with an error frame.
    fn refuse(&mut self, refusal: Refusal) {
        let peer = self.peer;
        debug!(%peer, code = %refusal.code, reason = %refusal.message, "refused");
        let frame = error_frame(refusal, self.key.map(|key| key.id), self.offset);
        if let Some(key) = self.key {
            self.server.cache().push_refusal(key, frame[..].into());
        }
        self.server.send(&frame, peer);
        self.finish();
    }

    fn finish(&mut self) {
        self.over = true;
        if let Some(key) = self.key {
            self.server.cache().finish(key, Instant::now());
        }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        if !self.over {
            let message = "the server failed before the request was answered";
            self.refuse(Refusal::new(Code::Internal, message));
        }
    }
}

/// How many octets of body a frame of ours has.
fn body_len(frame: &[u8]) -> u64 {
    let header = frame
        .first_chunk()
        .map_or(0, |prefix| u32::from_le_bytes(*prefix));
    (frame.len() as u64).saturating_sub(PREFIX_LEN as u64 + u64::from(header))
}

/// What became of a request.
enum Step {
    /// A frame was sent, and there is more to do.
    Sent,
    /// The service has nothing yet.
    Waits,
    /// It is answered.
    Over,
}

/// One request that is being carried out.
struct Turn<'a, S> {
    connection: Box<Connection<S, HEADER_CAPACITY>>,
    answer: Answer<'a>,
    begun: Instant,
    /// The datagram that is being filled, and how far.
    out: Vec<u8>,
    filled: usize,
}

impl<'a, S: Service> Turn<'a, S> {
    fn new(service: S, answer: Answer<'a>, out: Vec<u8>) -> Self {
        let limits = answer.server.limits;
        let connection = Connection::new(service)
            .with_limits(limits.max_header, limits.max_body)
            .for_datagrams();
        Self {
            connection: Box::new(connection),
            answer,
            begun: Instant::now(),
            out,
            filled: 0,
        }
    }

    /// Goes on until a frame is sent, the service has nothing, or the request is answered.
    ///
    /// `input` is what the service has not taken yet of the request.
    fn step(&mut self, cx: &mut Context<'_>, input: &mut &[u8]) -> Step {
        loop {
            // Also where the service had nothing the last time: it is asked again.
            let free = self.out.get_mut(self.filled..).unwrap_or_default();
            self.filled += self.connection.transmit(cx, free);
            let mut sent = false;
            if self.filled > 0 && self.connection.is_between_frames() {
                let frame = &self.out[..std::mem::take(&mut self.filled)];
                if let Err(overflow) = self.answer.send(frame) {
                    self.give_up(match overflow {
                        Overflow::Reply => Refusal::new(
                            Code::TooLarge,
                            "the reply is too long to be kept for repeats; ask over TCP",
                        ),
                        Overflow::Cache => {
                            Refusal::busy("broken off: no room to keep the reply", RETRY_MS)
                        }
                    });
                    return Step::Over;
                }
                sent = true;
            }
            match self.connection.wants() {
                Wants::Input if input.is_empty() => {
                    self.answer.finish();
                    return Step::Over;
                }
                Wants::Input => self.connection.receive(input),
                Wants::Output | Wants::Pending if sent => return Step::Sent,
                Wants::Output => {}
                Wants::Pending => return Step::Waits,
                Wants::Close => {
                    self.close();
                    return Step::Over;
                }
            }
        }
    }

    /// Ends the reply where the connection closes.
    fn close(&mut self) {
        let fault = self.connection.fault();
        let cut = !self.connection.is_between_frames() || fault == Some(Fault::BufferTooSmall);
        match fault {
            // Nothing of this frame was sent: unlike over TCP, there can be word of it.
            Some(fault) if cut => self.answer.refuse(Refusal::new(Code::Internal, fault)),
            _ => self.answer.finish(),
        }
    }

    /// Stops what the service has begun, and says why.
    fn give_up(&mut self, refusal: Refusal) {
        self.connection.abort(refusal.clone());
        self.answer.refuse(refusal);
    }

    /// Goes on to the end, in a thread of its own, but not beyond its deadline or `end`.
    fn run(mut self, mut input: &[u8], end: &OnceLock<Instant>) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        let idle = self.answer.server.limits.idle_timeout;
        let timeout = self.connection.timeout_ms().map(Duration::from_millis);
        let mut deadline = after(self.begun, timeout.unwrap_or(idle));
        loop {
            let step = self.step(&mut cx, &mut input);
            let now = Instant::now();
            match step {
                Step::Over => return,
                Step::Sent if timeout.is_none() => deadline = after(now, idle),
                Step::Sent | Step::Waits => {}
            }
            let end = end.get().copied().filter(|end| *end < deadline);
            let until = end.unwrap_or(deadline);
            if now >= until {
                return self.give_up(match (end, timeout) {
                    (Some(_), _) => Refusal::busy(SHUTTING_DOWN, RETRY_MS),
                    (None, Some(_)) => {
                        let message = "the `timeout_ms` of the request are over";
                        Refusal::new(Code::Deadline, message)
                    }
                    (None, None) => {
                        let message = format_args!("nothing has moved for {idle:?}");
                        Refusal::new(Code::Deadline, message)
                    }
                });
            }
            if matches!(step, Step::Waits) {
                thread::park_timeout(until - now);
            }
        }
    }
}

/// Wakes a worker.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

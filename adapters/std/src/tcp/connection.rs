//! One connection's thread: moves octets between a socket and core's [`Connection`], and keeps the deadlines.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown as Direction, TcpStream};
use std::ops::Range;
use std::os::fd::AsFd;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use unstick_core::{Code, Connection, Phase, Refusal, Service, Wants};

use super::wait::{WakePipe, is_ready, wait};
use crate::limits::{HEADER_CAPACITY, Limits};
use crate::shutdown::Shutdown;

/// Octets that are read, and written, at a time.
const BUFFER_LEN: usize = 16 * 1024;
/// Inside a request the idle deadline moves on when this many octets have, not with each one that trickles in.
const PROGRESS_LEN: usize = 1024;
/// How long a service may go on for a peer that will send no more: one that has closed its socket looks the
/// same as one that has closed only its sending side.
const HANGUP_GRACE: Duration = Duration::from_millis(300);
/// How long a closed connection takes in what its peer still sends: closing with octets unread would reset
/// the connection, and the reset would overtake the last frame.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// When a peer that was told `busy` may try again, in milliseconds.
pub(super) const RETRY_AFTER_MS: u32 = 1000;

/// One connection while it is served.
pub(super) struct Session<'a, S> {
    stream: &'a TcpStream,
    limits: &'a Limits,
    shutdown: &'a Shutdown,
    connection: Connection<S, HEADER_CAPACITY>,
    input: Box<[u8]>,
    /// What of `input` the connection has not received yet.
    held: Range<usize>,
    output: Box<[u8]>,
    /// How many octets at the front of `output` are to be written.
    unsent: usize,
    /// Made when a service is first waited for: most never are.
    wake: Option<WakePipe>,
    /// Where the connection stands, in which request, and since when.
    phase: (Phase, u32),
    since: Instant,
    /// When octets moved last, but for fewer than [`PROGRESS_LEN`].
    moved: Instant,
    trickled: usize,
    /// When to give up what is in flight: known once a shutdown was requested.
    stop: Option<Instant>,
    /// When to give up the service: known once the peer has hung up.
    hangup: Option<Instant>,
    /// Whether the peer has ended its stream.
    ended: bool,
}

impl<'a, S: Service> Session<'a, S> {
    /// `stream` has to be non-blocking.
    pub(super) fn new(
        stream: &'a TcpStream,
        limits: &'a Limits,
        shutdown: &'a Shutdown,
        service: S,
    ) -> Self {
        let connection = Connection::new(service).with_limits(limits.max_header, limits.max_body);
        let now = Instant::now();
        Self {
            phase: (connection.phase(), connection.requests()),
            stream,
            limits,
            shutdown,
            connection,
            input: vec![0; BUFFER_LEN].into(),
            held: 0..0,
            output: vec![0; BUFFER_LEN].into(),
            unsent: 0,
            wake: None,
            since: now,
            moved: now,
            trickled: 0,
            stop: None,
            hangup: None,
            ended: false,
        }
    }

    /// Serves the connection until it is closed.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            match self.connection.wants() {
                Wants::Input if !self.held.is_empty() => {
                    let mut input = &self.input[self.held.clone()];
                    self.connection.receive(&mut input);
                    self.held.start = self.held.end - input.len();
                    self.note_phase();
                }
                Wants::Input => {
                    self.flush()?;
                    self.read()?;
                }
                Wants::Output => {
                    self.keep_deadlines(Waiting::ForService);
                    let octets = self.transmit();
                    if octets == 0 && self.connection.wants() == Wants::Output {
                        self.flush()?;
                    }
                }
                Wants::Pending => {
                    self.flush()?;
                    self.await_service()?;
                }
                Wants::Close => {
                    if let Some(fault) = self.connection.fault() {
                        tracing::info!("closing: {fault}");
                    }
                    self.flush()?;
                    return self.linger();
                }
            }
        }
    }

    fn transmit(&mut self) -> usize {
        let waker = match &self.wake {
            Some(wake) => wake.waker(),
            None => Waker::noop().clone(),
        };
        let mut cx = Context::from_waker(&waker);
        let octets = self
            .connection
            .transmit(&mut cx, &mut self.output[self.unsent..]);
        self.unsent += octets;
        self.note_phase();
        octets
    }

    /// Reads once, as soon as there is something.
    fn read(&mut self) -> io::Result<()> {
        loop {
            self.keep_deadlines(Waiting::ForPeer);
            if self.connection.wants() != Wants::Input {
                return Ok(());
            }
            match self.stream.read(&mut self.input) {
                Ok(0) => {
                    self.ended = true;
                    self.connection.finish();
                    return Ok(());
                }
                Ok(octets) => {
                    self.held = 0..octets;
                    self.note_progress(octets);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN, Waiting::ForPeer)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes all that is unsent.
    fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.unsent {
            match self.stream.write(&self.output[written..self.unsent]) {
                Ok(octets) => {
                    written += octets;
                    self.note_progress(octets);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // There is no sense in another frame for a peer that does not read.
                    if self.overdue(Waiting::ForPeer).is_some() {
                        return Err(io::Error::new(
                            ErrorKind::TimedOut,
                            "the peer does not read",
                        ));
                    }
                    self.wait(PollFlags::OUT, Waiting::ForPeer)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent = 0;
        Ok(())
    }

    /// Waits until the service is worth asking again, and asks it.
    fn await_service(&mut self) -> io::Result<()> {
        if self.wake.is_none() {
            self.wake = Some(WakePipe::new()?);
            // The service has to learn of its waker first.
            self.transmit();
            return Ok(());
        }
        loop {
            self.keep_deadlines(Waiting::ForService);
            if self.connection.wants() != Wants::Pending {
                return Ok(());
            }
            let hangup = match self.hangup {
                Some(_) => PollFlags::empty(),
                None => PollFlags::RDHUP,
            };
            if self.wait(hangup, Waiting::ForService)? {
                self.transmit();
                return Ok(());
            }
        }
    }

    /// Waits for `events` of the stream, a wake if the service is waited for, a shutdown or the deadline.
    /// Whether the service was woken.
    fn wait(&mut self, events: PollFlags, waiting: Waiting) -> io::Result<bool> {
        let deadline = self.deadline(waiting).map(|(at, _)| at);
        let stream = PollFd::from_borrowed_fd(self.stream.as_fd(), events);
        let mut fds = vec![stream];
        // A shutdown that is known already would be told of again and again.
        let shutdown = self.stop.is_none().then(|| {
            fds.push(PollFd::from_borrowed_fd(
                self.shutdown.as_fd(),
                PollFlags::IN,
            ));
            fds.len() - 1
        });
        let wake = match (&self.wake, waiting) {
            (Some(wake), Waiting::ForService) => {
                fds.push(wake.poll_fd());
                Some(fds.len() - 1)
            }
            _ => None,
        };
        wait(&mut fds, deadline)?;
        let is_ready = |index: Option<usize>| index.is_some_and(|index| is_ready(&fds[index]));
        let (shutdown, woken, seen) = (is_ready(shutdown), is_ready(wake), fds[0].revents());
        drop(fds);
        if shutdown {
            self.stop = Some(Instant::now() + self.limits.grace);
        }
        if waiting == Waiting::ForService {
            if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
                return Err(ErrorKind::ConnectionReset.into());
            }
            if seen.intersects(PollFlags::RDHUP) {
                self.hangup = Some(Instant::now() + HANGUP_GRACE);
            }
        }
        if woken && let Some(wake) = &mut self.wake {
            wake.take()?;
        }
        Ok(woken)
    }

    /// The next deadline and what it is for.
    fn deadline(&self, waiting: Waiting) -> Option<(Instant, Overdue)> {
        let idle = self.moved.checked_add(self.limits.idle_timeout);
        let idle = idle.filter(|_| waiting == Waiting::ForPeer);
        let (header, turn) = match self.phase.0 {
            Phase::Idle => (None, None),
            Phase::Header => (self.since.checked_add(self.limits.header_timeout), None),
            Phase::Turn => {
                let timeout = self.connection.timeout_ms().map(Duration::from_millis);
                (
                    None,
                    timeout.and_then(|timeout| self.since.checked_add(timeout)),
                )
            }
        };
        let all = [
            (idle, Overdue::Idle),
            (header, Overdue::Header),
            (turn, Overdue::Turn),
            (self.stop, Overdue::Shutdown),
            (
                self.hangup.filter(|_| waiting == Waiting::ForService),
                Overdue::Hangup,
            ),
        ];
        let known = all.into_iter().filter_map(|(at, what)| Some((at?, what)));
        known.min_by_key(|(at, _)| *at)
    }

    /// What has taken too long.
    fn overdue(&self, waiting: Waiting) -> Option<Overdue> {
        let (at, overdue) = self.deadline(waiting)?;
        (at <= Instant::now()).then_some(overdue)
    }

    /// Ends what has taken too long, if anything has.
    fn keep_deadlines(&mut self, waiting: Waiting) {
        if self.shutdown.is_requested() {
            let grace = self.limits.grace;
            self.stop.get_or_insert_with(|| Instant::now() + grace);
            if self.phase.0 == Phase::Idle && self.held.is_empty() {
                // Nothing is in flight here.
                self.connection.finish();
                return;
            }
        }
        let Limits {
            header_timeout,
            idle_timeout,
            ..
        } = self.limits;
        match self.overdue(waiting) {
            None => {}
            Some(Overdue::Idle) if self.phase.0 == Phase::Idle => self.connection.finish(),
            Some(Overdue::Idle) => self.connection.abort(Refusal::new(
                Code::Deadline,
                format_args!("nothing has moved for {idle_timeout:?}"),
            )),
            Some(Overdue::Header) => self.connection.abort(Refusal::new(
                Code::Deadline,
                format_args!("the header took longer than {header_timeout:?}"),
            )),
            Some(Overdue::Turn) => self.connection.cancel(Refusal::new(
                Code::Deadline,
                "the `timeout_ms` of the request are over",
            )),
            Some(Overdue::Hangup) => self.connection.abort(Refusal::new(
                Code::Deadline,
                "the peer hung up while the request was carried out",
            )),
            Some(Overdue::Shutdown) => self
                .connection
                .abort(Refusal::busy("the server is shutting down", RETRY_AFTER_MS)),
        }
    }

    fn note_phase(&mut self) {
        let phase = (self.connection.phase(), self.connection.requests());
        if phase != self.phase {
            self.phase = phase;
            self.since = Instant::now();
            self.moved = self.since;
            self.trickled = 0;
            self.hangup = None;
        }
    }

    fn note_progress(&mut self, octets: usize) {
        self.trickled += octets;
        if self.trickled >= PROGRESS_LEN {
            self.moved = Instant::now();
            self.trickled = 0;
        }
    }

    /// Closes so that the peer gets the last frame whole.
    fn linger(mut self) -> io::Result<()> {
        self.stream.shutdown(Direction::Write)?;
        let end = Instant::now() + LINGER;
        while !self.ended && Instant::now() < end {
            match self.stream.read(&mut self.input) {
                Ok(octets) => self.ended = octets == 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let stream = PollFd::from_borrowed_fd(self.stream.as_fd(), PollFlags::IN);
                    wait(&mut [stream], Some(end))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Octets from the peer, or room for octets to it.
    ForPeer,
    /// The service: however long it takes, the connection is not idle.
    ForService,
}

/// What can take too long.
#[derive(Debug, Clone, Copy)]
enum Overdue {
    Idle,
    Header,
    Turn,
    Shutdown,
    Hangup,
}

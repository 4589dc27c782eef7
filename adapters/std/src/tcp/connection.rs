//! One connection's thread: moves octets between a socket and core's [`Session`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use unstick_core::{Code, Connection, Needs, Phase, Refusal, Service, Session, Timeouts};

use crate::accept::close;
use crate::limits::{HANGUP_GRACE, HEADER_CAPACITY, Limits};
use crate::poll::{is_ready, wait_until};
use crate::shutdown::Shutdown;
use crate::wake::WakePipe;

/// Octets that are read, and written, at a time.
const BUFFER_LEN: usize = 16 * 1024;
/// When a peer that was told `busy` may try again, in milliseconds.
pub(super) const RETRY_AFTER_MS: u32 = 1000;

/// The peer of one connection while it is served.
pub(super) struct Peer<'a, S> {
    stream: &'a TcpStream,
    session: Box<Session<S, HEADER_CAPACITY, Buffer, Buffer>>,
    timeouts: Timeouts,
    grace: Duration,
    shutdown: &'a Shutdown,
    /// The session's clock counts from here.
    start: Instant,
    /// Made when a service is first waited for: most never are.
    wake: Option<WakePipe>,
    /// When to give up what is in flight: known once a shutdown was requested.
    stop: Option<Duration>,
    /// When to give up the service for a peer that has hung up, and in which request.
    hangup: Option<(Duration, u32)>,
}

/// On the heap, and zeroed by the system: what of it is never used takes no memory.
type Buffer = Box<[u8]>;

fn buffer() -> Buffer {
    vec![0; BUFFER_LEN].into()
}

impl<'a, S: Service> Peer<'a, S> {
    /// `stream` has to be non-blocking.
    pub(super) fn new(
        stream: &'a TcpStream,
        limits: &Limits,
        shutdown: &'a Shutdown,
        service: S,
    ) -> Self {
        let connection = Connection::new(service).with_limits(limits.max_header, limits.max_body);
        Self {
            stream,
            session: Box::new(Session::new(connection, buffer(), buffer(), Duration::ZERO)),
            timeouts: Timeouts {
                header: limits.header_timeout,
                idle: limits.idle_timeout,
            },
            grace: limits.grace,
            shutdown,
            start: Instant::now(),
            wake: None,
            stop: None,
            hangup: None,
        }
    }

    /// Serves the connection until it is closed.
    pub(super) fn serve(mut self) -> io::Result<()> {
        loop {
            let needs = self.advance();
            let late = self.keep_deadlines(needs);
            match needs {
                // What was late has left something else to do.
                Needs::Read | Needs::Service if late => {}
                Needs::Read => self.read()?,
                Needs::Write => self.write()?,
                Needs::Service => self.await_service()?,
                Needs::Close => return self.close(),
            }
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn advance(&mut self) -> Needs {
        let waker = match &self.wake {
            Some(wake) => wake.waker(),
            None => Waker::noop().clone(),
        };
        let now = self.now();
        self.session.advance(&mut Context::from_waker(&waker), now)
    }

    /// Reads once, if there is something; otherwise waits.
    fn read(&mut self) -> io::Result<()> {
        match self.stream.read(self.session.room()) {
            Ok(octets) => {
                let now = self.now();
                self.session.received(octets, now);
                Ok(())
            }
            Err(error) => {
                // A service may wait for something besides the rest of the body.
                if self.session.connection().is_stalled() && self.arm()? {
                    return Ok(());
                }
                self.try_again(error, PollFlags::IN, Needs::Read)
            }
        }
    }

    /// Writes once, if there is room; otherwise waits, until the peer has taken too long.
    fn write(&mut self) -> io::Result<()> {
        match self.stream.write(self.session.unsent()) {
            Ok(octets) => {
                let now = self.now();
                self.session.sent(octets, now);
                Ok(())
            }
            Err(error) => {
                let deadline = self.deadline(Needs::Write);
                if deadline.is_some_and(|deadline| deadline <= self.now()) {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        "the peer does not read",
                    ));
                }
                self.try_again(error, PollFlags::OUT, Needs::Write)
            }
        }
    }

    fn try_again(&mut self, error: io::Error, events: PollFlags, needs: Needs) -> io::Result<()> {
        match error.kind() {
            ErrorKind::WouldBlock => self.wait(events, needs).map(|_| ()),
            ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        }
    }

    /// Makes the waker if there is none yet: then the service has to be asked once more, to learn of it.
    fn arm(&mut self) -> io::Result<bool> {
        let first = self.wake.is_none();
        if first {
            self.wake = Some(WakePipe::new()?);
        }
        Ok(first)
    }

    /// Waits until the service is worth asking again.
    fn await_service(&mut self) -> io::Result<()> {
        if self.arm()? {
            return Ok(());
        }
        let request = self.session.connection().requests();
        let known = self.hangup.is_some_and(|(_, of)| of == request);
        let events = match known {
            true => PollFlags::empty(),
            false => PollFlags::RDHUP,
        };
        let seen = self.wait(events, Needs::Service)?;
        if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if seen.intersects(PollFlags::RDHUP) && !known {
            self.hangup = Some((self.now() + HANGUP_GRACE, request));
        }
        Ok(())
    }

    /// Waits for `events` of the stream, for a wake unless the session has to write first, for a shutdown or
    /// for the deadline. What is seen of the stream.
    fn wait(&mut self, events: PollFlags, needs: Needs) -> io::Result<PollFlags> {
        let deadline = self
            .deadline(needs)
            .and_then(|at| self.start.checked_add(at));
        let stream = PollFd::from_borrowed_fd(self.stream.as_fd(), events);
        // A shutdown that is known already would be told of again and again.
        let of_shutdown = match self.stop {
            None => PollFlags::IN,
            Some(_) => PollFlags::empty(),
        };
        let shutdown = PollFd::from_borrowed_fd(self.shutdown.as_fd(), of_shutdown);
        match &mut self.wake {
            Some(wake) if needs != Needs::Write => {
                let mut fds = [
                    stream,
                    shutdown,
                    PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN),
                ];
                wait_until(&mut fds, deadline)?;
                let (seen, woken) = (fds[0].revents(), is_ready(&fds[2]));
                if woken {
                    wake.take()?;
                }
                Ok(seen)
            }
            _ => {
                let mut fds = [stream, shutdown];
                wait_until(&mut fds, deadline)?;
                Ok(fds[0].revents())
            }
        }
    }

    /// The next deadline of the session, of a shutdown and of a peer that has hung up.
    fn deadline(&self, needs: Needs) -> Option<Duration> {
        let session = self.session.deadline(&self.timeouts, needs);
        let all = [session, self.stop, self.hangup_deadline(needs)];
        all.into_iter().flatten().min()
    }

    fn hangup_deadline(&self, needs: Needs) -> Option<Duration> {
        let (at, request) = self.hangup?;
        let now = self.session.connection().requests() == request && needs == Needs::Service;
        now.then_some(at)
    }

    /// Ends what has taken too long, if anything has; whether it has.
    fn keep_deadlines(&mut self, needs: Needs) -> bool {
        let now = self.now();
        if self.shutdown.is_requested() {
            let stop = *self.stop.get_or_insert(now + self.grace);
            let connection = self.session.connection_mut();
            if needs == Needs::Read && connection.phase() == Phase::Idle {
                // Nothing is in flight here.
                connection.finish();
                return true;
            }
            if stop <= now {
                connection.abort(Refusal::busy("the server is shutting down", RETRY_AFTER_MS));
                return true;
            }
        }
        if self.hangup_deadline(needs).is_some_and(|at| at <= now) {
            let hung_up = Refusal::new(Code::Deadline, "the sending side was closed too early");
            self.session.connection_mut().abort(hung_up);
            return true;
        }
        self.session.keep_deadlines(&self.timeouts, needs, now)
    }

    /// Closes so that the peer gets the last frame whole.
    fn close(self) -> io::Result<()> {
        if let Some(fault) = self.session.connection().fault() {
            tracing::info!("closing: {fault}");
        }
        close(self.stream, self.session.has_ended())
    }
}

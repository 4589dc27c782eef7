//! A connection as its handler sees it: octets, with the server's deadlines and its shutdown kept underneath.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use crate::limits::{HANGUP_GRACE, Limits};
use crate::poll::{is_ready, wait_until};
use crate::shutdown::Shutdown;
use crate::wake::WakePipe;

/// Octets that a peer has to take within [`Limits::idle_timeout`], unless fewer are left of a write.
const PROGRESS: usize = 1024;

/// A connection: to be read and written like a `TcpStream`, through `&Stream` as well, so that a `BufReader` and
/// writes go side by side. Reading returns what has arrived, and 0 octets when the peer has closed its sending side.
///
/// # Errors
/// Besides what the network does: [`ErrorKind::TimedOut`] when nothing arrives for [`Limits::idle_timeout`], when the
/// peer takes fewer than 1024 octets of a write in that time, or when [the deadline](Self::set_deadline) has passed.
/// [`ErrorKind::ConnectionAborted`] when the server shuts down: at once where a read waits at rest, which is when
/// nothing was read since the last write; otherwise when [`Limits::grace`] is over.
#[derive(Debug)]
pub struct Stream<'s> {
    socket: &'s TcpStream,
    shutdown: &'s Shutdown,
    limits: &'s Limits,
    state: Cell<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// When to give up whatever is going on.
    deadline: Option<Instant>,
    /// The same for a shutdown: known once it was requested.
    stop: Option<Instant>,
    /// When to give up for a peer that has hung up.
    hangup: Option<Instant>,
    /// Something was read since the last write.
    in_flight: bool,
    /// The peer has closed its sending side, and the handler knows.
    ended: bool,
    /// Since when the peer has been slow to read, and how many octets it has taken since.
    slow: Option<(Instant, usize)>,
}

impl<'s> Stream<'s> {
    /// `socket` has to be non-blocking.
    pub(super) fn new(socket: &'s TcpStream, limits: &'s Limits, shutdown: &'s Shutdown) -> Self {
        Self {
            socket,
            shutdown,
            limits,
            state: Cell::default(),
        }
    }

    /// When to end whatever waits on this stream, with [`ErrorKind::TimedOut`]; never, at first. For a message that
    /// has to be whole in time.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.update(|state| state.deadline = deadline);
    }

    /// Whether it is worth going on: for a handler that works for long without reading or writing.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectionReset`] or [`ErrorKind::ConnectionAborted`] if the peer is gone. One that has closed only
    /// its sending side looks the same, and counts as gone 300 ms after that is first seen. The errors of a deadline
    /// and of a shutdown.
    pub fn check(&self) -> io::Result<()> {
        self.watch(None, Some(Instant::now())).map(|_| ())
    }

    /// Waits until `wake` is woken, and takes the wake: for a handler that waits for something besides its peer.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), as soon as there is one.
    pub fn wait_for(&self, wake: &mut WakePipe) -> io::Result<()> {
        while !self.watch(Some(wake), None)? {}
        Ok(())
    }

    /// Whether the peer has closed its sending side, and the handler knows.
    pub(super) fn has_ended(&self) -> bool {
        self.state.get().ended
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.get();
        change(&mut state);
        self.state.set(state);
    }

    /// Fails once the deadline or the grace of a shutdown is over; `at_rest`, once a shutdown was requested.
    fn keep_going(&self, at_rest: bool) -> io::Result<()> {
        let now = Instant::now();
        let grace = self.limits.grace;
        if self.shutdown.is_requested() {
            self.update(|state| {
                state
                    .stop
                    .get_or_insert(now.checked_add(grace).unwrap_or(now));
            });
            if at_rest || is_over(self.state.get().stop, now) {
                let message = "the server is shutting down";
                return Err(io::Error::new(ErrorKind::ConnectionAborted, message));
            }
        }
        match is_over(self.state.get().deadline, now) {
            true => Err(timed_out("the peer took too long")),
            false => Ok(()),
        }
    }

    /// Waits once, for a wake or `until`, and looks after the peer; whether there was a wake.
    fn watch(&self, wake: Option<&mut WakePipe>, until: Option<Instant>) -> io::Result<bool> {
        self.keep_going(false)?;
        let hangup = self.state.get().hangup;
        if is_over(hangup, Instant::now()) {
            let message = "the peer has closed its sending side too early";
            return Err(io::Error::new(ErrorKind::ConnectionAborted, message));
        }
        let events = match hangup {
            None => PollFlags::RDHUP,
            // It would be told again and again.
            Some(_) => PollFlags::empty(),
        };
        let until = hangup.into_iter().chain(until).min();
        let (seen, woken) = self.wait(events, until, wake)?;
        if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if seen.intersects(PollFlags::RDHUP) {
            self.update(|state| state.hangup = Some(Instant::now() + HANGUP_GRACE));
        }
        Ok(woken)
    }

    /// Waits for `events` of the peer, a wake, a shutdown, `until` or the deadline. What is seen of the peer, and
    /// whether there was a wake, which is taken.
    fn wait(
        &self,
        events: PollFlags,
        until: Option<Instant>,
        wake: Option<&mut WakePipe>,
    ) -> io::Result<(PollFlags, bool)> {
        let State { deadline, stop, .. } = self.state.get();
        let until = [until, deadline, stop].into_iter().flatten().min();
        let of_shutdown = match stop {
            None => PollFlags::IN,
            Some(_) => PollFlags::empty(),
        };
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.socket.as_fd(), events),
            PollFd::from_borrowed_fd(self.shutdown.as_fd(), of_shutdown),
        ];
        let of_wake = wake.as_ref().map(|wake| wake.as_fd());
        fds.extend(of_wake.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        wait_until(&mut fds, until)?;
        let (seen, woken) = (fds[0].revents(), fds.get(2).is_some_and(is_ready));
        drop(fds);
        if let Some(wake) = wake.filter(|_| woken) {
            wake.take()?;
        }
        Ok((seen, woken))
    }
}

fn is_over(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

fn timed_out(message: &str) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, message)
}

impl Read for &Stream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let deadline = Instant::now().checked_add(self.limits.idle_timeout);
        loop {
            self.keep_going(false)?;
            match (&*self.socket).read(out) {
                Ok(len) => {
                    self.update(|state| {
                        (state.in_flight, state.ended) = (true, len == 0);
                        // Each message has the whole of it.
                        state.hangup = None;
                    });
                    return Ok(len);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.keep_going(!self.state.get().in_flight)?;
            if is_over(deadline, Instant::now()) {
                return Err(timed_out("the peer has sent nothing for too long"));
            }
            self.wait(PollFlags::IN, deadline, None)?;
        }
    }
}

impl Write for &Stream<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        loop {
            self.keep_going(false)?;
            match (&*self.socket).write(octets) {
                Ok(len) => {
                    self.update(|state| {
                        state.in_flight = false;
                        let taken = state.slow.map(|(since, taken)| (since, taken + len));
                        state.slow = taken.filter(|(_, taken)| {
                            // The rest of a write counts as much as many octets of it.
                            *taken < PROGRESS && len < octets.len()
                        });
                    });
                    return Ok(len);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let now = Instant::now();
            let (since, _) = self.state.get().slow.unwrap_or((now, 0));
            self.update(|state| {
                state.slow.get_or_insert((now, 0));
            });
            let deadline = since.checked_add(self.limits.idle_timeout);
            if is_over(deadline, now) {
                return Err(timed_out("the peer does not read"));
            }
            self.wait(PollFlags::OUT, deadline, None)?;
        }
    }

    /// Nothing is held back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        (&*self).read(out)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        (&*self).write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

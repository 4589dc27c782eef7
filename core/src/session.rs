//! A connection with its buffers and its deadlines: all that an engine has for one peer but the socket.

use core::task::Context;
use core::time::Duration;

use crate::buffer::Buffer;
use crate::connection::{Connection, Phase, Wants};
use crate::head::{Code, Refusal};
use crate::service::Service;

/// Inside a request the idle deadline moves on when this many octets have, not with each one that trickles in.
const PROGRESS_LEN: usize = 1024;

/// How long a peer may take (PROTOCOL.md, "Deadlines").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From a header's first octet to its last.
    pub header: Duration,
    /// Without a request, and inside one without progress in either direction.
    pub idle: Duration,
}

/// What a session needs of its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Octets of the peer: read into [`Session::room`], then say how many with [`Session::received`].
    /// While the connection [is stalled](Connection::is_stalled), also the service, as below.
    Read,
    /// To send: write from [`Session::unsent`], then say how many with [`Session::sent`].
    Write,
    /// The service: [`Session::advance`] again when its waker is woken.
    Service,
    /// To be closed, so that the peer gets what was sent.
    Close,
}

/// One connection while it is served, with its input and its output in the caller's memory `I` and `O`: arrays on a
/// board, heap on a desktop.
///
/// Neither may be empty, and the output has to hold a prefix and a reply's header. An engine does what [`advance`](Self::advance) returns,
/// again and again. Its clock is any that never goes back, as the time since a start of its choice.
///
/// ```
/// use core::task::{Context, Waker};
/// use core::time::Duration;
/// use unstick_core::services::Echo;
/// use unstick_core::{Connection, Needs, Session};
///
/// let now = Duration::ZERO;
/// let mut cx = Context::from_waker(Waker::noop());
/// let connection = Connection::<_, 256>::new(Echo::<64>::new());
/// let mut session = Session::new(connection, [0; 64], [0; 128], now);
/// assert_eq!(session.advance(&mut cx, now), Needs::Read);
///
/// let request = b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}hello";
/// session.room()[..request.len()].copy_from_slice(request);
/// session.received(request.len(), now);
/// assert_eq!(session.advance(&mut cx, now), Needs::Write);
/// assert_eq!(session.unsent(), b"\x10\0\0\0{\"total_size\":5}hello");
/// ```
#[derive(Debug)]
pub struct Session<S, const N: usize, I, O> {
    connection: Connection<S, N>,
    input: Buffer<I>,
    output: Buffer<O>,
    /// Whether the peer has ended its stream.
    ended: bool,
    /// Where the connection stands, in which request, and since when.
    phase: (Phase, u32),
    since: Duration,
    /// When octets moved last, but for fewer than [`PROGRESS_LEN`].
    moved: Duration,
    trickled: usize,
    /// The service was what was needed last.
    waited: bool,
}

impl<S: Service, const N: usize, I, O> Session<S, N, I, O>
where
    I: AsRef<[u8]> + AsMut<[u8]>,
    O: AsRef<[u8]> + AsMut<[u8]>,
{
    /// A session for a peer that has connected `now`.
    pub const fn new(connection: Connection<S, N>, input: I, output: O, now: Duration) -> Self {
        Self {
            connection,
            input: Buffer::new(input),
            output: Buffer::new(output),
            ended: false,
            phase: (Phase::Idle, 0),
            since: now,
            moved: now,
            trickled: 0,
            waited: false,
        }
    }

    /// Begins anew for a peer that has connected `now`, with its service: see [`Connection::restart`].
    pub fn restart(&mut self, service: S, now: Duration) {
        self.connection.restart(service);
        self.input.clear();
        self.output.clear();
        self.ended = false;
        self.phase = (Phase::Idle, 0);
        self.since = now;
        self.moved = now;
        self.trickled = 0;
        self.waited = false;
    }

    /// The connection.
    pub const fn connection(&self) -> &Connection<S, N> {
        &self.connection
    }

    /// The connection, to [cancel](Connection::cancel) a request or to [abort](Connection::abort) it.
    pub const fn connection_mut(&mut self) -> &mut Connection<S, N> {
        &mut self.connection
    }

    /// Whether the peer has ended its stream, or was said to have.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Moves octets between the buffers and the connection until something else is needed.
    ///
    /// `cx` is handed to the service. Replies are to be written when their buffer is full or when there is nothing
    /// else to do, so that many small ones share a write.
    pub fn advance(&mut self, cx: &mut Context<'_>, now: Duration) -> Needs {
        if self.waited {
            // Then everything was sent: all that has passed since was the service's time.
            self.moved = now;
            self.trickled = 0;
        }
        let needs = self.next_needs(cx, now);
        self.waited = needs == Needs::Service;
        needs
    }

    fn next_needs(&mut self, cx: &mut Context<'_>, now: Duration) -> Needs {
        // The service may have been woken, also where the peer's octets are waited for.
        self.transmit(cx);
        loop {
            let wanted = self.connection.wants();
            let moved = match wanted {
                Wants::Input => self.receive(),
                Wants::Output => self.transmit(cx),
                Wants::Pending | Wants::Close => false,
            };
            self.note_phase(now);
            // Nothing moves without room, without input, and while the service waits.
            if !moved && self.connection.wants() == wanted {
                return match wanted {
                    _ if !self.output.is_empty() => Needs::Write,
                    Wants::Input => Needs::Read,
                    Wants::Output | Wants::Pending => Needs::Service,
                    Wants::Close => Needs::Close,
                };
            }
        }
    }

    fn receive(&mut self) -> bool {
        let any = !self.input.is_empty();
        let connection = &mut self.connection;
        self.input.take_with(|input| connection.receive(input));
        any
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> bool {
        let held = self.output.held().len();
        let room = self.output.room();
        let octets = self.connection.transmit_behind(held, cx, room);
        self.output.filled(octets);
        octets > 0
    }

    /// Where the peer's octets go: never empty when [`Needs::Read`].
    pub fn room(&mut self) -> &mut [u8] {
        self.input.room()
    }

    /// Says that the first `octets` of the room have been filled; 0 is the end of the peer's stream.
    pub fn received(&mut self, octets: usize, now: Duration) {
        if octets == 0 {
            self.ended = true;
            self.connection.finish();
        }
        self.input.filled(octets);
        self.note_progress(octets, now);
    }

    /// What is to be written: never empty when [`Needs::Write`].
    pub fn unsent(&self) -> &[u8] {
        self.output.held()
    }

    /// Says that the first `octets` of what was unsent have been written.
    pub fn sent(&mut self, octets: usize, now: Duration) {
        self.output.emptied(octets);
        self.note_progress(octets, now);
    }

    /// When [`keep_deadlines`](Self::keep_deadlines) has something to do, unless octets move before.
    ///
    /// `needs` is what the session waits for: the time that the service takes is not the peer's.
    pub fn deadline(&self, timeouts: &Timeouts, needs: Needs) -> Option<Duration> {
        self.next_deadline(timeouts, needs).map(|(at, _)| at)
    }

    fn next_deadline(&self, timeouts: &Timeouts, needs: Needs) -> Option<(Duration, Overdue)> {
        let idle = (needs != Needs::Service).then(|| self.moved.checked_add(timeouts.idle));
        let request = match self.phase.0 {
            Phase::Idle => None,
            Phase::Header => self.since.checked_add(timeouts.header),
            Phase::Turn => {
                let timeout = self.connection.timeout_ms().map(Duration::from_millis);
                timeout.and_then(|timeout| self.since.checked_add(timeout))
            }
        };
        let idle = idle.flatten().map(|at| (at, Overdue::Idle));
        let request = request.map(|at| (at, Overdue::Request));
        idle.into_iter().chain(request).min_by_key(|(at, _)| *at)
    }

    /// Ends what has taken too long, if anything has; whether it has.
    ///
    /// A request that is over its `timeout_ms` ends alone; a header or a peer that is too slow ends the connection,
    /// and a connection between requests ends without a word.
    #[inline(never)]
    pub fn keep_deadlines(&mut self, timeouts: &Timeouts, needs: Needs, now: Duration) -> bool {
        let Some((_, overdue)) = self
            .next_deadline(timeouts, needs)
            .filter(|(at, _)| *at <= now)
        else {
            return false;
        };
        let late = |what| Refusal::new(Code::Deadline, what);
        match (overdue, self.phase.0) {
            (Overdue::Idle, Phase::Idle) => self.connection.finish(),
            (Overdue::Idle, _) => self
                .connection
                .abort(late("nothing has moved for too long")),
            (Overdue::Request, Phase::Header) => {
                self.connection
                    .abort(late("the header took too long to arrive"));
            }
            (Overdue::Request, _) => {
                self.connection
                    .cancel(late("the `timeout_ms` of the request are over"));
            }
        }
        self.note_phase(now);
        true
    }

    fn note_phase(&mut self, now: Duration) {
        let phase = (self.connection.phase(), self.connection.requests());
        if phase != self.phase {
            self.phase = phase;
            self.since = now;
            self.moved = now;
            self.trickled = 0;
        }
    }

    fn note_progress(&mut self, octets: usize, now: Duration) {
        self.trickled = self.trickled.saturating_add(octets);
        if self.trickled >= PROGRESS_LEN {
            self.moved = now;
            self.trickled = 0;
        }
    }
}

/// What can be overdue.
#[derive(Debug, Clone, Copy)]
enum Overdue {
    Idle,
    /// Its header, or as a whole.
    Request,
}

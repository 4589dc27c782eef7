//! The place of one peer.

use core::task::Context;
use core::time::Duration;

use embedded_nal::TcpClientStack;
use unstick_core::{Code, Connection, Needs, Phase, Refusal, Service, Session, Timeouts};

use super::linger::Linger;
use super::server::TcpStats;
use crate::limits::{Limits, RETRY_AFTER_MS, SHUTTING_DOWN};
use crate::policy::{Received, Sent, TcpPolicy};

/// How long a service may go on for a peer that will send no more: one that has closed its socket looks the
/// same as one that has closed only its sending side.
const HANGUP_GRACE: Duration = Duration::from_millis(300);

/// What an occupied place waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Octets of the peer.
    Read,
    /// Room to send.
    Write,
    /// The service, which wakes the waker it was given; and octets of the peer, if `reads`.
    Service {
        /// Whether there is room for what the peer sends meanwhile.
        reads: bool,
    },
}

/// The place of one peer: free, serving it, or lingering until it has what was sent.
///
/// `K` is the stack's socket, `S` the service, `N` the octets of a header, `IN` and `OUT` those of the buffers. Nearly all of
/// its size is `N + IN + OUT` and the service.
#[derive(Debug)]
pub struct Slot<K, S, const N: usize, const IN: usize, const OUT: usize> {
    /// None if the slot is free.
    socket: Option<K>,
    /// Vacant if it is free or lingers. Always there: made anew for each peer it would be moved, and need as much stack.
    session: Session<Option<S>, N, [u8; IN], [u8; OUT]>,
    linger: Linger,
    waits: Waits,
    /// The session's requests so far, modulo 2^32.
    requests: u32,
    /// When to give up the service for a peer that has hung up, and in which request.
    hangup: Option<(Duration, u32)>,
}

/// What one pass is done with.
pub(super) struct Pass<'p, 'c, T, P> {
    pub(super) stack: &'p mut T,
    pub(super) policy: &'p mut P,
    pub(super) limits: &'p Limits,
    pub(super) stats: &'p mut TcpStats,
    pub(super) cx: &'p mut Context<'c>,
    pub(super) now: Duration,
    /// When what is in flight is given up: known once the server is being stopped.
    pub(super) stop: Option<Duration>,
}

/// What became of a slot in a pass.
enum Step {
    /// Something was done.
    Moved,
    /// There was nothing to do.
    Idle,
    /// All is said: let the peer read it.
    Close,
    /// The peer is gone, or as good as gone.
    Gone,
}

impl<K, S: Service, const N: usize, const IN: usize, const OUT: usize> Slot<K, S, N, IN, OUT> {
    /// A free slot.
    pub const FREE: Self = Self::free();

    /// A free slot, as [`FREE`](Self::FREE), but made where it is asked for: a board need not have one in flash to copy.
    pub const fn free() -> Self {
        const { assert!(IN > 0 && OUT > 0, "a session's buffers have room") };
        Self {
            socket: None,
            session: Session::new(Connection::new(None), [0; IN], [0; OUT], Duration::ZERO),
            linger: Linger::new(false, Duration::ZERO),
            waits: Waits::Read,
            requests: 0,
            hangup: None,
        }
    }

    /// Whether nobody has it.
    pub const fn is_free(&self) -> bool {
        self.socket.is_none()
    }

    /// The socket, and what the slot waits for.
    pub(super) fn waits(&self) -> Option<(&K, Waits)> {
        let waits = match self.is_serving() {
            true => self.waits,
            false => Waits::Read,
        };
        self.socket.as_ref().map(|socket| (socket, waits))
    }

    /// When another peer may have the slot, if it lingers.
    pub(super) fn gives_way(&self) -> Option<Duration> {
        let lingers = self.socket.is_some() && !self.is_serving();
        lingers.then(|| self.linger.gives_way())
    }

    const fn is_serving(&self) -> bool {
        self.session.connection().service().is_some()
    }

    /// Lets go of the peer, and of the service.
    pub(super) fn vacate<T: TcpClientStack<TcpSocket = K>>(&mut self, stack: &mut T) {
        self.session.restart(None, Duration::ZERO);
        if let Some(socket) = self.socket.take() {
            // Nothing is left to be done about a socket that does not close.
            let _ = stack.close(socket);
        }
    }

    /// Serves this peer, instead of whoever is here.
    ///
    /// Not inlined: on its way into the slot the service is on the stack, which those who call need for other things.
    #[inline(never)]
    pub(super) fn occupy<T: TcpClientStack<TcpSocket = K>>(
        &mut self,
        stack: &mut T,
        socket: K,
        service: impl FnOnce() -> S,
        limits: &Limits,
        now: Duration,
    ) {
        self.vacate(stack);
        self.session.restart(Some(service()), now);
        let connection = self.session.connection_mut();
        connection.set_limits(limits.max_header, limits.max_body);
        self.socket = Some(socket);
        self.waits = Waits::Read;
        self.requests = 0;
        self.hangup = None;
    }

    /// The next time that something is to be done unless octets move before.
    pub(super) fn deadline(&self, timeouts: &Timeouts, stop: Option<Duration>) -> Option<Duration> {
        self.socket.as_ref()?;
        if !self.is_serving() {
            return Some(self.linger.until());
        }
        let needs = match self.waits {
            Waits::Read => Needs::Read,
            Waits::Write => Needs::Write,
            Waits::Service { .. } => Needs::Service,
        };
        let hangup = self.hangup.map(|(at, _)| at);
        let hangup = hangup.filter(|_| needs == Needs::Service);
        let all = [self.session.deadline(timeouts, needs), hangup, stop];
        all.into_iter().flatten().min()
    }

    /// At most one send or receive; whether there was something to do.
    ///
    /// Not inlined, for the same reason as [`occupy`](Self::occupy).
    #[inline(never)]
    pub(super) fn poll<T, P>(&mut self, pass: &mut Pass<'_, '_, T, P>) -> bool
    where
        T: TcpClientStack<TcpSocket = K>,
        P: TcpPolicy<T>,
    {
        let serving = self.is_serving();
        let Some(socket) = &mut self.socket else {
            return false;
        };
        if !serving {
            let (stack, policy) = (&mut *pass.stack, &mut *pass.policy);
            let moved = self
                .linger
                .poll::<T, P, IN>(stack, policy, socket, pass.now);
            if moved.is_none() {
                self.vacate(pass.stack);
            }
            return moved.unwrap_or(true);
        }
        let mut turn = Turn {
            socket,
            session: &mut self.session,
            waits: &mut self.waits,
            hangup: &mut self.hangup,
        };
        let step = turn.step(pass);
        let requests = self.session.connection().requests();
        let new = requests.wrapping_sub(self.requests);
        self.requests = requests;
        pass.stats.requests = pass.stats.requests.wrapping_add(new);
        match step {
            Step::Moved => true,
            Step::Idle => false,
            Step::Gone => {
                pass.stats.lost = pass.stats.lost.wrapping_add(1);
                self.vacate(pass.stack);
                true
            }
            Step::Close => {
                self.close(pass);
                true
            }
        }
    }

    /// Ends a connection on which all is said.
    fn close<T, P>(&mut self, pass: &mut Pass<'_, '_, T, P>)
    where
        T: TcpClientStack<TcpSocket = K>,
        P: TcpPolicy<T>,
    {
        let Some(socket) = &mut self.socket else {
            return;
        };
        let faulty = self.session.connection().fault().is_some();
        if faulty {
            pass.stats.faults = pass.stats.faults.wrapping_add(1);
        }
        if self.session.has_ended() {
            self.vacate(pass.stack);
            return;
        }
        let half_closed = pass.policy.half_close(pass.stack, socket);
        if half_closed || faulty {
            self.session.restart(None, pass.now);
            self.linger = Linger::new(half_closed, pass.now);
        } else {
            // It has been told nothing that could be lost.
            self.vacate(pass.stack);
        }
    }
}

/// A slot that serves, in one pass.
struct Turn<'t, K, S, const N: usize, const IN: usize, const OUT: usize> {
    socket: &'t mut K,
    session: &'t mut Session<Option<S>, N, [u8; IN], [u8; OUT]>,
    waits: &'t mut Waits,
    hangup: &'t mut Option<(Duration, u32)>,
}

impl<K, S: Service, const N: usize, const IN: usize, const OUT: usize> Turn<'_, K, S, N, IN, OUT> {
    fn step<T, P>(&mut self, pass: &mut Pass<'_, '_, T, P>) -> Step
    where
        T: TcpClientStack<TcpSocket = K>,
        P: TcpPolicy<T>,
    {
        let now = pass.now;
        let mut needs = self.session.advance(pass.cx, now);
        if self.give_up_what_is_late(pass, needs) {
            // There is something else to do now.
            needs = self.session.advance(pass.cx, now);
        }
        match needs {
            Needs::Read => {
                *self.waits = Waits::Read;
                self.read(pass)
            }
            Needs::Write => {
                *self.waits = Waits::Write;
                self.write(pass)
            }
            Needs::Service => self.watch(pass),
            Needs::Close => Step::Close,
        }
    }

    fn read<T, P>(&mut self, pass: &mut Pass<'_, '_, T, P>) -> Step
    where
        T: TcpClientStack<TcpSocket = K>,
        P: TcpPolicy<T>,
    {
        if self.session.has_ended() {
            // Nothing will come that could be waited for.
            return Step::Gone;
        }
        let Some(step) = self.receive(pass) else {
            self.session.received(0, pass.now);
            return Step::Moved;
        };
        step
    }

    /// Receives once; none at the end of the peer's stream.
    fn receive<T, P>(&mut self, pass: &mut Pass<'_, '_, T, P>) -> Option<Step>
    where
        T: TcpClientStack<TcpSocket = K>,
        P: TcpPolicy<T>,
    {
        let received = pass.stack.receive(self.socket, self.session.room());
        match pass.policy.received(received) {
            Received::Octets(0) | Received::Nothing => Some(Step::Idle),
            Received::Octets(octets) => {
                self.session.received(octets, pass.now);
                Some(Step::Moved)
            }
            Received::End => None,
            Received::Gone => Some(Step::Gone),
        }
    }

    fn write<T, P>(&mut self, pass: &mut Pass<'_, '_, T, P>) -> Step
    where
        T: TcpClientStack<TcpSocket = K>,
        P: TcpPolicy<T>,
    {
        let sent = pass.stack.send(self.socket, self.session.unsent());
        match pass.policy.sent(sent) {
            Sent::Octets(0) | Sent::Full => {
                let timeouts = &pass.limits.timeouts;
                let session = self.session.deadline(timeouts, Needs::Write);
                let deadline = session.into_iter().chain(pass.stop).min();
                // It does not read.
                match deadline {
                    Some(at) if at <= pass.now => Step::Gone,
                    _ => Step::Idle,
                }
            }
            Sent::Octets(octets) => {
                self.session.sent(octets, pass.now);
                Step::Moved
            }
            Sent::Gone => Step::Gone,
        }
    }

    /// Reads ahead while the service works, as far as there is room: how a peer that is gone is noticed.
    fn watch<T, P>(&mut self, pass: &mut Pass<'_, '_, T, P>) -> Step
    where
        T: TcpClientStack<TcpSocket = K>,
        P: TcpPolicy<T>,
    {
        let request = self.session.connection().requests();
        if self.hangup.is_some_and(|(_, of)| of != request) {
            *self.hangup = None;
        }
        let reads = self.hangup.is_none() && !self.session.room().is_empty();
        *self.waits = Waits::Service { reads };
        if !reads {
            return Step::Idle;
        }
        let Some(step) = self.receive(pass) else {
            // The session is told when it asks to read, after what is held: stacks say it as often as asked.
            *self.hangup = Some((pass.now.saturating_add(HANGUP_GRACE), request));
            return Step::Moved;
        };
        step
    }

    /// Ends what has taken too long, if anything has; whether it has.
    #[inline(never)]
    fn give_up_what_is_late<T, P>(&mut self, pass: &Pass<'_, '_, T, P>, needs: Needs) -> bool {
        let now = pass.now;
        let request = self.session.connection().requests();
        if let Some(stop) = pass.stop {
            let connection = self.session.connection_mut();
            if needs == Needs::Read && connection.phase() == Phase::Idle {
                connection.finish();
                return true;
            }
            if stop <= now {
                connection.abort(Refusal::busy(SHUTTING_DOWN, RETRY_AFTER_MS));
                return true;
            }
        }
        let hung_up = self
            .hangup
            .is_some_and(|(at, of)| at <= now && of == request);
        if hung_up && needs == Needs::Service {
            let refusal = Refusal::new(Code::Deadline, "the sending side was closed too early");
            self.session.connection_mut().abort(refusal);
            return true;
        }
        self.session
            .keep_deadlines(&pass.limits.timeouts, needs, now)
    }
}

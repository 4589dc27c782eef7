//! The server: a fixed number of slots, one bounded pass at a time.

use core::net::SocketAddr;
use core::task::{Context, Waker};
use core::time::Duration;

use embedded_nal::TcpFullStack;
use unstick_core::Service;

use super::slot::{Pass, Slot, Waits};
use super::spare::Spare;
use crate::limits::Limits;
use crate::policy::TcpPolicy;

/// While the slots are busy, only every so many passes look for new peers: on a desktop, finding none costs ten
/// times what a receive does that finds nothing.
const LOOK_EVERY: u8 = 16;
/// How long not to accept after accepting has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server has done so far; the numbers wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpStats {
    /// Peers that were given a slot.
    pub accepted: u32,
    /// Peers that were told `busy`.
    pub refused: u32,
    /// Peers that the policy turned away.
    pub turned: u32,
    /// Requests that have begun.
    pub requests: u32,
    /// Connections that were closed for a [`Fault`](unstick_core::Fault): bad input, too slow, a reply cut off.
    pub faults: u32,
    /// Connections that broke: reset, or no longer read from.
    pub lost: u32,
}

/// A TCP server on the stack `T`, with a service `S` for each peer and the policy `P`.
///
/// Its slots are the caller's memory; see [`Slot`] for `N`, `IN` and `OUT`. A peer beyond them is told `busy`, in a spare place,
/// one at a time: the next one stays in the stack's queue until there is a place for it.
///
/// Over when all is said, a connection lingers in its slot, for a second at most, until the peer has ended too; after 100 ms
/// it gives way to a peer that needs the slot. The same goes for the spare place.
pub struct TcpServer<'m, T: TcpFullStack, S, P, const N: usize, const IN: usize, const OUT: usize> {
    listener: T::TcpSocket,
    policy: P,
    limits: Limits,
    slots: &'m mut [Slot<T::TcpSocket, S, N, IN, OUT>],
    spare: Spare<T::TcpSocket>,
    /// The slot that the next pass begins with.
    first: usize,
    /// Passes since a new peer was looked for.
    unlooked: u8,
    /// The last look found one: more may wait.
    found: bool,
    accept_at: Duration,
    stop: Option<Duration>,
    stats: TcpStats,
}

impl<'m, T, S, P, const N: usize, const IN: usize, const OUT: usize>
    TcpServer<'m, T, S, P, N, IN, OUT>
where
    T: TcpFullStack,
    S: Service,
    P: TcpPolicy<T>,
{
    /// A server that listens on `port`.
    ///
    /// # Errors
    /// What the stack says to that.
    pub fn bind(
        stack: &mut T,
        port: u16,
        mut policy: P,
        limits: Limits,
        slots: &'m mut [Slot<T::TcpSocket, S, N, IN, OUT>],
    ) -> Result<Self, T::Error> {
        let mut listener = stack.socket()?;
        let listens = match stack.bind(&mut listener, port) {
            Ok(()) => stack.listen(&mut listener),
            failed => failed,
        };
        if let Err(error) = listens {
            let _ = stack.close(listener);
            return Err(error);
        }
        policy.listening(stack, &mut listener);
        Ok(Self {
            listener,
            policy,
            limits,
            slots,
            spare: Spare::new(),
            first: 0,
            unlooked: 0,
            found: false,
            accept_at: Duration::ZERO,
            stop: None,
            stats: TcpStats::default(),
        })
    }

    /// The socket that listens.
    pub const fn listener(&self) -> &T::TcpSocket {
        &self.listener
    }

    /// What was done so far.
    pub const fn stats(&self) -> TcpStats {
        self.stats
    }

    /// How many slots are taken, lingering ones included.
    pub fn taken(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.is_free()).count()
    }

    /// Whether nobody is connected.
    pub fn is_idle(&self) -> bool {
        self.taken() == 0 && self.spare.socket().is_none()
    }

    /// The sockets of peers, and what each is waited for: to sleep until one is ready.
    pub fn waits(&self) -> impl Iterator<Item = (&T::TcpSocket, Waits)> {
        let slots = self.slots.iter().filter_map(Slot::waits);
        let waits = match self.spare.is_telling() {
            true => Waits::Write,
            false => Waits::Read,
        };
        slots.chain(self.spare.socket().map(|socket| (socket, waits)))
    }

    /// Whether a new peer would be accepted `now`: only then is the listening socket worth waiting for.
    ///
    /// A slot that lingers is free in a moment, and worth waiting for; a peer is told `busy` only if all serve.
    pub fn has_place(&self, now: Duration) -> bool {
        let lingers = self.slots.iter().any(|slot| slot.gives_way().is_some());
        let spare = || !lingers && self.spare.gives_way().is_none_or(|at| at <= now);
        self.stop.is_none()
            && self.accept_at <= now
            && (self.slots.iter().any(|slot| can_take(slot, now)) || spare())
    }

    /// When there is something to do unless a socket is ready before: how long a board may sleep.
    ///
    /// `now` is when the last pass said `WouldBlock`.
    pub fn next_deadline(&self, now: Duration) -> Option<Duration> {
        let timeouts = &self.limits.timeouts;
        let slots = self.slots.iter();
        let slots = slots.filter_map(|slot| slot.deadline(timeouts, self.stop));
        // Peers that wait to be accepted do not make a socket ready twice.
        let places = self.slots.iter().filter_map(Slot::gives_way);
        let places = places.chain(self.spare.gives_way()).chain([self.accept_at]);
        let places = places.filter(|at| *at > now && self.stop.is_none());
        slots.chain(self.spare.deadline()).chain(places).min()
    }

    /// Takes no more peers; who is between requests is let go, what is in flight is given up `at` this time.
    pub fn stop(&mut self, at: Duration) {
        self.stop = Some(at);
    }

    /// Closes every socket, the listening one too.
    pub fn close(mut self, stack: &mut T) {
        for slot in self.slots.iter_mut() {
            slot.vacate(stack);
        }
        self.spare.free(stack);
        // Nothing is left to be done about a socket that does not close.
        let _ = stack.close(self.listener);
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

    /// One bounded pass: at most one send or receive for each slot, and at most one new peer, which gets a service from
    /// `factory`.
    ///
    /// The slots take turns in being first. New peers are looked for when the slots had nothing to do, when the last look
    /// found one, and otherwise in every 16th pass. `cx` is handed to the services, which are asked again in each pass.
    ///
    /// # Errors
    /// [`nb::Error::WouldBlock`] if there was nothing to do; the stack's error if it failed to accept, in which case everything
    /// else was done, and the next 50 ms pass without another try. What fails on one connection ends that one alone.
    pub fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        stack: &mut T,
        now: Duration,
        mut factory: impl FnMut(SocketAddr) -> S,
    ) -> nb::Result<(), T::Error> {
        let mut pass = Pass {
            stack: &mut *stack,
            policy: &mut self.policy,
            limits: &self.limits,
            stats: &mut self.stats,
            cx,
            now,
            stop: self.stop,
        };
        let mut moved = false;
        let first = self.first.min(self.slots.len());
        let (before, from) = self.slots.split_at_mut(first);
        for slot in from.iter_mut().chain(before) {
            moved |= slot.poll(&mut pass);
        }
        self.first = match first.saturating_add(1) {
            next if next < self.slots.len() => next,
            _ => 0,
        };
        moved |= self.spare.poll(stack, &mut self.policy, now);

        self.unlooked = self.unlooked.saturating_add(1);
        let look = !moved || self.found || self.unlooked >= LOOK_EVERY;
        if look && self.has_place(now) {
            self.unlooked = 0;
            moved |= self.look(stack, now, &mut factory)?;
        }
        match moved {
            true => Ok(()),
            false => Err(nb::Error::WouldBlock),
        }
    }

    /// Accepts one peer, for which there is a place; whether there was one.
    fn look(
        &mut self,
        stack: &mut T,
        now: Duration,
        factory: &mut impl FnMut(SocketAddr) -> S,
    ) -> nb::Result<bool, T::Error> {
        self.found = false;
        let (mut socket, peer) = match stack.accept(&mut self.listener) {
            Ok(accepted) => accepted,
            Err(nb::Error::WouldBlock) => return Ok(false),
            Err(error) => {
                self.accept_at = now.saturating_add(ACCEPT_PAUSE);
                return Err(error);
            }
        };
        self.found = true;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let count = if self.policy.accepted(stack, &mut socket, peer).is_err() {
            let _ = stack.close(socket);
            &mut self.stats.turned
        } else if let Some(slot) = place(self.slots, now) {
            slot.occupy(stack, socket, || factory(peer), &self.limits, now);
            &mut self.stats.accepted
        } else {
            self.spare.occupy(stack, socket, now);
            &mut self.stats.refused
        };
        *count = count.wrapping_add(1);
        Ok(true)
    }
}

/// Whether a new peer can have this slot.
fn can_take<K, S: Service, const N: usize, const IN: usize, const OUT: usize>(
    slot: &Slot<K, S, N, IN, OUT>,
    now: Duration,
) -> bool {
    slot.is_free() || slot.gives_way().is_some_and(|at| at <= now)
}

/// The slot for a new peer: a free one, or the one that has lingered the longest.
fn place<K, S: Service, const N: usize, const IN: usize, const OUT: usize>(
    slots: &mut [Slot<K, S, N, IN, OUT>],
    now: Duration,
) -> Option<&mut Slot<K, S, N, IN, OUT>> {
    let slots = slots.iter_mut().filter(|slot| can_take(slot, now));
    // A free slot gives way before all others.
    slots.min_by_key(|slot| slot.gives_way())
}

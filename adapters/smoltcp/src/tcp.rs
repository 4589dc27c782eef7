//! TCP: what each socket of the stack is used for, and embedded-nal's traits.

use core::net::SocketAddr;

use embedded_nal::{TcpClientStack, TcpFullStack, nb};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::AnySocket;
use smoltcp::socket::tcp::{RecvError, Socket, State};
use smoltcp::time::Instant;

use crate::address::endpoint;
use crate::backlog::Segment;
use crate::clock::after;
use crate::{Error, Settings, Stack, Usage};

/// A TCP socket of a [`Stack`]. One that is dropped rather than closed keeps what it holds.
#[derive(Debug)]
#[must_use = "a socket holds a connection or a port until it is closed"]
pub struct TcpSocket(Kind);

#[derive(Debug, Clone, Copy)]
enum Kind {
    New,
    Bound(u16),
    Listener(u16),
    /// The slot.
    Connection(usize),
}

/// What a smoltcp socket is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Free,
    /// Listens on this port, shakes hands, or waits to be accepted.
    Listening(u16),
    /// In the hands of the application.
    Open,
    /// Closed by the application.
    Closing,
}

/// A smoltcp socket and what it is used for.
#[derive(Debug)]
pub(crate) struct TcpSlot {
    pub(crate) handle: SocketHandle,
    role: Role,
    /// Since when it has been shaking hands or closing, once a poll has seen it.
    since: Option<Instant>,
    /// Where it stands among those that wait to be accepted.
    ticket: Option<u64>,
    /// Whether it has been connected, has had the end of its peer's stream, and has given up connecting.
    connected: bool,
    ended: bool,
    timed_out: bool,
    /// Whether it has been able to send its last word, an acknowledgement or a reset.
    done: bool,
    /// Until when that may wait.
    leaves: Option<Instant>,
    /// The port that the application has bound it to.
    bound: Option<u16>,
}

impl TcpSlot {
    pub(crate) const fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            role: Role::Free,
            since: None,
            ticket: None,
            connected: false,
            ended: false,
            timed_out: false,
            done: false,
            leaves: None,
            bound: None,
        }
    }

    fn begin(&mut self, role: Role) {
        *self = Self {
            role,
            ..Self::new(self.handle)
        };
    }

    /// Makes it listen, whatever it was doing.
    fn listen(&mut self, socket: &mut Socket<'_>, port: u16) {
        socket.abort();
        self.begin(match socket.listen(port) {
            Ok(()) => Role::Listening(port),
            Err(_) => Role::Free,
        });
    }

    /// Lets go of it: what is left is delivered.
    ///
    /// An acknowledgement has no reply to travel with from now on, and does not wait for one; but one that waits already does
    /// so until its delay is over.
    fn release(&mut self, socket: &mut Socket<'_>, now: Instant) {
        let delay = socket
            .ack_delay()
            .filter(|_| socket.state() == State::TimeWait);
        socket.close();
        socket.set_ack_delay(None);
        self.begin(Role::Closing);
        self.leaves = delay.map(|delay| after(now, delay));
        self.free_if_closed(socket);
    }

    /// Lets go of it: the peer is told that it is over.
    fn reset(&mut self, socket: &mut Socket<'_>) {
        socket.abort();
        self.begin(Role::Closing);
        self.free_if_closed(socket);
    }

    /// A closed socket that still has a peer has a reset to send, for which it has one chance.
    fn free_if_closed(&mut self, socket: &Socket<'_>) {
        if socket.state() == State::Closed && (self.done || socket.remote_endpoint().is_none()) {
            self.begin(Role::Free);
        }
    }

    /// Whether it can carry a new connection although its last one is remembered.
    fn is_time_wait(&self, socket: &Socket<'_>) -> bool {
        self.role == Role::Closing && socket.state() == State::TimeWait && self.done
    }

    /// Whether it could, had it sent its last word.
    fn is_all_but_done(&self, socket: &Socket<'_>) -> bool {
        self.role == Role::Closing
            && matches!(socket.state(), State::TimeWait | State::Closed)
            && !self.done
    }

    fn is_connecting(&self, socket: &Socket<'_>) -> bool {
        matches!(socket.state(), State::SynSent | State::SynReceived)
    }

    /// Takes note of what has happened to the socket.
    pub(crate) fn settle(
        &mut self,
        socket: &mut Socket<'_>,
        now: Instant,
        ticket: &mut u64,
        sent: bool,
    ) {
        match self.role {
            Role::Free => {}
            Role::Listening(port) => match socket.state() {
                // A handshake that was reset leaves its traces in smoltcp's socket: begin anew.
                State::Listen if self.since.is_some() => self.listen(socket, port),
                State::Listen => {}
                State::SynReceived => _ = self.since.get_or_insert(now),
                State::Established | State::CloseWait => {
                    if self.ticket.is_none() {
                        self.ticket = Some(*ticket);
                        *ticket = ticket.wrapping_add(1);
                    }
                }
                _ => self.listen(socket, port),
            },
            Role::Open => {
                self.connected |= !self.is_connecting(socket) && socket.is_active();
                // smoltcp forgets it with the end of TIME-WAIT.
                self.ended |= socket.peek(0) == Err(RecvError::Finished);
            }
            Role::Closing => {
                // Nobody will read it, and with a closed window the peer could not come to its end.
                while socket.can_recv() {
                    let _ = socket.recv(|octets| (octets.len(), ()));
                }
                let waits = self.leaves.is_some_and(|leaves| leaves > now);
                let last = matches!(socket.state(), State::TimeWait | State::Closed);
                self.done |= sent && last && !waits;
                self.free_if_closed(socket);
            }
        }
    }

    /// Ends what has taken too long.
    pub(crate) fn expire(&mut self, socket: &mut Socket<'_>, settings: &Settings, now: Instant) {
        if self.deadline(socket, settings, now).is_none() {
            return;
        }
        self.since.get_or_insert(now);
        if self
            .deadline(socket, settings, now)
            .is_none_or(|at| at > now)
        {
            return;
        }
        match self.role {
            Role::Free => {}
            Role::Listening(port) => self.listen(socket, port),
            Role::Open => {
                self.timed_out = true;
                socket.abort();
            }
            Role::Closing => socket.abort(),
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn deadline(
        &self,
        socket: &Socket<'_>,
        settings: &Settings,
        now: Instant,
    ) -> Option<Instant> {
        let wait = match (self.role, socket.state()) {
            (Role::Listening(_), State::SynReceived) => settings.handshake,
            (Role::Open, State::SynSent | State::SynReceived) => settings.connect,
            (Role::Closing, State::TimeWait) => return None,
            (Role::Closing, _) => settings.close,
            _ => return None,
        };
        Some(self.since.map_or(now, |since| after(since, wait)))
    }

    pub(crate) fn count(&self, socket: &Socket<'_>, usage: &mut Usage) {
        let count = match (self.role, socket.state()) {
            (Role::Free, _) => &mut usage.free,
            (Role::Listening(_), State::Listen) => &mut usage.listening,
            (Role::Listening(_), State::SynReceived) => &mut usage.handshake,
            (Role::Listening(_), _) => &mut usage.waiting,
            (Role::Open, _) => &mut usage.open,
            (Role::Closing, State::TimeWait) => &mut usage.time_wait,
            (Role::Closing, _) => &mut usage.closing,
        };
        *count = count.saturating_add(1);
    }
}

/// Where a socket has to stand: those of a connection first, or a repeated SYN opens a second one beside it in a socket that
/// listens, which then gets the segments of the first. Those in TIME-WAIT last: a new connection from the same port of the
/// peer is one.
fn rank(socket: &Socket<'_>) -> Option<u8> {
    match socket.state() {
        State::Closed => None,
        State::Listen => Some(1),
        State::TimeWait => Some(2),
        _ => Some(0),
    }
}

/// Whether a socket has something to do with this SYN: it listens, or has the connection.
///
/// One that is over has not: in TIME-WAIT, or with a reset to send, it would turn a new connection from the same port away.
pub(crate) fn takes(sockets: &SocketSet<'_>, syn: &Segment) -> bool {
    let mut sockets = sockets.iter().filter_map(|(_, it)| Socket::downcast(it));
    sockets.any(|socket| match socket.state() {
        State::Closed | State::TimeWait => false,
        State::Listen => {
            let at = socket.listen_endpoint();
            at.port == syn.local.port && at.addr.is_none_or(|addr| addr == syn.local.addr)
        }
        _ => {
            socket.remote_endpoint() == Some(syn.remote)
                && socket.local_endpoint() == Some(syn.local)
        }
    })
}

impl<'a, D: Device, const TCP: usize, const UDP: usize> Stack<'a, D, TCP, UDP> {
    /// Ends the stream to the peer, after what was sent; the peer's stream goes on.
    ///
    /// embedded-nal has no call for it: [`close`](TcpClientStack::close) gives up both directions.
    pub fn shutdown(&mut self, socket: &mut TcpSocket) -> Result<(), Error> {
        let (slot, socket) = self.connection(socket)?;
        if !slot.connected {
            return Err(Error::InvalidState);
        }
        socket.close();
        Ok(())
    }

    /// The port that a socket has on this side, once it has one.
    pub fn tcp_port(&self, socket: &TcpSocket) -> Option<u16> {
        match socket.0 {
            Kind::New => None,
            Kind::Bound(port) | Kind::Listener(port) => Some(port),
            Kind::Connection(index) => {
                let socket = self.sockets.get::<Socket<'_>>(self.tcp.get(index)?.handle);
                Some(socket.local_endpoint()?.port)
            }
        }
    }

    fn slot(&mut self, index: usize) -> Option<(&mut TcpSlot, &mut Socket<'a>)> {
        let slot = self.tcp.get_mut(index)?;
        let socket = self.sockets.get_mut(slot.handle);
        Some((slot, socket))
    }

    fn connection(&mut self, socket: &TcpSocket) -> Result<(&mut TcpSlot, &mut Socket<'a>), Error> {
        let Kind::Connection(index) = socket.0 else {
            return Err(Error::InvalidState);
        };
        self.slot(index)
            .filter(|(slot, _)| slot.role == Role::Open)
            .ok_or(Error::InvalidState)
    }

    fn find(&self, mut wanted: impl FnMut(&TcpSlot, &Socket<'a>) -> bool) -> Option<usize> {
        self.tcp
            .iter()
            .position(|slot| wanted(slot, self.sockets.get(slot.handle)))
    }

    /// How many sockets listen on a port.
    pub(crate) fn listening(&self, port: u16) -> usize {
        let listens = |slot: &&TcpSlot| {
            slot.role == Role::Listening(port)
                && self.sockets.get::<Socket<'_>>(slot.handle).is_listening()
        };
        self.tcp.iter().filter(listens).count()
    }

    /// Has every socket listen that is free, as many on each port, where peers wait first; and at least one, if there is any
    /// that can be spared.
    pub(crate) fn arm(&mut self) {
        for _ in 0..self.tcp.len() {
            let ports = self.listeners.iter().copied();
            let Some(poorest) =
                ports.min_by_key(|port| (self.listening(*port), !self.backlog.holds(*port)))
            else {
                return;
            };
            let spare = self.find(|slot, _| slot.role == Role::Free).or_else(|| {
                match self.listening(poorest) {
                    0 => self
                        .find(|slot, socket| slot.is_time_wait(socket))
                        .or_else(|| self.spare_listener(2)),
                    _ => None,
                }
            });
            let Some((slot, socket)) = spare.and_then(|index| self.slot(index)) else {
                return;
            };
            slot.listen(socket, poorest);
        }
    }

    /// Whether a port has no socket that listens, but one that would if it could send first.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved_until().is_some()
    }

    /// When such a socket can have sent.
    pub(crate) fn starved_until(&self) -> Option<Instant> {
        let starved = self.listeners.iter().any(|port| self.listening(*port) == 0);
        let slots = self.tcp.iter().filter(|_| starved);
        let slots = slots.filter(|slot| slot.is_all_but_done(self.sockets.get(slot.handle)));
        slots.map(|slot| slot.leaves.unwrap_or(self.now)).min()
    }

    /// A socket that listens on the port that most listen on, if those are at least so many.
    fn spare_listener(&self, at_least: usize) -> Option<usize> {
        let ports = self.listeners.iter().copied();
        let richest = ports.max_by_key(|port| self.listening(*port))?;
        if self.listening(richest) < at_least {
            return None;
        }
        self.find(|slot, socket| slot.role == Role::Listening(richest) && socket.is_listening())
    }

    /// A socket for a connection of our own.
    fn spare(&self) -> Option<usize> {
        self.find(|slot, _| slot.role == Role::Free)
            .or_else(|| self.find(|slot, socket| slot.is_time_wait(socket)))
            .or_else(|| self.spare_listener(1))
    }

    /// Puts the sockets in the order of their ranks.
    pub(crate) fn sort(&mut self) {
        for _ in 0..self.tcp.len() {
            let Some((one, other)) = self.misplaced(0).or_else(|| self.misplaced(1)) else {
                return;
            };
            self.swap(one, other);
        }
    }

    /// The first slot of a higher rank and the last of a rank up to this one, if they are the wrong way round.
    fn misplaced(&self, rank: u8) -> Option<(usize, usize)> {
        let ranked = || {
            self.tcp.iter().enumerate().filter_map(|(index, slot)| {
                let rank = self::rank(self.sockets.get(slot.handle))?;
                Some((slot.handle, index, rank))
            })
        };
        let first = ranked().filter(|(_, _, its)| *its > rank).min()?;
        let last = ranked().filter(|(_, _, its)| *its <= rank).max()?;
        (first.0 < last.0).then_some((first.1, last.1))
    }

    /// Has two sockets change places: `add` takes the first place that is free.
    fn swap(&mut self, lower: usize, upper: usize) {
        let handle = |index: usize| self.tcp.get(index).map(|slot| slot.handle);
        let (Some(low), Some(high)) = (handle(lower), handle(upper)) else {
            return;
        };
        let (to_high, to_low) = (self.sockets.remove(low), self.sockets.remove(high));
        let (low, high) = (self.sockets.add(to_low), self.sockets.add(to_high));
        for (index, handle) in [(lower, high), (upper, low)] {
            if let Some(slot) = self.tcp.get_mut(index) {
                slot.handle = handle;
            }
        }
    }

    fn is_port_used(&self, port: u16) -> bool {
        let uses = |slot: &TcpSlot| {
            let socket = self.sockets.get::<Socket<'_>>(slot.handle);
            socket.local_endpoint().is_some_and(|at| at.port == port)
        };
        self.listeners.contains(&port) || self.tcp.iter().any(uses)
    }

    fn ephemeral_tcp_port(&mut self) -> Result<u16, Error> {
        let mut ports = core::mem::replace(&mut self.ports, crate::address::Ports::new(0));
        let port = ports.next(|port| self.is_port_used(port));
        self.ports = ports;
        port.ok_or(Error::PortInUse)
    }
}

impl<D: Device, const TCP: usize, const UDP: usize> TcpClientStack for Stack<'_, D, TCP, UDP> {
    type TcpSocket = TcpSocket;
    type Error = Error;

    /// Never fails: a socket of the stack is taken by the first `connect`, or for each connection that is accepted.
    fn socket(&mut self) -> Result<TcpSocket, Error> {
        Ok(TcpSocket(Kind::New))
    }

    /// `WouldBlock` until the peer has answered; to be called again with the same peer. After an error the socket is as it
    /// was, and may be used again.
    fn connect(&mut self, socket: &mut TcpSocket, remote: SocketAddr) -> nb::Result<(), Error> {
        let remote = endpoint(remote)?;
        let bound = match socket.0 {
            Kind::New => None,
            Kind::Bound(port) => Some(port),
            Kind::Listener(_) => return Err(Error::InvalidState.into()),
            Kind::Connection(_) => {
                let now = self.now;
                let (slot, smoltcp) = self.connection(socket)?;
                if slot.connected {
                    return if smoltcp.remote_endpoint().is_none() {
                        Err(Error::Closed.into())
                    } else if smoltcp.remote_endpoint() == Some(remote) {
                        Ok(())
                    } else {
                        Err(Error::InvalidState.into())
                    };
                }
                if slot.is_connecting(smoltcp) {
                    return Err(if smoltcp.remote_endpoint() == Some(remote) {
                        nb::Error::WouldBlock
                    } else {
                        Error::InvalidState.into()
                    });
                }
                let error = if slot.timed_out {
                    Error::TimedOut
                } else {
                    Error::Refused
                };
                let bound = slot.bound;
                slot.release(smoltcp, now);
                socket.0 = bound.map_or(Kind::New, Kind::Bound);
                self.settle(false);
                return Err(error.into());
            }
        };
        let taken = |slot: &TcpSlot, socket: &Socket<'_>| {
            let local = socket.local_endpoint().map(|at| at.port);
            slot.role != Role::Free
                && socket.is_active()
                && local == bound
                && socket.remote_endpoint() == Some(remote)
        };
        let port = match bound {
            Some(_) if self.find(taken).is_some() => return Err(Error::PortInUse.into()),
            Some(port) => port,
            None => self.ephemeral_tcp_port()?,
        };
        let index = self.spare().ok_or(Error::NoSocket)?;
        let Some(slot) = self.tcp.get_mut(index) else {
            return Err(Error::NoSocket.into());
        };
        let smoltcp = self.sockets.get_mut::<Socket<'_>>(slot.handle);
        smoltcp.abort();
        smoltcp.set_ack_delay(self.settings.ack_delay);
        let begun = smoltcp.connect(self.interface.context(), remote, port);
        slot.begin(if begun.is_ok() {
            Role::Open
        } else {
            Role::Free
        });
        slot.bound = bound;
        self.settle(false);
        begun.map_err(|_| Error::Unaddressable)?;
        socket.0 = Kind::Connection(index);
        Err(nb::Error::WouldBlock)
    }

    /// `WouldBlock` while there is no room, and while the handshake runs. Works on after the end of the peer's stream.
    fn send(&mut self, socket: &mut TcpSocket, buffer: &[u8]) -> nb::Result<usize, Error> {
        let (slot, socket) = self.connection(socket)?;
        if slot.is_connecting(socket) {
            return Err(nb::Error::WouldBlock);
        }
        match socket.send_slice(buffer) {
            Ok(0) if !buffer.is_empty() => Err(nb::Error::WouldBlock),
            Ok(octets) => Ok(octets),
            Err(_) => Err(Error::Closed.into()),
        }
    }

    /// `Ok(0)` is the end of the peer's stream, again and again; nothing else is, but for an empty `buffer`. What had
    /// arrived before a reset can still be received.
    fn receive(&mut self, socket: &mut TcpSocket, buffer: &mut [u8]) -> nb::Result<usize, Error> {
        let (slot, socket) = self.connection(socket)?;
        if slot.is_connecting(socket) {
            return Err(nb::Error::WouldBlock);
        }
        match socket.recv_slice(buffer) {
            Ok(0) if !socket.can_recv() => Err(nb::Error::WouldBlock),
            Ok(octets) => Ok(octets),
            Err(RecvError::Finished) => {
                slot.ended = true;
                Ok(0)
            }
            Err(RecvError::InvalidState) if slot.ended => Ok(0),
            Err(RecvError::InvalidState) => Err(Error::Closed.into()),
        }
    }

    /// What was sent is still delivered, then the stream ends; what the peer sends is thrown away. A listener takes with it
    /// the connections that nobody has accepted, and who is held in the backlog.
    fn close(&mut self, socket: TcpSocket) -> Result<(), Error> {
        match socket.0 {
            Kind::New | Kind::Bound(_) => {}
            Kind::Listener(port) => {
                self.listeners.retain(|its| *its != port);
                self.backlog.close(port);
                for slot in &mut self.tcp {
                    if slot.role == Role::Listening(port) {
                        slot.reset(self.sockets.get_mut(slot.handle));
                    }
                }
            }
            Kind::Connection(_) => {
                let now = self.now;
                let (slot, socket) = self.connection(&socket)?;
                slot.release(socket, now);
            }
        }
        self.settle(false);
        Ok(())
    }
}

impl<D: Device, const TCP: usize, const UDP: usize> TcpFullStack for Stack<'_, D, TCP, UDP> {
    /// Port 0 is any that is free: [`tcp_port`](Stack::tcp_port) says which.
    fn bind(&mut self, socket: &mut TcpSocket, local_port: u16) -> Result<(), Error> {
        let Kind::New = socket.0 else {
            return Err(Error::InvalidState);
        };
        let port = match local_port {
            0 => self.ephemeral_tcp_port()?,
            port if self.listeners.contains(&port) => return Err(Error::PortInUse),
            port => port,
        };
        socket.0 = Kind::Bound(port);
        Ok(())
    }

    /// All sockets that are free listen from now on, those of several listeners shared out evenly. Once more on a socket
    /// that listens does nothing.
    fn listen(&mut self, socket: &mut TcpSocket) -> Result<(), Error> {
        let port = match socket.0 {
            Kind::Bound(port) => port,
            Kind::Listener(_) => return Ok(()),
            Kind::New | Kind::Connection(_) => return Err(Error::InvalidState),
        };
        if self.listeners.contains(&port) {
            return Err(Error::PortInUse);
        }
        self.listeners.push(port).map_err(|_| Error::NoSocket)?;
        socket.0 = Kind::Listener(port);
        self.settle(false);
        Ok(())
    }

    /// The connection that has waited longest. The peer may have sent, and ended its stream, already.
    fn accept(&mut self, socket: &mut TcpSocket) -> nb::Result<(TcpSocket, SocketAddr), Error> {
        let Kind::Listener(port) = socket.0 else {
            return Err(Error::InvalidState.into());
        };
        let waiting = self.tcp.iter().enumerate().filter_map(|(index, slot)| {
            let remote = self
                .sockets
                .get::<Socket<'_>>(slot.handle)
                .remote_endpoint()?;
            let ticket = slot.ticket.filter(|_| slot.role == Role::Listening(port))?;
            Some((ticket, index, remote))
        });
        let (_, index, remote) = waiting
            .min_by_key(|(ticket, ..)| *ticket)
            .ok_or(nb::Error::WouldBlock)?;
        if let Some(slot) = self.tcp.get_mut(index) {
            slot.begin(Role::Open);
            slot.connected = true;
            let socket = self.sockets.get_mut::<Socket<'_>>(slot.handle);
            socket.set_ack_delay(self.settings.ack_delay);
        }
        Ok((TcpSocket(Kind::Connection(index)), remote.into()))
    }
}

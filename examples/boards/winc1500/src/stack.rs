//! wincwifi's client, made fit for a server.

use core::mem;
use core::net::SocketAddr;

use embedded_nal::{
    TcpClientStack, TcpError, TcpErrorKind, TcpFullStack, UdpClientStack, UdpFullStack,
};
use wincwifi::{Handle, SocketOptions, StackError, Transfer, WincClient};

use crate::gate::{Gate, Lock, Mode};
use crate::inbox::{Inbox, State, datagram, stream};

/// The most that the module sends at once.
const MAX_SEND: usize = 1400;
/// How long the module waits for what a peer may send before it says that there was nothing: as long a send may have to wait,
/// if the service has something to say unasked. To be told so and to ask again is some 15 commands on the bus.
const WAIT_MS: u32 = 500;
/// How often a socket is closed at most, should the bus fail: otherwise the module keeps it.
const CLOSE_TRIES: usize = 3;
/// Times that the bus may fail in a row.
const MAX_FAILURES: u32 = 100;

/// The client of wincwifi over the transfer `X`, as a stack that a server can be put on: see the [crate](crate).
pub struct Stack<'m, X: Transfer> {
    client: WincClient<'m, Gate<'m, X>>,
    lock: &'m Lock,
    tcp: &'m mut [Inbox],
    udp: &'m mut Inbox,
    failures: u32,
}

/// A TCP socket of the module.
#[derive(Debug, PartialEq)]
pub struct TcpSocket(Handle);

/// A UDP socket of the module.
#[derive(Debug, PartialEq)]
pub struct UdpSocket(Handle);

/// What can go wrong.
#[derive(Debug, PartialEq)]
pub enum Error {
    /// The connection is no more.
    Gone,
    /// The module does not send datagrams that long.
    TooLong,
    /// This is a stack for servers over IPv4, with one UDP socket.
    Unsupported,
    /// What wincwifi says.
    Winc(StackError),
}

impl TcpError for Error {
    fn kind(&self) -> TcpErrorKind {
        TcpErrorKind::Other
    }
}

impl From<StackError> for Error {
    fn from(error: StackError) -> Self {
        Self::Winc(error)
    }
}

impl<'m, X: Transfer> Stack<'m, X> {
    /// A stack on the module that `transfer` leads to, which has just been reset. An inbox of `tcp` is needed for each
    /// connection; peers beyond them stay in the module's queue.
    pub fn new(transfer: X, lock: &'m Lock, tcp: &'m mut [Inbox], udp: &'m mut Inbox) -> Self {
        Self {
            client: WincClient::new(Gate::new(transfer, lock)),
            lock,
            tcp,
            udp,
            failures: 0,
        }
    }

    /// The client, to start the module and to join an access point with. Its sockets are the stack's.
    pub const fn client(&mut self) -> &mut WincClient<'m, Gate<'m, X>> {
        &mut self.client
    }

    /// Takes one event from the module, if there is one: to be called whenever there may be.
    ///
    /// # Errors
    /// What wincwifi says, if the bus has failed for the 100th time in a row: the module is to be started anew.
    pub fn poll(&mut self) -> Result<(), StackError> {
        let beat = self.client.heartbeat();
        self.collect();
        match beat {
            Ok(()) => self.failures = 0,
            Err(error) if self.failures >= MAX_FAILURES => return Err(error),
            Err(_) => self.failures += 1,
        }
        Ok(())
    }

    /// Puts what has arrived where it belongs: to be done after each call that may have taken an event from the module,
    /// since the next event's data would take its place.
    fn collect(&mut self) {
        for inbox in self
            .tcp
            .iter_mut()
            .filter(|inbox| inbox.state == State::Asked)
        {
            let Some(mut handle) = inbox.owner else {
                continue;
            };
            let (client, octets) = (&mut self.client, &mut inbox.octets);
            let receive = || TcpClientStack::receive(client, &mut handle, octets);
            inbox.state = stream(self.lock.with(Mode::Shut, receive));
        }
        if let (State::Asked, Some(mut handle)) = (self.udp.state, self.udp.owner) {
            let (client, octets) = (&mut self.client, &mut self.udp.octets);
            let receive = || UdpClientStack::receive(client, &mut handle, octets);
            self.udp.state = datagram(self.lock.with(Mode::Shut, receive));
        }
    }

    /// Takes all events that there are, so that the next one is the answer to what is asked now.
    fn settle(&mut self) -> Result<(), StackError> {
        // The module announces far fewer at its start.
        for _ in 0..10 {
            let client = &mut self.client;
            self.lock.with(Mode::Patient, || client.heartbeat())?;
            self.collect();
        }
        Ok(())
    }

    /// The inbox of a connection.
    fn inbox(&mut self, handle: Handle) -> Result<&mut Inbox, Error> {
        let mut inboxes = self.tcp.iter_mut();
        let inbox = inboxes.find(|inbox| inbox.owner == Some(handle));
        inbox.ok_or(Error::Unsupported)
    }
}

impl<X: Transfer> TcpClientStack for Stack<'_, X> {
    type TcpSocket = TcpSocket;
    type Error = Error;

    fn socket(&mut self) -> Result<TcpSocket, Error> {
        let handle = TcpClientStack::socket(&mut self.client);
        self.collect();
        Ok(TcpSocket(handle?))
    }

    fn connect(&mut self, _: &mut TcpSocket, _: SocketAddr) -> nb::Result<(), Error> {
        Err(nb::Error::Other(Error::Unsupported))
    }

    fn send(&mut self, socket: &mut TcpSocket, data: &[u8]) -> nb::Result<usize, Error> {
        match self.inbox(socket.0)?.state {
            State::Asked => return Err(nb::Error::WouldBlock),
            State::Ended | State::Broken => return Err(nb::Error::Other(Error::Gone)),
            State::Idle | State::Holds(..) => {}
        }
        let data = data.get(..MAX_SEND).unwrap_or(data);
        let sent = TcpClientStack::send(&mut self.client, &mut socket.0, data);
        self.collect();
        let inbox = self.inbox(socket.0)?;
        match sent {
            Err(nb::Error::WouldBlock) => {
                inbox.sending = true;
                Err(nb::Error::WouldBlock)
            }
            // The bus has failed; nothing is known of the connection.
            Err(nb::Error::Other(StackError::DispatchError(_) | StackError::SendSendFailed(_))) => {
                Err(nb::Error::WouldBlock)
            }
            Err(nb::Error::Other(_)) => {
                inbox.reset(inbox.owner);
                inbox.state = State::Broken;
                Err(nb::Error::Other(Error::Gone))
            }
            Ok(octets) => {
                inbox.sending = false;
                Ok(octets)
            }
        }
    }

    fn receive(&mut self, socket: &mut TcpSocket, buffer: &mut [u8]) -> nb::Result<usize, Error> {
        let inbox = self.inbox(socket.0)?;
        if let Some((octets, _)) = inbox.take(buffer) {
            return Ok(octets);
        }
        match inbox.state {
            State::Ended => return Ok(0),
            State::Broken => return Err(nb::Error::Other(Error::Gone)),
            State::Idle if !inbox.sending => {}
            _ => return Err(nb::Error::WouldBlock),
        }
        // There is nothing to put into this yet: it asks the module.
        let asked = TcpClientStack::receive(&mut self.client, &mut socket.0, &mut []);
        self.inbox(socket.0)?.state = stream(asked);
        self.collect();
        Err(nb::Error::WouldBlock)
    }

    fn close(&mut self, socket: TcpSocket) -> Result<(), Error> {
        if let Ok(inbox) = self.inbox(socket.0) {
            inbox.reset(None);
        }
        let mut closed = Ok(());
        for _ in 0..CLOSE_TRIES {
            closed = TcpClientStack::close(&mut self.client, socket.0);
            self.collect();
            if closed.is_ok() {
                break;
            }
        }
        Ok(closed?)
    }
}

impl<X: Transfer> TcpFullStack for Stack<'_, X> {
    fn bind(&mut self, socket: &mut TcpSocket, port: u16) -> Result<(), Error> {
        self.settle()?;
        let client = &mut self.client;
        let bind = || TcpFullStack::bind(client, &mut socket.0, port);
        Ok(self.lock.with(Mode::Patient, bind)?)
    }

    fn listen(&mut self, socket: &mut TcpSocket) -> Result<(), Error> {
        self.settle()?;
        let client = &mut self.client;
        let listen = || TcpFullStack::listen(client, &mut socket.0);
        Ok(self.lock.with(Mode::Patient, listen)?)
    }

    fn accept(&mut self, socket: &mut TcpSocket) -> nb::Result<(TcpSocket, SocketAddr), Error> {
        let free = self.tcp.iter_mut().find(|inbox| inbox.owner.is_none());
        let inbox = free.ok_or(nb::Error::WouldBlock)?;
        let client = &mut self.client;
        // The module accepts by itself; this looks whether it has.
        let accept = || TcpFullStack::accept(client, &mut socket.0);
        let (handle, peer) = match self.lock.with(Mode::Shut, accept) {
            Ok(accepted) => accepted,
            Err(error) => return Err(error.map(Error::Winc)),
        };
        inbox.reset(Some(handle));
        let wait = SocketOptions::set_tcp_receive_timeout(WAIT_MS);
        let set = self.client.set_socket_option(&handle, &wait);
        set.map_err(|error| nb::Error::Other(Error::Winc(error)))?;
        Ok((TcpSocket(handle), peer))
    }
}

impl<X: Transfer> UdpClientStack for Stack<'_, X> {
    type UdpSocket = UdpSocket;
    type Error = Error;

    fn socket(&mut self) -> Result<UdpSocket, Error> {
        if self.udp.owner.is_some() {
            return Err(Error::Unsupported);
        }
        let handle = UdpClientStack::socket(&mut self.client);
        self.collect();
        let handle = handle?;
        self.udp.reset(Some(handle));
        Ok(UdpSocket(handle))
    }

    fn connect(&mut self, _: &mut UdpSocket, _: SocketAddr) -> Result<(), Error> {
        Err(Error::Unsupported)
    }

    fn send(&mut self, _: &mut UdpSocket, _: &[u8]) -> nb::Result<(), Error> {
        Err(nb::Error::Other(Error::Unsupported))
    }

    fn receive(
        &mut self,
        socket: &mut UdpSocket,
        buffer: &mut [u8],
    ) -> nb::Result<(usize, SocketAddr), Error> {
        if let Some((octets, Some(peer))) = self.udp.take(buffer) {
            // What there was no room for is not another datagram.
            self.udp.state = State::Idle;
            return Ok((octets, peer));
        }
        // Not right behind a send: another one would have to wait, and the reply may have more datagrams.
        let has_sent = mem::take(&mut self.udp.sending);
        if self.udp.state == State::Idle && !has_sent {
            let asked = UdpClientStack::receive(&mut self.client, &mut socket.0, &mut []);
            self.udp.state = datagram(asked);
            self.collect();
        }
        Err(nb::Error::WouldBlock)
    }

    fn close(&mut self, socket: UdpSocket) -> Result<(), Error> {
        self.udp.reset(None);
        let closed = UdpClientStack::close(&mut self.client, socket.0);
        self.collect();
        Ok(closed?)
    }
}

impl<X: Transfer> UdpFullStack for Stack<'_, X> {
    fn bind(&mut self, socket: &mut UdpSocket, port: u16) -> Result<(), Error> {
        self.settle()?;
        let client = &mut self.client;
        let bind = || UdpFullStack::bind(client, &mut socket.0, port);
        self.lock.with(Mode::Patient, bind)?;
        // Nobody waits for what it says of a datagram that was sent.
        for option in [
            SocketOptions::set_udp_send_callback(false),
            SocketOptions::set_udp_receive_timeout(WAIT_MS),
        ] {
            self.client.set_socket_option(&socket.0, &option)?;
        }
        Ok(())
    }

    fn send_to(
        &mut self,
        socket: &mut UdpSocket,
        peer: SocketAddr,
        data: &[u8],
    ) -> nb::Result<(), Error> {
        if data.len() > MAX_SEND {
            return Err(nb::Error::Other(Error::TooLong));
        }
        if peer.is_ipv6() {
            return Err(nb::Error::Other(Error::Unsupported));
        }
        if self.udp.state == State::Asked {
            return Err(nb::Error::WouldBlock);
        }
        let sent = UdpFullStack::send_to(&mut self.client, &mut socket.0, peer, data);
        self.collect();
        match sent {
            // The module has it. wincwifi is made to forget it by sending nothing.
            Ok(()) | Err(nb::Error::WouldBlock) => {
                let client = &mut self.client;
                let forget = || UdpFullStack::send_to(client, &mut socket.0, peer, &[]);
                let forgotten = self.lock.with(Mode::Shut, forget);
                self.udp.sending = true;
                forgotten.map_err(|error| error.map(Error::Winc))
            }
            Err(nb::Error::Other(StackError::DispatchError(_) | StackError::SendSendFailed(_))) => {
                Err(nb::Error::WouldBlock)
            }
            Err(error) => Err(error.map(Error::Winc)),
        }
    }
}

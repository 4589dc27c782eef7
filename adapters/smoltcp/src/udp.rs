//! UDP: what each socket of the stack is used for, and embedded-nal's traits.

use core::net::SocketAddr;

use embedded_nal::{UdpClientStack, UdpFullStack, nb};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::udp::{RecvError, SendError, Socket};
use smoltcp::time::Instant;
#[cfg(feature = "proto-ipv4")]
use smoltcp::wire::IpAddress;
use smoltcp::wire::IpEndpoint;

use crate::address::endpoint;
use crate::clock::after;
use crate::{Error, Settings, Stack};

/// A UDP socket of a [`Stack`]. One that is dropped rather than closed keeps its port.
#[derive(Debug)]
#[must_use = "a socket holds a port until it is closed"]
pub struct UdpSocket(
    /// The slot, once it has a port.
    Option<usize>,
);

/// A smoltcp socket and whom it speaks to.
#[derive(Debug)]
pub(crate) struct UdpSlot {
    pub(crate) handle: SocketHandle,
    pub(crate) open: bool,
    /// The only peer that is listened to, and the one that is sent to.
    peer: Option<IpEndpoint>,
    remote: Option<IpEndpoint>,
    /// How many octets the last poll was to send, and since when none of them could be.
    queued: usize,
    pub(crate) since: Option<Instant>,
}

impl UdpSlot {
    pub(crate) const fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            open: false,
            peer: None,
            remote: None,
            queued: 0,
            since: None,
        }
    }

    /// Takes note of whether datagrams have left since [`expire`](Self::expire).
    pub(crate) fn settle(&mut self, socket: &Socket<'_>, now: Instant) {
        let queued = socket.send_queue();
        // Empty datagrams do not count as queued, until there is no room for another one.
        if queued == 0 && socket.can_send() {
            self.since = None;
        } else if queued < self.queued {
            self.since = Some(now);
        } else {
            self.since.get_or_insert(now);
        }
        self.queued = queued;
    }

    /// Drops what cannot leave: smoltcp would keep it until the first datagram's receiver shows up.
    pub(crate) fn expire(
        &mut self,
        sockets: &mut SocketSet<'_>,
        settings: &Settings,
        now: Instant,
    ) {
        let overdue = |since| after(since, settings.datagram) <= now;
        if self.since.is_some_and(overdue) {
            let socket = sockets.get_mut::<Socket<'_>>(self.handle);
            let local = socket.endpoint();
            socket.close();
            if local.port != 0 {
                let _ = socket.bind(local);
            }
            // Out and in again, into the same place: with that smoltcp forgets whom the socket was waiting for.
            let socket = sockets.remove(self.handle);
            self.handle = sockets.add(socket);
            self.since = None;
        }
        self.queued = sockets.get::<Socket<'_>>(self.handle).send_queue();
    }
}

impl<'a, D: Device, const TCP: usize, const UDP: usize> Stack<'a, D, TCP, UDP> {
    /// The port that a socket has on this side, once it has one.
    pub fn udp_port(&self, socket: &UdpSocket) -> Option<u16> {
        let slot = self.udp.get(socket.0?)?;
        Some(self.sockets.get::<Socket<'_>>(slot.handle).endpoint().port)
    }

    fn datagrams(&mut self, socket: &UdpSocket) -> Result<(&mut UdpSlot, &mut Socket<'a>), Error> {
        let slot = socket.0.and_then(|index| self.udp.get_mut(index));
        let slot = slot.filter(|slot| slot.open).ok_or(Error::InvalidState)?;
        let socket = self.sockets.get_mut(slot.handle);
        Ok((slot, socket))
    }

    fn is_udp_port_used(&self, port: u16) -> bool {
        let uses = |slot: &UdpSlot| {
            slot.open && self.sockets.get::<Socket<'_>>(slot.handle).endpoint().port == port
        };
        self.udp.iter().any(uses)
    }

    /// Takes a socket and binds it to `port`, or to any.
    fn open_udp(&mut self, port: Option<u16>) -> Result<usize, Error> {
        let index = self.udp.iter().position(|slot| !slot.open);
        let index = index.ok_or(Error::NoSocket)?;
        let port = match port {
            Some(port) if self.is_udp_port_used(port) => return Err(Error::PortInUse),
            Some(port) => port,
            None => {
                let mut ports = core::mem::replace(&mut self.ports, crate::address::Ports::new(0));
                let port = ports.next(|port| self.is_udp_port_used(port));
                self.ports = ports;
                port.ok_or(Error::PortInUse)?
            }
        };
        let slot = self.udp.get_mut(index).ok_or(Error::NoSocket)?;
        *slot = UdpSlot {
            open: true,
            ..UdpSlot::new(slot.handle)
        };
        let socket = self.sockets.get_mut::<Socket<'_>>(slot.handle);
        socket.close();
        socket.bind(port).map_err(|_| Error::InvalidState)?;
        Ok(index)
    }

    /// The most octets of a datagram to `remote` that fit a frame.
    fn datagram_max(&self, remote: &IpEndpoint) -> usize {
        let headers = match remote.addr {
            #[cfg(feature = "proto-ipv4")]
            IpAddress::Ipv4(_) => 28,
            #[allow(unreachable_patterns)]
            _ => 48,
        };
        let mtu = self.device.capabilities().ip_mtu();
        #[cfg(feature = "proto-ipv4-fragmentation")]
        let mtu = match remote.addr {
            IpAddress::Ipv4(_) => mtu.max(smoltcp::config::FRAGMENTATION_BUFFER_SIZE),
            #[allow(unreachable_patterns)]
            _ => mtu,
        };
        mtu.saturating_sub(headers)
    }

    fn send_datagram(
        &mut self,
        socket: &UdpSocket,
        remote: IpEndpoint,
        octets: &[u8],
    ) -> nb::Result<(), Error> {
        let max = self.datagram_max(&remote);
        if self.interface.get_source_address(&remote.addr).is_none() {
            return Err(Error::Unaddressable.into());
        }
        let (_, socket) = self.datagrams(socket)?;
        if octets.len() > max.min(socket.payload_send_capacity()) {
            return Err(Error::TooLong.into());
        }
        socket
            .send_slice(octets, remote)
            .map_err(|error| match error {
                SendError::BufferFull => nb::Error::WouldBlock,
                SendError::Unaddressable => Error::Unaddressable.into(),
            })
    }
}

impl<D: Device, const TCP: usize, const UDP: usize> UdpClientStack for Stack<'_, D, TCP, UDP> {
    type UdpSocket = UdpSocket;
    type Error = Error;

    /// Never fails: a socket of the stack is taken by `bind` or `connect`.
    fn socket(&mut self) -> Result<UdpSocket, Error> {
        Ok(UdpSocket(None))
    }

    /// From now on datagrams of others are thrown away. A socket that was not bound gets an ephemeral port.
    fn connect(&mut self, socket: &mut UdpSocket, remote: SocketAddr) -> Result<(), Error> {
        let remote = endpoint(remote)?;
        if self.interface.get_source_address(&remote.addr).is_none() {
            return Err(Error::Unaddressable);
        }
        if socket.0.is_none() {
            socket.0 = Some(self.open_udp(None)?);
        }
        let (slot, _) = self.datagrams(socket)?;
        slot.peer = Some(remote);
        slot.remote = Some(remote);
        Ok(())
    }

    /// To the peer that was connected to or sent to last. `WouldBlock` while there is no room; a datagram that has been
    /// taken is on its way, not more: it may be lost.
    fn send(&mut self, socket: &mut UdpSocket, buffer: &[u8]) -> nb::Result<(), Error> {
        let (slot, _) = self.datagrams(socket)?;
        let remote = slot.remote.ok_or(Error::InvalidState)?;
        self.send_datagram(socket, remote, buffer)
    }

    /// `WouldBlock` if nothing has arrived. A datagram longer than `buffer` is thrown away, with
    /// [`Error::Truncated`].
    fn receive(
        &mut self,
        socket: &mut UdpSocket,
        buffer: &mut [u8],
    ) -> nb::Result<(usize, SocketAddr), Error> {
        let (slot, socket) = self.datagrams(socket)?;
        while slot.peer.is_some() {
            match socket.peek() {
                Ok((_, from)) if slot.peer != Some(from.endpoint) => _ = socket.recv(),
                _ => break,
            }
        }
        match socket.recv_slice(buffer) {
            Ok((octets, from)) => Ok((octets, from.endpoint.into())),
            Err(RecvError::Exhausted) => Err(nb::Error::WouldBlock),
            Err(RecvError::Truncated) => Err(Error::Truncated.into()),
        }
    }

    /// At once: datagrams that have not left are lost. A poll between `send` and `close` has them leave.
    fn close(&mut self, socket: UdpSocket) -> Result<(), Error> {
        if socket.0.is_some() {
            let (slot, smoltcp) = self.datagrams(&socket)?;
            smoltcp.close();
            *slot = UdpSlot::new(slot.handle);
        }
        Ok(())
    }
}

impl<D: Device, const TCP: usize, const UDP: usize> UdpFullStack for Stack<'_, D, TCP, UDP> {
    /// On all addresses of the interface. Port 0 is any that is free: [`udp_port`](Stack::udp_port) says which.
    fn bind(&mut self, socket: &mut UdpSocket, local_port: u16) -> Result<(), Error> {
        if socket.0.is_some() {
            return Err(Error::InvalidState);
        }
        let port = Some(local_port).filter(|port| *port != 0);
        socket.0 = Some(self.open_udp(port)?);
        Ok(())
    }

    /// As `send`, which sends to the same peer from now on.
    fn send_to(
        &mut self,
        socket: &mut UdpSocket,
        remote: SocketAddr,
        buffer: &[u8],
    ) -> nb::Result<(), Error> {
        let remote = endpoint(remote)?;
        self.send_datagram(socket, remote, buffer)?;
        let (slot, _) = self.datagrams(socket)?;
        slot.remote = Some(remote);
        Ok(())
    }
}

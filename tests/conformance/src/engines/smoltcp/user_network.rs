//! Real sockets at one end, a stack of smoltcp's at the other, and octets carried between them: QEMU's user network in small.
//!
//! Like that one it accepts a connection before the server has. Ends and resets are carried both ways, each direction by
//! itself, and nothing is taken from one side that the other has no room for.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use smoltcp::iface::{Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{IpAddress, IpEndpoint};
use socket2::SockRef;

use super::wire::{Nic, PORT, SERVER, interface, leak_with, tcp_socket, udp_socket};

/// How many connections are carried at once; the next one waits to be accepted.
const LINKS: usize = 48;
/// How many peers over UDP are known at once; the one that was heard of the longest ago is forgotten.
const PEERS: usize = 8;
/// Octets of each direction's buffer of a socket.
const SOCKET_LEN: usize = 8192;
/// The longest datagram that fits a frame.
const DATAGRAM_LEN: usize = 1472;
/// The ports that connections begin from.
const FIRST_PORT: u16 = 49_152;

pub(super) struct UserNetwork {
    interface: Interface,
    nic: Nic,
    sockets: SocketSet<'static>,
    listener: TcpListener,
    udp: UdpSocket,
    free: Vec<SocketHandle>,
    links: Vec<Link>,
    peers: Vec<Peer>,
    port: u16,
}

/// One connection.
struct Link {
    stream: TcpStream,
    socket: SocketHandle,
    /// Its client has ended the stream.
    client_ended: bool,
    /// Its server has, and whether the client was told.
    server_ended: bool,
    told: bool,
}

/// What became of a link.
enum Step {
    Moved,
    Idle,
    Over,
}

/// One peer over UDP.
struct Peer {
    address: Option<SocketAddr>,
    socket: SocketHandle,
    heard: Instant,
}

impl UserNetwork {
    pub(super) fn new(
        mut nic: Nic,
        address: Ipv4Addr,
        listener: TcpListener,
        udp: UdpSocket,
    ) -> Result<Self> {
        listener.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        let interface = interface(&mut nic, address, 11);
        let storage = leak_with(LINKS + PEERS, || SocketStorage::EMPTY);
        let mut sockets = SocketSet::new(storage);
        let free = (0..LINKS).map(|_| sockets.add(tcp_socket(SOCKET_LEN)));
        let free = free.collect();
        let peers = (0..PEERS).map(|_| Peer {
            address: None,
            socket: sockets.add(udp_socket(16, 32 * 1024)),
            heard: Instant::ZERO,
        });
        let peers = peers.collect();
        Ok(Self {
            interface,
            nic,
            sockets,
            listener,
            udp,
            free,
            links: Vec::new(),
            peers,
            port: FIRST_PORT,
        })
    }

    /// One pass; whether there was anything to do.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        let mut moved = self.accept();
        moved |= self.carry_streams();
        moved |= self.carry_datagrams(now);
        let polled = self.interface.poll(now, &mut self.nic, &mut self.sockets);
        moved | (polled != PollResult::None)
    }

    fn next_port(&mut self) -> u16 {
        self.port = self.port.checked_add(1).unwrap_or(FIRST_PORT);
        self.port
    }

    fn accept(&mut self) -> bool {
        if self.free.is_empty() {
            return false;
        }
        let Ok((stream, _)) = self.listener.accept() else {
            return false;
        };
        if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
            return true;
        }
        let port = self.next_port();
        let Some(handle) = self.free.pop() else {
            return false;
        };
        let socket: &mut tcp::Socket<'_> = self.sockets.get_mut(handle);
        socket.set_nagle_enabled(false);
        let server = (IpAddress::Ipv4(SERVER), PORT);
        if socket
            .connect(self.interface.context(), server, port)
            .is_err()
        {
            self.free.push(handle);
            return true;
        }
        self.links.push(Link {
            stream,
            socket: handle,
            client_ended: false,
            server_ended: false,
            told: false,
        });
        true
    }

    fn carry_streams(&mut self) -> bool {
        let Self {
            links,
            sockets,
            free,
            ..
        } = self;
        let mut moved = false;
        links.retain_mut(|link| match link.step(sockets.get_mut(link.socket)) {
            Step::Moved => {
                moved = true;
                true
            }
            Step::Idle => true,
            Step::Over => {
                free.insert(0, link.socket);
                moved = true;
                false
            }
        });
        moved
    }

    fn carry_datagrams(&mut self, now: Instant) -> bool {
        let mut moved = false;
        let mut datagram = [0; 65_536];
        while let Ok((len, from)) = self.udp.recv_from(&mut datagram) {
            moved = true;
            // What would need fragments is lost.
            if let Some(datagram) = datagram.get(..len)
                && len <= DATAGRAM_LEN
            {
                self.send(datagram, from, now);
            }
        }
        for peer in &self.peers {
            let socket: &mut udp::Socket<'_> = self.sockets.get_mut(peer.socket);
            while let Ok((datagram, _)) = socket.recv() {
                moved = true;
                if let Some(address) = peer.address {
                    // What cannot be sent is lost.
                    let _ = self.udp.send_to(datagram, address);
                }
            }
        }
        moved
    }

    fn send(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let known = |peer: &Peer| peer.address == Some(from);
        if !self.peers.iter().any(known) {
            let port = self.next_port();
            let oldest = self.peers.iter_mut().min_by_key(|peer| peer.heard);
            if let Some(peer) = oldest {
                peer.address = Some(from);
                let socket: &mut udp::Socket<'_> = self.sockets.get_mut(peer.socket);
                socket.close();
                let _ = socket.bind(port);
            }
        }
        if let Some(peer) = self.peers.iter_mut().find(|peer| known(peer)) {
            peer.heard = now;
            let socket: &mut udp::Socket<'_> = self.sockets.get_mut(peer.socket);
            let server = IpEndpoint::new(IpAddress::Ipv4(SERVER), PORT);
            let _ = socket.send_slice(datagram, server);
        }
    }
}

impl Link {
    fn step(&mut self, socket: &mut tcp::Socket<'_>) -> Step {
        let up = self.carry_up(socket);
        let down = self.carry_down(socket);
        let (Ok(up), Ok(down)) = (up, down) else {
            // The client is gone: the server sees a reset.
            socket.abort();
            return Step::Over;
        };
        self.server_ended |= matches!(
            socket.state(),
            tcp::State::CloseWait
                | tcp::State::LastAck
                | tcp::State::Closing
                | tcp::State::TimeWait
        );
        let all_told = socket.recv_queue() == 0;
        if self.server_ended && all_told && !self.told {
            self.told = true;
            let _ = self.stream.shutdown(Shutdown::Write);
            return Step::Moved;
        }
        match socket.state() {
            tcp::State::Closed if all_told => {
                if !self.told {
                    let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                }
                Step::Over
            }
            tcp::State::TimeWait if all_told => {
                // The server has all of it. Its last acknowledgement is lost, if it is, with this reset in its place.
                socket.abort();
                Step::Over
            }
            _ if up || down => Step::Moved,
            _ => Step::Idle,
        }
    }

    /// Carries octets to the server, as far as there is room; an error if the client is gone.
    fn carry_up(&mut self, socket: &mut tcp::Socket<'_>) -> Result<bool, ()> {
        if self.client_ended || !socket.can_send() {
            return Ok(false);
        }
        let stream = &mut self.stream;
        let read = socket.send(|room| {
            let read = stream.read(room);
            (*read.as_ref().unwrap_or(&0), read)
        });
        match read {
            Ok(Ok(0)) => {
                self.client_ended = true;
                socket.close();
                Ok(true)
            }
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) => passing(&error),
            Err(_) => Ok(false),
        }
    }

    /// Carries octets to the client, as far as it has room; an error if it is gone.
    fn carry_down(&mut self, socket: &mut tcp::Socket<'_>) -> Result<bool, ()> {
        if !socket.can_recv() {
            return Ok(false);
        }
        let stream = &mut self.stream;
        let written = socket.recv(|octets| {
            let written = stream.write(octets);
            (*written.as_ref().unwrap_or(&0), written)
        });
        match written {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) => passing(&error),
            Err(_) => Ok(false),
        }
    }
}

/// Nothing, if it was an error that says nothing.
fn passing(error: &std::io::Error) -> Result<bool, ()> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(false),
        _ => Err(()),
    }
}

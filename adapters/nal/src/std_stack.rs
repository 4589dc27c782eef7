//! std-embedded-nal made fit for a server, on Unix.
//!
//! The sockets that it accepts are blocking although the one that listens is not, so that one silent client would stop
//! everything; it has no half-close; and it listens on every address, on a port of the caller's choice.

use core::net::SocketAddr;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use embedded_nal::{TcpClientStack, UdpClientStack, nb};
use rustix::net::{Shutdown, getsockname, shutdown, sockopt};
use std_embedded_nal::Stack;

use crate::policy::{Received, TcpPolicy, Turned, UdpPolicy, UdpReceived};

/// Connections that may wait to be accepted. With std's 128 a burst of a thousand waits for whole seconds.
const BACKLOG: i32 = 4096;

// std-embedded-nal does not name its types.
type TcpSocket = <Stack as TcpClientStack>::TcpSocket;
type TcpError = <Stack as TcpClientStack>::Error;
type UdpSocket = <Stack as UdpClientStack>::UdpSocket;

/// std-embedded-nal 0.4 as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    /// Peers from elsewhere are turned away without a word: what comes nearest to listening on a loopback address.
    pub loopback_only: bool,
}

impl Policy {
    fn takes(self, peer: SocketAddr) -> bool {
        !self.loopback_only || peer.ip().to_canonical().is_loopback()
    }
}

impl TcpPolicy<Stack> for Policy {
    const ZERO_IS_END: bool = true;

    fn received(&mut self, result: nb::Result<usize, TcpError>) -> Received {
        match result {
            Ok(0) => Received::End,
            Ok(octets) => Received::Octets(octets),
            Err(nb::Error::WouldBlock) => Received::Nothing,
            Err(nb::Error::Other(error)) if error.0.kind() == io::ErrorKind::Interrupted => {
                Received::Nothing
            }
            Err(nb::Error::Other(_)) => Received::Gone,
        }
    }

    fn listening(&mut self, _: &mut Stack, socket: &mut TcpSocket) {
        // What the system does not give shows as a wait, which is provided for.
        let _ = with_tcp(socket, |fd| rustix::net::listen(fd, BACKLOG));
    }

    fn accepted(
        &mut self,
        _: &mut Stack,
        socket: &mut TcpSocket,
        peer: SocketAddr,
    ) -> Result<(), Turned> {
        if !self.takes(peer) {
            return Err(Turned);
        }
        let prepared = with_tcp(socket, |fd| {
            rustix::io::ioctl_fionbio(fd, true)?;
            // Replies leave in as few writes as there can be; holding them back gains nothing.
            sockopt::set_tcp_nodelay(fd, true)
        });
        // One that stays blocking must not be served.
        prepared.map_err(|_| Turned)
    }

    fn half_close(&mut self, _: &mut Stack, socket: &mut TcpSocket) -> bool {
        with_tcp(socket, |fd| shutdown(fd, Shutdown::Write)).is_ok()
    }
}

impl UdpPolicy<Stack> for Policy {
    fn received(&mut self, result: nb::Result<(usize, SocketAddr), io::Error>) -> UdpReceived {
        match result {
            Ok((_, peer)) if !self.takes(peer) => UdpReceived::Other,
            Ok((len, peer)) => UdpReceived::Datagram(len, peer),
            Err(_) => UdpReceived::Nothing,
        }
    }
}

/// The port that a socket listens on.
///
/// # Errors
/// If it does not, or the system cannot tell.
pub fn local_port(socket: &TcpSocket) -> io::Result<u16> {
    with_tcp(socket, port_of)
}

/// The port that a socket receives on.
///
/// # Errors
/// If it does not, or the system cannot tell.
pub fn udp_local_port(socket: &UdpSocket) -> io::Result<u16> {
    let fd = udp_fd(socket).ok_or(io::ErrorKind::NotConnected)?;
    Ok(port_of(fd)?)
}

/// The descriptor of a socket, to wait for with poll(2); none before it is connected or bound.
pub fn tcp_fd(socket: &TcpSocket) -> Option<BorrowedFd<'_>> {
    socket.as_raw_fd().map(|fd| borrow(fd, socket))
}

/// The descriptor of a socket, to wait for with poll(2); none before it is connected or bound.
pub fn udp_fd(socket: &UdpSocket) -> Option<BorrowedFd<'_>> {
    socket.as_raw_fd().map(|fd| borrow(fd, socket))
}

fn port_of(fd: BorrowedFd<'_>) -> rustix::io::Result<u16> {
    let address = SocketAddr::try_from(getsockname(fd)?);
    Ok(address.map_or(0, |address| address.port()))
}

fn with_tcp<R>(
    socket: &TcpSocket,
    call: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<R>,
) -> io::Result<R> {
    let fd = tcp_fd(socket).ok_or(io::ErrorKind::NotConnected)?;
    Ok(call(fd)?)
}

/// `fd` for as long as `_owner`, whose it is, is borrowed.
#[allow(
    unsafe_code,
    reason = "std-embedded-nal hands out raw descriptors only, and has no other way to its sockets"
)]
fn borrow<K>(fd: RawFd, _owner: &K) -> BorrowedFd<'_> {
    // SAFETY: both callers pass the descriptor that `_owner` has just named as its own. It is open: `as_raw_fd` takes
    // it from the `std` socket inside, which nothing but the drop of `_owner`, or a call with `&mut`, closes or
    // replaces, and neither can happen while the result borrows it. It is not -1: it comes from an open socket.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

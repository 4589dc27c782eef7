//! What embedded-nal leaves open, settled for each stack.
//!
//! | situation | std-embedded-nal 0.4 | smoltcp-nal 0.7 | unstick-smoltcp |
//! |---|---|---|---|
//! | TCP receive, nothing there | `WouldBlock` | `Ok(0)` | `WouldBlock` |
//! | TCP receive, end of stream | `Ok(0)` | `PipeClosed` | `Ok(0)` |
//! | TCP send, no room | `WouldBlock` | `Ok(0)` | `WouldBlock` |
//! | TCP reset | `Other` | `PipeClosed` | `PipeClosed` |
//! | UDP receive, nothing there | `WouldBlock` | `Other` | `WouldBlock` |
//! | UDP, datagram longer than the buffer | cut silently | `Other` | `Truncated`, and it is gone |

use core::net::SocketAddr;

use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind, UdpClientStack};

/// What a receive on a TCP socket was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// This many octets; at least one.
    Octets(usize),
    /// There is nothing yet.
    Nothing,
    /// The peer has ended its stream; it may still be sent to.
    End,
    /// The connection is no more.
    Gone,
}

/// What a send on a TCP socket was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// This many octets; at least one.
    Octets(usize),
    /// There is no room yet.
    Full,
    /// The connection is no more.
    Gone,
}

/// A new peer is not served: its socket is closed without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned;

/// How the TCP side of the stack `T` is to be understood.
///
/// Ready-made are [`ZeroIsEnd`] and [`ZeroIsNothing`], for std-embedded-nal `std_stack::Policy`, and for unstick-smoltcp
/// `smoltcp_stack::Policy`. A stack that can do more than embedded-nal says, a half-close for instance, has a policy of its own.
pub trait TcpPolicy<T: TcpClientStack> {
    /// Whether `Ok(0)` of a receive is the end of the stream; else it means that nothing is there yet.
    const ZERO_IS_END: bool;

    /// What this receive, into a buffer that is not empty, was.
    ///
    /// Where `PipeClosed` stands for a reset too, the next send tells.
    fn received(&mut self, result: nb::Result<usize, T::Error>) -> Received {
        match result {
            Ok(0) if Self::ZERO_IS_END => Received::End,
            Ok(0) | Err(nb::Error::WouldBlock) => Received::Nothing,
            Ok(octets) => Received::Octets(octets),
            Err(nb::Error::Other(error)) if error.kind() == TcpErrorKind::PipeClosed => {
                Received::End
            }
            Err(nb::Error::Other(_)) => Received::Gone,
        }
    }

    /// What this send, of at least one octet, was.
    fn sent(&mut self, result: nb::Result<usize, T::Error>) -> Sent {
        match result {
            Ok(0) | Err(nb::Error::WouldBlock) => Sent::Full,
            Ok(octets) => Sent::Octets(octets),
            Err(nb::Error::Other(_)) => Sent::Gone,
        }
    }

    /// Prepares the socket that listens.
    fn listening(&mut self, stack: &mut T, socket: &mut T::TcpSocket) {
        let _ = (stack, socket);
    }

    /// Prepares a socket that was just accepted.
    ///
    /// # Errors
    /// [`Turned`] if this peer is not to be served.
    fn accepted(
        &mut self,
        stack: &mut T,
        socket: &mut T::TcpSocket,
        peer: SocketAddr,
    ) -> Result<(), Turned> {
        let _ = (stack, socket, peer);
        Ok(())
    }

    /// Ends the sending side only, behind what was sent, if the stack has a way to; whether it has.
    ///
    /// embedded-nal has none. With one, a peer that is told why its connection ends sees the end right behind it.
    fn half_close(&mut self, stack: &mut T, socket: &mut T::TcpSocket) -> bool {
        let _ = (stack, socket);
        false
    }
}

/// For stacks on which a receive of no octets is the end of the stream, as in POSIX.
#[derive(Debug, Clone, Copy, Default)]
pub struct ZeroIsEnd;

impl<T: TcpClientStack> TcpPolicy<T> for ZeroIsEnd {
    const ZERO_IS_END: bool = true;
}

impl<T: UdpClientStack> UdpPolicy<T> for ZeroIsEnd {}

/// For stacks on which a receive of no octets means that there are none yet; the end is `PipeClosed`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ZeroIsNothing;

impl<T: TcpClientStack> TcpPolicy<T> for ZeroIsNothing {
    const ZERO_IS_END: bool = false;
}

impl<T: UdpClientStack> UdpPolicy<T> for ZeroIsNothing {}

/// What a receive on a UDP socket was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UdpReceived {
    /// A datagram of this many octets. If it fills the buffer it may have been cut; its frame will tell.
    Datagram(usize, SocketAddr),
    /// A datagram that is not for us: it is passed over.
    Other,
    /// There is nothing yet, or something failed, which comes to the same: the next receive is as good as any.
    Nothing,
}

/// How the UDP side of the stack `T` is to be understood.
pub trait UdpPolicy<T: UdpClientStack> {
    /// What this receive was.
    ///
    /// An error is nothing unless the policy knows better: on some stacks an empty queue is one.
    fn received(&mut self, result: nb::Result<(usize, SocketAddr), T::Error>) -> UdpReceived {
        match result {
            Ok((len, peer)) => UdpReceived::Datagram(len, peer),
            Err(_) => UdpReceived::Nothing,
        }
    }
}

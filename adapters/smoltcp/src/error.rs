//! What goes wrong, for TCP and UDP alike.

use core::fmt;

use embedded_nal::{TcpError, TcpErrorKind};

/// Why a call on a socket failed. [`WouldBlock`](embedded_nal::nb::Error::WouldBlock) is not among them: it is no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The connection is closed in this direction: reset by the peer, or shut down here.
    /// The only one whose kind is [`TcpErrorKind::PipeClosed`].
    Closed,
    /// The peer answered the attempt to connect with a reset.
    Refused,
    /// The peer did not answer the attempt to connect in time.
    TimedOut,
    /// Every socket that the stack was given is in use.
    NoSocket,
    /// The port is taken.
    PortInUse,
    /// No address of the interface can reach the peer, or its address or port is unspecified.
    Unaddressable,
    /// The socket is not in a state for this call: not connected, not bound, already listening, of another stack.
    InvalidState,
    /// The datagram was longer than the buffer it was to be received in, and is lost.
    Truncated,
    /// The datagram is longer than can ever be sent.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection is closed",
            Self::Refused => "the connection was refused",
            Self::TimedOut => "the peer did not answer in time",
            Self::NoSocket => "all sockets are in use",
            Self::PortInUse => "the port is in use",
            Self::Unaddressable => "the address cannot be reached",
            Self::InvalidState => "the socket is not in a state for this",
            Self::Truncated => "the datagram was truncated",
            Self::TooLong => "the datagram is too long",
        })
    }
}

impl core::error::Error for Error {}

impl TcpError for Error {
    fn kind(&self) -> TcpErrorKind {
        match self {
            Self::Closed => TcpErrorKind::PipeClosed,
            _ => TcpErrorKind::Other,
        }
    }
}

// An error's size is flash on a board, in every result.
const _: () = assert!(size_of::<Error>() == 1);

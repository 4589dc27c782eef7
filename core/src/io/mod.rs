//! Frames over generic byte streams: `embedded_io`'s `Read` and `Write`.
//!
//! A UART, a TLS session, a pipe or a socket that implements these traits can carry frames with what is here:
//! a [`FrameReader`](nonblocking::FrameReader), a [`FrameWriter`](nonblocking::FrameWriter) and a server.
//! Everything is there twice. What is in [`nonblocking`] does one bounded step a call and says
//! [`nb::Error::WouldBlock`] when there is nothing to do; what is in [`blocking`] waits, and is the former
//! over a stream that is taken to be always ready. Neither has a clock: deadlines belong to whoever has one.

pub mod blocking;
pub mod nonblocking;

use core::fmt;

use embedded_io::ErrorKind;

use crate::connection::Fault;
use crate::error::{DecodeError, EncodeError};

/// Why frames cannot be read from or written to a stream, sorted by who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The stream failed.
    Transport(E),
    /// The stream took none of the octets it was given: it will take no more.
    WriteZero,
    /// The peer's octets are not frames.
    Peer(DecodeError),
    /// The connection was closed early.
    Connection(Fault),
    /// A header could not be written.
    Encode(EncodeError),
    /// More octets of body were written than the header announced, or the next frame was begun before all
    /// of them were.
    BodyLength,
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => error.fmt(f),
            Self::WriteZero => f.write_str("the stream takes no more octets"),
            Self::Peer(error) => error.fmt(f),
            Self::Connection(fault) => fault.fmt(f),
            Self::Encode(error) => error.fmt(f),
            Self::BodyLength => f.write_str("the body is not as long as its header says"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Error<E> {}

impl<E: embedded_io::Error> embedded_io::Error for Error<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport(error) => error.kind(),
            Self::WriteZero => ErrorKind::WriteZero,
            Self::Peer(_) | Self::Connection(_) => ErrorKind::InvalidData,
            Self::Encode(_) | Self::BodyLength => ErrorKind::InvalidInput,
        }
    }
}

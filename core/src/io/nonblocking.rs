//! Frames over streams that say whether they are ready: one bounded step a call.
//!
//! The streams implement `embedded_io`'s `ReadReady` and `WriteReady`. `nb::Error::WouldBlock` means that
//! nothing was done and that the call is worth repeating when the stream is ready.

use core::task::Context;
use core::time::Duration;

use embedded_io::{ErrorKind, Read, ReadReady, Write, WriteReady};

use super::Error;
use crate::buffer::Buffer;
use crate::connection::{Connection, Wants};
use crate::decode::Decoder;
use crate::encode::encode;
use crate::error::{DecodeError, EncodeError};
use crate::frame::{Event, Header};
use crate::octets::{copy, take};
use crate::service::Service;
use crate::session::{Needs, Session};

/// The time, where nobody looks at it.
const NO_CLOCK: Duration = Duration::ZERO;

/// The memory of a buffer.
const fn room<const B: usize>() -> [u8; B] {
    const {
        assert!(
            B > 0,
            "a buffer without room is never read from or written to"
        )
    };
    [0; B]
}

/// Reads what there is if there is any; an interrupted read is as good as none.
fn read_once<R: Read + ReadReady>(
    source: &mut R,
    out: &mut [u8],
) -> nb::Result<usize, Error<R::Error>> {
    unless_interrupted(source.read_ready()).and_then(|ready| match ready {
        true => unless_interrupted(source.read(out)),
        false => Err(nb::Error::WouldBlock),
    })
}

/// Writes what the stream takes if it takes any.
fn write_once<W: Write + WriteReady>(
    sink: &mut W,
    octets: &[u8],
) -> nb::Result<usize, Error<W::Error>> {
    let written = unless_interrupted(sink.write_ready()).and_then(|ready| match ready {
        true => unless_interrupted(sink.write(octets)),
        false => Err(nb::Error::WouldBlock),
    })?;
    match written {
        0 => Err(nb::Error::Other(Error::WriteZero)),
        written => Ok(written),
    }
}

/// Reads once into the room of `buffer`; `Ok(0)` is the stream's end.
fn read_to<R: Read + ReadReady, const B: usize>(
    source: &mut R,
    buffer: &mut Buffer<[u8; B]>,
) -> nb::Result<usize, Error<R::Error>> {
    let octets = read_once(source, buffer.room())?;
    buffer.filled(octets);
    Ok(octets)
}

/// Writes once from what `buffer` holds, which has to be something.
fn write_from<W: Write + WriteReady, const B: usize>(
    sink: &mut W,
    buffer: &mut Buffer<[u8; B]>,
) -> nb::Result<(), Error<W::Error>> {
    buffer.emptied(write_once(sink, buffer.held())?);
    Ok(())
}

fn unless_interrupted<T, E: embedded_io::Error>(result: Result<T, E>) -> nb::Result<T, Error<E>> {
    result.map_err(|error| match error.kind() {
        ErrorKind::Interrupted => nb::Error::WouldBlock,
        _ => nb::Error::Other(Error::Transport(error)),
    })
}

/// Reads frames with headers of type `H`, of up to `N` octets, through a buffer of `B` octets.
#[derive(Debug)]
pub struct FrameReader<R, H, const N: usize, const B: usize> {
    source: R,
    decoder: Decoder<H, N>,
    buffer: Buffer<[u8; B]>,
}

impl<R: Read + ReadReady, H: Header, const N: usize, const B: usize> FrameReader<R, H, N, B> {
    /// A reader at the start of a stream.
    pub const fn new(source: R) -> Self {
        Self {
            source,
            decoder: Decoder::new(),
            buffer: Buffer::new(room()),
        }
    }

    /// The stream.
    pub const fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// How many octets of the current frame's body are still to be read.
    pub const fn body_left(&self) -> u64 {
        self.decoder.body_left()
    }

    /// The next event, after at most one read; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`Error::Peer`], also if the stream ends inside a frame; [`Error::Transport`].
    pub fn poll(&mut self) -> nb::Result<Option<Event<'_, H>>, Error<R::Error>> {
        if self.buffer.is_empty()
            && self.decoder.needs_input()
            && read_to(&mut self.source, &mut self.buffer)? == 0
        {
            return match self.decoder.finish() {
                Ok(()) => Ok(None),
                Err(error) => Err(nb::Error::Other(Error::Peer(error))),
            };
        }
        let decoder = &mut self.decoder;
        let event = self.buffer.take_with(|input| decoder.decode(input));
        match event {
            Ok(None) => Err(nb::Error::WouldBlock),
            Ok(event) => Ok(event),
            Err(error) => Err(nb::Error::Other(Error::Peer(error))),
        }
    }

    /// Reads the next octets of the current frame's body to the front of `out`, after at most one read, and
    /// returns how many; 0 if none is left or `out` is empty.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll).
    pub fn read_body(&mut self, out: &mut [u8]) -> nb::Result<usize, Error<R::Error>> {
        if self.decoder.body_left() == 0 || out.is_empty() {
            return Ok(0);
        }
        if self.buffer.is_empty() && read_to(&mut self.source, &mut self.buffer)? == 0 {
            return Err(nb::Error::Other(Error::Peer(DecodeError::Truncated)));
        }
        let mut held = self.buffer.held();
        let mut body = take(&mut held, self.decoder.body_left().min(out.len() as u64));
        let copied = copy(out, body);
        // The decoder counts what is taken past it.
        let _ = self.decoder.decode(&mut body);
        self.buffer.emptied(copied);
        Ok(copied)
    }
}

/// Writes frames with headers of type `H`, through a buffer of `B` octets, which has to hold a prefix and a header.
///
/// A small frame leaves in one write: small pieces would each wait for the peer's acknowledgement.
#[derive(Debug)]
pub struct FrameWriter<W, const B: usize> {
    sink: W,
    buffer: Buffer<[u8; B]>,
    left: u64,
}

impl<W: Write + WriteReady, const B: usize> FrameWriter<W, B> {
    /// A writer at the start of a stream.
    pub const fn new(sink: W) -> Self {
        Self {
            sink,
            buffer: Buffer::new(room()),
            left: 0,
        }
    }

    /// The stream.
    pub const fn sink_mut(&mut self) -> &mut W {
        &mut self.sink
    }

    /// Begins a frame, after at most one write of what was still held.
    ///
    /// # Errors
    /// [`Error::BodyLength`] if the frame before is not complete; [`Error::Encode`]; [`Error::Transport`].
    pub fn begin<H: Header>(&mut self, header: &H) -> nb::Result<(), Error<W::Error>> {
        if self.left > 0 {
            return Err(nb::Error::Other(Error::BodyLength));
        }
        match encode(header, self.buffer.room()) {
            Ok(octets) => self.buffer.filled(octets),
            Err(EncodeError::BufferTooSmall) if !self.buffer.is_empty() => {
                write_from(&mut self.sink, &mut self.buffer)?;
                return Err(nb::Error::WouldBlock);
            }
            Err(error) => return Err(nb::Error::Other(Error::Encode(error))),
        }
        self.left = header.body_len();
        Ok(())
    }

    /// Takes octets of the current frame's body, after at most one write of what was still held, and returns
    /// how many.
    ///
    /// # Errors
    /// [`Error::BodyLength`] if `octets` are more than the header announced; [`Error::Transport`].
    pub fn write_body(&mut self, octets: &[u8]) -> nb::Result<usize, Error<W::Error>> {
        if octets.len() as u64 > self.left {
            return Err(nb::Error::Other(Error::BodyLength));
        }
        if self.buffer.room().is_empty() {
            write_from(&mut self.sink, &mut self.buffer)?;
        }
        let taken = copy(self.buffer.room(), octets);
        self.buffer.filled(taken);
        self.left = self.left.saturating_sub(taken as u64);
        match taken {
            0 if !octets.is_empty() => Err(nb::Error::WouldBlock),
            taken => Ok(taken),
        }
    }

    /// Writes once from what is held; `Ok(())` when nothing is.
    ///
    /// # Errors
    /// [`Error::Transport`].
    pub fn flush(&mut self) -> nb::Result<(), Error<W::Error>> {
        if self.buffer.is_empty() {
            return unless_interrupted(self.sink.flush());
        }
        write_from(&mut self.sink, &mut self.buffer)?;
        Err(nb::Error::WouldBlock)
    }
}

/// One connection of a server over a stream, with buffers of `IN` and `OUT` octets.
///
/// `OUT` has to hold a prefix and a reply's header. There are no deadlines here: for those, and many connections,
/// build on [`Session`], as this does.
#[derive(Debug)]
pub struct Server<T, S, const N: usize, const IN: usize, const OUT: usize> {
    stream: T,
    session: Session<S, N, [u8; IN], [u8; OUT]>,
}

impl<T, S, const N: usize, const IN: usize, const OUT: usize> Server<T, S, N, IN, OUT>
where
    T: Read + ReadReady + Write + WriteReady,
    S: Service,
{
    /// A server for `connection` over `stream`.
    pub const fn new(stream: T, connection: Connection<S, N>) -> Self {
        let session = Session::new(connection, room(), room(), NO_CLOCK);
        Self { stream, session }
    }

    /// The connection.
    pub const fn connection_mut(&mut self) -> &mut Connection<S, N> {
        self.session.connection_mut()
    }

    /// Whether all is said and sent.
    pub fn is_closed(&self) -> bool {
        self.session.connection().wants() == Wants::Close && self.session.unsent().is_empty()
    }

    /// Does one bounded step: at most one read or one write. `cx` is handed to the service.
    ///
    /// # Errors
    /// [`Error::Connection`] once the connection is closed early, [`Error::Transport`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> nb::Result<(), Error<T::Error>> {
        match self.session.advance(cx, NO_CLOCK) {
            Needs::Read => {
                let octets = read_once(&mut self.stream, self.session.room())?;
                self.session.received(octets, NO_CLOCK);
            }
            Needs::Write => {
                let octets = write_once(&mut self.stream, self.session.unsent())?;
                self.session.sent(octets, NO_CLOCK);
            }
            Needs::Service => return Err(nb::Error::WouldBlock),
            Needs::Close => {
                if let Some(fault) = self.session.connection().fault() {
                    return Err(nb::Error::Other(Error::Connection(fault)));
                }
            }
        }
        Ok(())
    }
}

//! Frames over streams that wait: what [`nonblocking`] does, until it is done.

use core::task::{Context, Waker};

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

use super::{Error, nonblocking};
use crate::connection::Connection;
use crate::frame::{Event, Header};
use crate::service::Service;

/// A stream that waits by itself, as one that is always ready.
#[derive(Debug)]
struct Waits<T>(T);

impl<T: ErrorType> ErrorType for Waits<T> {
    type Error = T::Error;
}

impl<T: Read> Read for Waits<T> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, T::Error> {
        self.0.read(out)
    }
}

impl<T: Read> ReadReady for Waits<T> {
    fn read_ready(&mut self) -> Result<bool, T::Error> {
        Ok(true)
    }
}

impl<T: Write> Write for Waits<T> {
    fn write(&mut self, octets: &[u8]) -> Result<usize, T::Error> {
        self.0.write(octets)
    }

    fn flush(&mut self) -> Result<(), T::Error> {
        self.0.flush()
    }
}

impl<T: Write> WriteReady for Waits<T> {
    fn write_ready(&mut self) -> Result<bool, T::Error> {
        Ok(true)
    }
}

/// Reads frames with headers of type `H`, of up to `N` octets, through a buffer of `B` octets.
///
/// ```
/// use embedded_io::Read;
/// use unstick_core::Request;
/// use unstick_core::io::blocking::FrameReader;
///
/// let stream = &b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}hello"[..];
/// let mut reader = FrameReader::<_, Request, 256, 64>::new(stream);
/// let mut text = [0; 5];
/// while let Some(mut frame) = reader.next_frame()? {
///     assert_eq!(frame.header.total_size, 5);
///     frame.body.read_exact(&mut text)?;
/// }
/// assert_eq!(&text, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FrameReader<R, H, const N: usize, const B: usize>(
    nonblocking::FrameReader<Waits<R>, H, N, B>,
);

impl<R: Read, H: Header, const N: usize, const B: usize> FrameReader<R, H, N, B> {
    /// A reader at the start of a stream.
    pub const fn new(source: R) -> Self {
        Self(nonblocking::FrameReader::new(Waits(source)))
    }

    /// The stream.
    pub const fn source_mut(&mut self) -> &mut R {
        &mut self.0.source_mut().0
    }

    /// The next frame; `None` at the end of the stream. What was not read of the last one's body is passed over.
    ///
    /// # Errors
    /// [`Error::Peer`], also if the stream ends inside a frame; [`Error::Transport`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_, R, H, N, B>>, Error<R::Error>> {
        loop {
            match nb::block!(self.0.poll())? {
                Some(Event::Header(header)) => {
                    let body = Body(self);
                    return Ok(Some(Frame { header, body }));
                }
                Some(Event::Body(_) | Event::End) => {}
                None => return Ok(None),
            }
        }
    }
}

/// A frame whose header was read and whose body is to be.
#[derive(Debug)]
pub struct Frame<'a, R, H, const N: usize, const B: usize> {
    /// The header.
    pub header: H,
    /// The body.
    pub body: Body<'a, R, H, N, B>,
}

/// A frame's body: a stream of its own, which ends where the frame does.
#[derive(Debug)]
pub struct Body<'a, R, H, const N: usize, const B: usize>(&'a mut FrameReader<R, H, N, B>);

impl<R: Read, H: Header, const N: usize, const B: usize> Body<'_, R, H, N, B> {
    /// How many octets are still to be read.
    pub const fn left(&self) -> u64 {
        self.0.0.body_left()
    }
}

impl<R: Read, H, const N: usize, const B: usize> ErrorType for Body<'_, R, H, N, B> {
    type Error = Error<R::Error>;
}

impl<R: Read, H: Header, const N: usize, const B: usize> Read for Body<'_, R, H, N, B> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Self::Error> {
        nb::block!(self.0.0.read_body(out))
    }
}

/// Writes frames through a buffer of `B` octets, which has to hold a prefix and a header.
///
/// ```
/// use unstick_core::Request;
/// use unstick_core::io::blocking::FrameWriter;
///
/// let mut stream = [0; 64];
/// let mut writer = FrameWriter::<_, 64>::new(&mut stream[..]);
/// writer.write_frame(&Request::new("echo", 5), b"hello")?;
/// assert_eq!(&stream[..37], b"\x1c\0\0\0{\"total_size\":5,\"op\":\"echo\"}hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FrameWriter<W, const B: usize>(nonblocking::FrameWriter<Waits<W>, B>);

impl<W: Write, const B: usize> FrameWriter<W, B> {
    /// A writer at the start of a stream.
    pub const fn new(sink: W) -> Self {
        Self(nonblocking::FrameWriter::new(Waits(sink)))
    }

    /// The stream.
    pub const fn sink_mut(&mut self) -> &mut W {
        &mut self.0.sink_mut().0
    }

    /// Begins a frame, whose body is then written with this type's `Write`.
    ///
    /// # Errors
    /// [`Error::BodyLength`] if the frame before is not complete; [`Error::Encode`]; [`Error::Transport`].
    pub fn begin<H: Header>(&mut self, header: &H) -> Result<(), Error<W::Error>> {
        nb::block!(self.0.begin(header))
    }

    /// Writes a whole frame, in one write if it fits the buffer.
    ///
    /// # Errors
    /// [`Error::BodyLength`] if `body` is not as long as the header says; as for [`begin`](Self::begin).
    pub fn write_frame<H: Header>(
        &mut self,
        header: &H,
        body: &[u8],
    ) -> Result<(), Error<W::Error>> {
        if header.body_len() != body.len() as u64 {
            return Err(Error::BodyLength);
        }
        self.begin(header)?;
        let mut rest = body;
        while !rest.is_empty() {
            let written = self.write(rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        self.flush()
    }
}

impl<W: Write, const B: usize> ErrorType for FrameWriter<W, B> {
    type Error = Error<W::Error>;
}

/// Writes the body of the frame that was begun: never more octets than its header announced.
impl<W: Write, const B: usize> Write for FrameWriter<W, B> {
    fn write(&mut self, octets: &[u8]) -> Result<usize, Self::Error> {
        nb::block!(self.0.write_body(octets))
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        nb::block!(self.0.flush())
    }
}

/// Serves one connection over `stream` until it is closed, with buffers of `IN` and `OUT` octets.
///
/// `wait` is called when the service has nothing yet and the stream is not to be read either: let other work
/// be done there, or sleep until the next interrupt.
///
/// ```no_run
/// # fn uart() -> impl embedded_io::Read + embedded_io::Write { embedded_io_adapters::std::FromStd::new(std::net::TcpStream::connect("").unwrap()) }
/// use unstick_core::Connection;
/// use unstick_core::io::blocking::serve;
/// use unstick_core::services::Echo;
///
/// let connection = Connection::<_, 256>::new(Echo::<256>::new());
/// serve::<_, _, 256, 128, 512>(uart(), connection, core::hint::spin_loop)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Connection`] if the connection was closed early, [`Error::Transport`].
pub fn serve<T, S, const N: usize, const IN: usize, const OUT: usize>(
    stream: T,
    connection: Connection<S, N>,
    mut wait: impl FnMut(),
) -> Result<(), Error<T::Error>>
where
    T: Read + Write,
    S: Service,
{
    let mut server = nonblocking::Server::<_, S, N, IN, OUT>::new(Waits(stream), connection);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match server.poll(&mut cx) {
            Ok(()) if server.is_closed() && server.connection_mut().fault().is_none() => {
                return Ok(());
            }
            Ok(()) => {}
            Err(nb::Error::WouldBlock) => wait(),
            Err(nb::Error::Other(error)) => return Err(error),
        }
    }
}

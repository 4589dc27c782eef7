//! The blocking TCP client.
//!
//! A request's body is sent while its reply is read, by one thread and in constant memory: whoever reads the
//! reply moves the body. Waiting for the one alone would be a deadlock with a server that streams, because each
//! side would end up waiting for the other to read.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use unstick_core::{Code, DecodeError, Decoder, EncodeError, Event, Reply, Request, encode};

use crate::poll;

/// The longest header of a reply that is taken, in octets.
const MAX_HEADER_LEN: usize = 4096;
/// How many octets are read, and written, at a time.
const BUFFER_LEN: usize = 16 * 1024;
/// How long connecting to one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a server, for one request after another.
///
/// ```no_run
/// use std::io::Read;
/// use unstick_core::Request;
/// use unstick_std::Client;
///
/// let mut client = Client::connect("127.0.0.1:8896")?;
/// let mut replies = client.request(Request::new("echo", 5), &b"hello"[..])?;
/// let mut text = String::new();
/// while let Some(mut frame) = replies.next_frame()? {
///     frame.accepted()?;
///     frame.body.read_to_string(&mut text)?;
/// }
/// assert_eq!(text, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    address: SocketAddr,
    decoder: Decoder<Reply, MAX_HEADER_LEN>,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    deadline: Option<Instant>,
    next_id: u32,
    /// The last reply was read to its end, and nothing of its request is left to send.
    ready: bool,
}

impl Client {
    /// Connects to the first address of `addr` that answers, each within 10 seconds.
    ///
    /// # Errors
    /// Those of [`connect`]; [`Error::Transport`].
    pub fn connect(addr: impl ToSocketAddrs) -> Result<Self, Error> {
        Self::from_stream(connect(addr)?).map_err(Error::Transport)
    }

    /// A client over a connection that was made elsewhere, and that carried no frames yet.
    ///
    /// # Errors
    /// If it is not connected, or the socket's options cannot be set.
    pub fn from_stream(stream: TcpStream) -> io::Result<Self> {
        let address = stream.peer_addr()?;
        // A request's end must not wait for the acknowledgement of what went before it.
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            address,
            decoder: Decoder::new(),
            input: vec![0; BUFFER_LEN].into(),
            start: 0,
            end: 0,
            deadline: None,
            next_id: 1,
            ready: true,
        })
    }

    /// The server's address.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Connects once more to the same address, in place of this connection; its deadline goes on.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn reconnect(&mut self) -> Result<(), Error> {
        let address = self.address;
        let deadline = self.deadline;
        *self = Self::connect(address)?;
        self.deadline = deadline;
        Ok(())
    }

    /// When to give up with [`Error::Deadline`], whatever is going on then; never, at first.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Sends a request, and returns the replies to read. The request's `id` is chosen here.
    ///
    /// Of the body, `request.total_size` octets, only the start is sent at once: the rest is as the replies are
    /// read. It is read as the connection takes it, and once more at the end, which has to be its end too. While
    /// `body` waits for something, so does the reader of the replies.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the reply before was not read to its end, or came before its request was sent.
    /// [`Error::Body`], [`Error::BodyLength`], [`Error::Encode`].
    pub fn request<B: Read>(
        &mut self,
        mut request: Request,
        body: B,
    ) -> Result<Replies<'_, B>, Error> {
        if !self.ready {
            return Err(Error::Unusable);
        }
        let id = self.next_id;
        request.id = Some(id);
        // The header and the start of the body leave in one write.
        let mut upload = Upload::new(&request, body)?;
        self.next_id = id.wrapping_add(1);
        self.ready = false;
        upload.send(&self.stream);
        Ok(Replies {
            client: self,
            upload,
            id,
            last: false,
            failed: false,
        })
    }

    /// Reads into the empty buffer what arrives next, and sends what the connection takes in the meantime.
    /// Without octets then, the stream has ended.
    fn receive<B: Read>(&mut self, upload: &mut Upload<B>) -> Result<(), Error> {
        loop {
            let left = self.time_left()?;
            upload.load()?;
            let sent = upload.send(&self.stream);
            match (&self.stream).read(&mut self.input) {
                Ok(len) => {
                    (self.start, self.end) = (0, len);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && sent => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(upload.is_sending(), left)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Transport(error)),
            }
        }
    }

    /// How long until the deadline, if there is one.
    fn time_left(&self) -> Result<Option<Duration>, Error> {
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::Deadline),
            left => Ok(Some(left)),
        }
    }

    /// Waits for octets to read, for room to write if there is something `to_send`, or until `timeout`.
    fn wait(&self, to_send: bool, timeout: Option<Duration>) -> Result<(), Error> {
        let mut events = PollFlags::IN;
        events.set(PollFlags::OUT, to_send);
        let mut fds = [PollFd::new(&self.stream, events)];
        poll::wait(&mut fds, timeout).map_err(Error::Transport)
    }
}

/// A connection to the first address of `addr` that answers, each within 10 seconds, without frames.
///
/// # Errors
/// [`Error::Connect`], for the last address that was tried.
pub fn connect(addr: impl ToSocketAddrs) -> Result<TcpStream, Error> {
    let connect_error = |address, source| Error::Connect { address, source };
    let addresses = addr
        .to_socket_addrs()
        .map_err(|error| connect_error(None, error))?;
    let nothing = io::Error::new(ErrorKind::NotFound, "the name has no address");
    let mut failure = connect_error(None, nothing);
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = connect_error(Some(address), error),
        }
    }
    Err(failure)
}

/// A request on its way out.
#[derive(Debug)]
struct Upload<B> {
    body: B,
    total_size: u64,
    /// How much of the body was not read yet.
    left: u64,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The connection takes no more. Why will show when reading from it, behind what it has brought before.
    stopped: bool,
}

impl<B: Read> Upload<B> {
    /// A request of which all was read that fits the first write.
    fn new(request: &Request, body: B) -> Result<Self, Error> {
        let mut buffer = vec![0; BUFFER_LEN];
        let header_len = encode(request, &mut buffer).map_err(Error::Encode)?;
        let mut upload = Self {
            body,
            total_size: request.total_size,
            left: request.total_size,
            buffer: buffer.into(),
            start: 0,
            end: header_len,
            stopped: false,
        };
        upload.read_body()?;
        Ok(upload)
    }

    /// Whether all of it was handed to the connection.
    fn is_sent(&self) -> bool {
        self.left == 0 && self.start == self.end
    }

    /// Whether there is something to send and a connection that takes it.
    fn is_sending(&self) -> bool {
        !self.stopped && !self.is_sent()
    }

    /// Reads more of the body if everything before it was sent.
    fn load(&mut self) -> Result<(), Error> {
        if self.is_sending() && self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.read_body()?;
        }
        Ok(())
    }

    /// Reads once from the body to behind what is held, and sees to it that the body ends where it should.
    fn read_body(&mut self) -> Result<(), Error> {
        if self.left > 0 {
            let room = &mut self.buffer[self.end..];
            let most = usize::try_from(self.left).map_or(room.len(), |left| left.min(room.len()));
            let len = read_once(&mut self.body, &mut room[..most])?;
            if len == 0 {
                return Err(self.wrong_length(self.total_size - self.left));
            }
            self.end += len;
            self.left -= len as u64;
        }
        if self.left == 0 && read_once(&mut self.body, &mut [0])? > 0 {
            return Err(self.wrong_length(self.total_size.saturating_add(1)));
        }
        Ok(())
    }

    fn wrong_length(&self, given: u64) -> Error {
        Error::BodyLength {
            announced: self.total_size,
            given,
        }
    }

    /// Writes once; whether any octets were taken.
    fn send(&mut self, mut stream: &TcpStream) -> bool {
        if self.stopped || self.start == self.end {
            return false;
        }
        match stream.write(&self.buffer[self.start..self.end]) {
            Ok(len) => {
                self.start += len;
                len > 0
            }
            Err(error) => {
                let later = [ErrorKind::WouldBlock, ErrorKind::Interrupted];
                self.stopped = !later.contains(&error.kind());
                false
            }
        }
    }
}

/// Reads once, interruptions aside.
fn read_once(body: &mut impl Read, out: &mut [u8]) -> Result<usize, Error> {
    loop {
        match body.read(out) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.map_err(Error::Body),
        }
    }
}

/// The reply to a request: one frame or several.
///
/// The connection is ready for the next request once the last of them was read to the end of its body.
#[derive(Debug)]
pub struct Replies<'c, B> {
    client: &'c mut Client,
    upload: Upload<B>,
    id: u32,
    /// The header of the last frame was read.
    last: bool,
    failed: bool,
}

impl<'c, B: Read> Replies<'c, B> {
    /// The next frame, or `None` after the last. What was not read of the one before is passed over.
    ///
    /// An error frame is a frame like any other, always the last: [`Frame::accepted`] makes an error of it.
    /// The server may send it before the request is complete. Then the rest of the request is not sent, and the
    /// connection is of no more use.
    ///
    /// # Errors
    /// Each error but [`Error::Connect`] and [`Error::Refused`]. There is nothing to read after one.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_, 'c, B>>, Error> {
        if self.failed {
            return Err(Error::Unusable);
        }
        self.pass_over()?;
        if self.last {
            return Ok(None);
        }
        let header = self.next_header()?;
        self.last = !header.more;
        // What was refused need not be sent.
        self.upload.stopped |= header.error.is_some();
        // Only what goes wrong before a request is understood has no id.
        if header.id != Some(self.id) && (header.id.is_some() || header.error.is_none()) {
            return self.fail(Error::WrongId {
                sent: self.id,
                received: header.id,
            });
        }
        self.settle();
        Ok(Some(Frame {
            header,
            body: Body(self),
        }))
    }

    /// Reads what is left of a body.
    fn pass_over(&mut self) -> Result<(), Error> {
        loop {
            match self.body_octets()?.len() {
                0 => return Ok(()),
                len => self.consume(len),
            }
        }
    }

    fn next_header(&mut self) -> Result<Reply, Error> {
        loop {
            let mut input = &self.client.input[self.client.start..self.client.end];
            let event = self.client.decoder.decode(&mut input);
            self.client.start = self.client.end - input.len();
            match event {
                Ok(Some(Event::Header(header))) => return Ok(header),
                // The end of the frame before.
                Ok(Some(_)) => {}
                Ok(None) => self.receive()?,
                Err(error) => return self.fail(Error::Peer(error)),
            }
        }
    }

    /// The octets of the current body that are here, after waiting for some; none at its end.
    fn body_octets(&mut self) -> Result<&[u8], Error> {
        let left = self.client.decoder.body_left();
        if left > 0 && self.client.start == self.client.end {
            self.receive()?;
        }
        let held = &self.client.input[self.client.start..self.client.end];
        let most = usize::try_from(left).map_or(held.len(), |left| left.min(held.len()));
        Ok(&held[..most])
    }

    /// Goes on behind `len` octets of the current body.
    fn consume(&mut self, len: usize) {
        let mut octets = &self.client.input[self.client.start..self.client.end];
        octets = &octets[..len];
        if !octets.is_empty() {
            // The decoder counts what is taken past it.
            let _ = self.client.decoder.decode(&mut octets);
            self.client.start += len;
            self.settle();
        }
    }

    fn receive(&mut self) -> Result<(), Error> {
        if let Err(error) = self.client.receive(&mut self.upload) {
            return self.fail(error);
        }
        if self.client.end == 0 {
            return self.fail(Error::Closed);
        }
        Ok(())
    }

    fn fail<T>(&mut self, error: Error) -> Result<T, Error> {
        self.failed = true;
        Err(error)
    }

    /// Frees the connection for the next request if this one is over.
    fn settle(&mut self) {
        let complete = self.last && self.client.decoder.body_left() == 0;
        self.client.ready = complete && self.upload.is_sent();
    }
}

/// One frame of a reply.
#[derive(Debug)]
pub struct Frame<'r, 'c, B> {
    /// The header.
    pub header: Reply,
    /// The body.
    pub body: Body<'r, 'c, B>,
}

impl<B> Frame<'_, '_, B> {
    /// Makes an error of an error frame.
    ///
    /// # Errors
    /// [`Error::Refused`] if the header has an `error`.
    pub fn accepted(&self) -> Result<(), Error> {
        Error::refusal(&self.header).map_or(Ok(()), Err)
    }
}

/// A frame's body: it ends where the frame does.
///
/// Its errors are those of [`Replies::next_frame`], wrapped; [`Error::from`] unwraps them.
#[derive(Debug)]
pub struct Body<'r, 'c, B>(&'r mut Replies<'c, B>);

impl<B> Body<'_, '_, B> {
    /// How many octets are still to be read.
    pub fn left(&self) -> u64 {
        self.0.client.decoder.body_left()
    }
}

impl<B: Read> BufRead for Body<'_, '_, B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.0.body_octets()?)
    }

    fn consume(&mut self, len: usize) {
        self.0.consume(len);
    }
}

impl<B: Read> Read for Body<'_, '_, B> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let len = self.fill_buf()?.read(out)?;
        self.consume(len);
        Ok(len)
    }
}

/// Why a request has no reply.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No connection: to this address, or to any if the name has none.
    Connect {
        /// The address that was tried last.
        address: Option<SocketAddr>,
        /// Why.
        source: io::Error,
    },
    /// The connection failed.
    Transport(io::Error),
    /// The server's octets are not frames.
    Peer(DecodeError),
    /// The server closed the connection before the reply was complete.
    Closed,
    /// The server answers another request than the one at hand.
    WrongId {
        /// The request's.
        sent: u32,
        /// The reply's.
        received: Option<u32>,
    },
    /// The deadline has passed.
    Deadline,
    /// The request's body cannot be read.
    Body(io::Error),
    /// The request's body is not as long as its header says.
    BodyLength {
        /// What the header says, in octets.
        announced: u64,
        /// What was read of it: if that is more, it was not read to its end.
        given: u64,
    },
    /// The request's header cannot be written.
    Encode(EncodeError),
    /// Nothing more can be asked over this connection: the reply before was not read to its end, or it came
    /// before its request was sent.
    Unusable,
    /// The server refuses the request, in an error frame.
    Refused {
        /// The code.
        code: Code,
        /// The server's own words, control characters and all.
        message: String,
        /// When to try again, in milliseconds.
        retry_after_ms: Option<u32>,
    },
}

impl Error {
    /// The error that a frame with this header reports, if it does.
    pub fn refusal(header: &Reply) -> Option<Self> {
        header.error.map(|code| Self::Refused {
            code,
            message: header.message.as_deref().unwrap_or_default().to_owned(),
            retry_after_ms: header.retry_after_ms,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect {
                address: Some(address),
                source,
            } => write!(f, "cannot connect to {address}: {source}"),
            Self::Connect {
                address: None,
                source,
            } => write!(f, "no address to connect to: {source}"),
            Self::Transport(error) => write!(f, "the connection failed: {error}"),
            Self::Peer(error) => write!(f, "the server does not speak in frames: {error}"),
            Self::Closed => {
                f.write_str("the server closed the connection before the reply was complete")
            }
            Self::WrongId { sent, received } => {
                write!(f, "the server answers another request than number {sent}: ")?;
                match received {
                    Some(id) => write!(f, "number {id}"),
                    None => f.write_str("one without a number"),
                }
            }
            Self::Deadline => f.write_str("the server took too long"),
            Self::Body(error) => write!(f, "the request's body cannot be read: {error}"),
            Self::BodyLength { announced, given } if given < announced => {
                write!(
                    f,
                    "the request's body ended after {given} of {announced} octets"
                )
            }
            Self::BodyLength { announced, .. } => {
                write!(
                    f,
                    "the request's body goes on behind its {announced} octets"
                )
            }
            Self::Encode(error) => write!(f, "the request cannot be written: {error}"),
            Self::Unusable => f.write_str(
                "the connection is of no more use: the request before was not finished on it",
            ),
            Self::Refused { code, message, .. } if message.is_empty() => {
                write!(f, "the server refuses: {code}")
            }
            Self::Refused { code, message, .. } => {
                write!(f, "the server refuses: {message} ({code})")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } => Some(source),
            Self::Transport(error) | Self::Body(error) => Some(error),
            Self::Peer(error) => Some(error),
            Self::Encode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Connect { source, .. } => source.kind(),
            Error::Transport(error) | Error::Body(error) => error.kind(),
            Error::Peer(_) | Error::WrongId { .. } => ErrorKind::InvalidData,
            Error::Closed => ErrorKind::UnexpectedEof,
            Error::Deadline => ErrorKind::TimedOut,
            Error::BodyLength { .. } | Error::Encode(_) => ErrorKind::InvalidInput,
            Error::Unusable | Error::Refused { .. } => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<io::Error> for Error {
    /// The error of ours that `error` wraps; [`Error::Transport`] if it wraps none.
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Transport)
    }
}

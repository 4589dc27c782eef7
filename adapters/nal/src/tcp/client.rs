//! The client: for boards that call out.

use core::fmt;
use core::net::SocketAddr;

use embedded_nal::TcpClientStack;
use unstick_core::{DecodeError, Decoder, EncodeError, Event, Header, Reply, Request, encode};

use crate::policy::{Received, Sent, TcpPolicy};

/// Why a client gives up its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError {
    /// The request's header does not fit the output buffer.
    Encode(EncodeError),
    /// What the server sends are not frames.
    Decode(DecodeError),
    /// The connection has ended, or broke.
    Closed,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
            Self::Closed => f.write_str("the connection has ended"),
        }
    }
}

impl core::error::Error for ClientError {}

/// One connection to a server: replies with headers of up to `N` octets, buffers of `IN` and `OUT` octets.
///
/// There are no deadlines here: whoever calls has the clock.
///
/// ```
/// use embedded_nal::TcpClientStack;
/// use unstick_core::{Event, Request};
/// use unstick_nal::{Client, body_of, std_stack};
/// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let remote = server.local_addr()?;
/// # let server = std::thread::spawn(move || {
/// #     use std::io::{Read, Write};
/// #     let (mut peer, _) = server.accept().unwrap();
/// #     peer.read_exact(&mut [0; 37]).unwrap();
/// #     peer.write_all(b"\x10\0\0\0{\"total_size\":5}hello").unwrap();
/// # });
///
/// let mut stack = std_embedded_nal::Stack;
/// let socket = stack.socket().map_err(|error| error.0)?;
/// let mut client = Client::<_, _, 256, 128, 128>::new(socket, std_stack::Policy::default());
/// nb::block!(client.connect(&mut stack, remote)).map_err(|error| error.0)?;
/// nb::block!(client.request(&Request::new("echo", 5)))?;
/// let (mut body, mut answer) = (&b"hello"[..], Vec::new());
/// let whole = loop {
///     let polled = client.poll(&mut stack, body_of(&mut body), |event| {
///         if let Event::Body(octets) = event {
///             answer.extend_from_slice(octets);
///         }
///     });
///     match polled {
///         Ok(true) => break answer,
///         // Here a board does something else.
///         Ok(false) | Err(nb::Error::WouldBlock) => {}
///         Err(nb::Error::Other(error)) => return Err(error.into()),
///     }
/// };
/// assert_eq!(whole, b"hello");
/// # server.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client<T: TcpClientStack, P, const N: usize, const IN: usize, const OUT: usize> {
    socket: T::TcpSocket,
    policy: P,
    decoder: Decoder<Reply, N>,
    input: [u8; IN],
    /// What of it is still to be decoded.
    held: (usize, usize),
    output: [u8; OUT],
    /// What of it is still to be sent.
    unsent: (usize, usize),
    /// Octets of the request's body that were not asked for yet.
    body_left: u64,
    /// The frame that is arriving is its reply's last.
    last: bool,
    /// Given up.
    failed: Option<ClientError>,
}

/// A body in memory, or what is left of it, as [`Client::poll`] asks for it.
pub fn body_of<'b>(body: &'b mut &[u8]) -> impl FnMut(&mut [u8]) -> usize + 'b {
    |out| {
        let count = out.len().min(body.len());
        let (taken, rest) = body.split_at_checked(count).unwrap_or_default();
        *body = rest;
        out.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        count
    }
}

impl<T, P, const N: usize, const IN: usize, const OUT: usize> Client<T, P, N, IN, OUT>
where
    T: TcpClientStack,
    P: TcpPolicy<T>,
{
    /// A client on a socket of the stack that is not connected yet.
    pub const fn new(socket: T::TcpSocket, policy: P) -> Self {
        const { assert!(IN > 0 && OUT > 0, "a client's buffers have room") };
        Self {
            socket,
            policy,
            decoder: Decoder::new(),
            input: [0; IN],
            held: (0, 0),
            output: [0; OUT],
            unsent: (0, 0),
            body_left: 0,
            last: false,
            failed: None,
        }
    }

    /// The socket.
    pub const fn socket(&self) -> &T::TcpSocket {
        &self.socket
    }

    /// Connects.
    ///
    /// # Errors
    /// [`nb::Error::WouldBlock`] until it is; the stack's errors.
    pub fn connect(&mut self, stack: &mut T, remote: SocketAddr) -> nb::Result<(), T::Error> {
        stack.connect(&mut self.socket, remote)
    }

    /// Begins a request with a body of its `total_size`, which the next [`poll`](Self::poll)s ask for.
    ///
    /// There may be several requests on their way; the replies come in their order.
    ///
    /// # Errors
    /// [`nb::Error::WouldBlock`] while the body of the request before is not complete or there is no room;
    /// [`ClientError::Encode`], after which the connection is as it was.
    pub fn request(&mut self, request: &Request) -> nb::Result<(), ClientError> {
        if self.body_left > 0 {
            return Err(nb::Error::WouldBlock);
        }
        self.compact();
        let (start, end) = self.unsent;
        match encode(request, self.output.get_mut(end..).unwrap_or_default()) {
            Ok(octets) => {
                self.unsent = (start, end.saturating_add(octets));
                self.body_left = request.body_len();
                Ok(())
            }
            Err(EncodeError::BufferTooSmall) if end > 0 => Err(nb::Error::WouldBlock),
            Err(error) => Err(nb::Error::Other(ClientError::Encode(error))),
        }
    }

    /// One bounded pass: at most one send and one receive; whether the reply is complete with it.
    ///
    /// `body` fills the front of the slice it is given with the next octets of the request's body and says how many they
    /// are; 0 is "none yet". `on_event` gets the reply: as many times a header, its body, and the end, as the reply has frames.
    /// A pass ends with the last of them.
    ///
    /// # Errors
    /// [`nb::Error::WouldBlock`] if there was nothing to do; [`ClientError::Decode`] and [`ClientError::Closed`], from then on
    /// always the same.
    pub fn poll(
        &mut self,
        stack: &mut T,
        body: impl FnMut(&mut [u8]) -> usize,
        on_event: impl FnMut(Event<'_, Reply>),
    ) -> nb::Result<bool, ClientError> {
        if let Some(error) = self.failed {
            return Err(nb::Error::Other(error));
        }
        let done = self.pass(stack, body, on_event);
        if let Err(nb::Error::Other(error)) = done {
            self.failed = Some(error);
        }
        done
    }

    fn pass(
        &mut self,
        stack: &mut T,
        body: impl FnMut(&mut [u8]) -> usize,
        mut on_event: impl FnMut(Event<'_, Reply>),
    ) -> nb::Result<bool, ClientError> {
        // What has arrived already is worth more than that the connection has ended.
        let mut gone = false;
        let mut moved = self.fill(body);
        let (start, end) = self.unsent;
        if start < end {
            let unsent = self.output.get(start..end).unwrap_or_default();
            match self.policy.sent(stack.send(&mut self.socket, unsent)) {
                Sent::Octets(octets) => {
                    self.unsent.0 = start.saturating_add(octets).min(end);
                    moved |= octets > 0;
                }
                Sent::Full => {}
                Sent::Gone => gone = true,
            }
        }
        let mut ended = false;
        if self.held.0 >= self.held.1 {
            let received = stack.receive(&mut self.socket, &mut self.input);
            match self.policy.received(received) {
                Received::Octets(octets) => {
                    self.held = (0, octets.min(IN));
                    moved |= octets > 0;
                }
                Received::Nothing => {}
                Received::End => ended = true,
                Received::Gone => gone = true,
            }
        }
        let (start, end) = self.held;
        let mut input = self.input.get(start..end).unwrap_or_default();
        let decoded = loop {
            match self.decoder.decode(&mut input) {
                Ok(None) => break Ok(false),
                Ok(Some(event)) => {
                    moved = true;
                    let last = match &event {
                        Event::Header(reply) => {
                            self.last = !reply.more;
                            false
                        }
                        Event::Body(_) => false,
                        Event::End => self.last,
                    };
                    on_event(event);
                    if last {
                        break Ok(true);
                    }
                }
                Err(error) => break Err(nb::Error::Other(ClientError::Decode(error))),
            }
        };
        self.held.0 = end.saturating_sub(input.len());
        match decoded {
            Ok(false) if ended && self.decoder.finish().is_err() => Err(nb::Error::Other(
                ClientError::Decode(DecodeError::Truncated),
            )),
            Ok(false) if ended => Err(nb::Error::Other(ClientError::Closed)),
            Ok(false) if gone && !moved => Err(nb::Error::Other(ClientError::Closed)),
            Ok(false) if !moved => Err(nb::Error::WouldBlock),
            decoded => decoded,
        }
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// What the stack says to that.
    pub fn close(self, stack: &mut T) -> Result<(), T::Error> {
        stack.close(self.socket)
    }

    /// Asks for the body, as far as there is room; whether there was any.
    fn fill(&mut self, mut body: impl FnMut(&mut [u8]) -> usize) -> bool {
        if self.body_left == 0 {
            return false;
        }
        self.compact();
        let (start, end) = self.unsent;
        let room = self.output.get_mut(end..).unwrap_or_default();
        let most = usize::try_from(self.body_left).map_or(room.len(), |left| left.min(room.len()));
        let room = room.get_mut(..most).unwrap_or_default();
        if room.is_empty() {
            return false;
        }
        let octets = body(room).min(most);
        self.unsent = (start, end.saturating_add(octets));
        self.body_left = self.body_left.saturating_sub(octets as u64);
        octets > 0
    }

    fn compact(&mut self) {
        if self.unsent.0 >= self.unsent.1 {
            self.unsent = (0, 0);
        }
    }
}

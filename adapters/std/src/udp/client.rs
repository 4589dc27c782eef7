//! The client: sends a request until its reply is complete.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use unstick_core::{Reply, Request, encode};

use super::{MAX_DATAGRAM, lengthen_queues, open};
use crate::HEADER_CAPACITY;

/// The pause before the first repetition; each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between repetitions. The server forgets a reply after 5 seconds at the earliest.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The most octets of frames that are kept while an earlier one is missing: as many as a server keeps of a
/// reply. More are dropped, and come again.
const MAX_KEPT: usize = 4 * 1024 * 1024;
/// What a frame that is kept takes besides its body, in octets.
const FRAME: usize = size_of::<(u64, Reply, Vec<u8>)>() + 64;

/// A client over UDP, of one server.
///
/// One request at a time. What arrives that does not belong to it is dropped: datagrams of others, late
/// replies to earlier requests, frames that were received already.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    next_id: u32,
    first_pause: Duration,
    datagram: Vec<u8>,
    header: Vec<u8>,
}

impl Client {
    /// A client of the server at this address. Nothing is sent yet.
    ///
    /// # Errors
    /// If the address is none, or the system has no socket for it.
    pub fn connect(addr: impl ToSocketAddrs) -> io::Result<Self> {
        let socket = connect(addr)?;
        let server = socket.peer_addr()?;
        Ok(Self {
            socket,
            server,
            // Not where an earlier client on the same port began: the server may know its ids.
            next_id: RandomState::new().hash_one(server) as u32,
            first_pause: FIRST_PAUSE,
            datagram: vec![0; usize::from(u16::MAX) + 1],
            header: Vec::new(),
        })
    }

    /// The same with another pause before a request is first sent again, instead of 200 ms: a little more
    /// than a round trip takes. Each further pause is twice as long, up to 1 s.
    #[must_use]
    pub fn with_first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause.clamp(Duration::from_millis(1), MAX_PAUSE);
        self
    }

    /// Sends `request` with this body until its reply is complete, and hands the reply's frames to
    /// `on_frame`, each once and in order.
    ///
    /// The request gets its `id` and `total_size` here. The last frame is the one without `more`; if it has
    /// `error`, the request was not carried out, or not to its end. A frame without a body that has `more`
    /// has no place in the order: it is passed over.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the request does not fit a datagram; [`Error::Refused`] if nothing listens
    /// there; [`Error::Deadline`] if the reply is not complete in time, in which case it is not known
    /// whether the request was carried out; [`Error::Io`].
    pub fn request(
        &mut self,
        mut request: Request,
        body: &[u8],
        deadline: Duration,
        mut on_frame: impl FnMut(&Reply, &[u8]),
    ) -> Result<(), Error> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        request.id = Some(id);
        request.total_size = body.len() as u64;
        let datagram = frame(&request, body)?;
        // What the network had to say of earlier requests.
        let _ = self.socket.take_error();

        let begun = Instant::now();
        let mut replies = Replies::default();
        let mut without_id = None;
        let mut pause = self.first_pause;
        let (mut sent, mut send_at) = (0, begun);
        loop {
            let now = Instant::now();
            let Some(left) = deadline
                .checked_sub(now - begun)
                .filter(|left| !left.is_zero())
            else {
                return Err(Error::Deadline(Unanswered {
                    deadline,
                    sent,
                    received: replies.next,
                    without_id,
                }));
            };
            if now >= send_at {
                match self.socket.send(&datagram) {
                    Err(error) if error.kind() != ErrorKind::Interrupted => {
                        return Err(self.failed(error));
                    }
                    _ => {}
                }
                sent += 1;
                send_at = now + pause;
                pause = MAX_PAUSE.min(pause * 2);
            }
            let wait = left.min(send_at.saturating_duration_since(now));
            let wait = wait.max(Duration::from_millis(1));
            self.socket
                .set_read_timeout(Some(wait))
                .map_err(Error::Io)?;
            let len = match self.socket.recv(&mut self.datagram) {
                Ok(len) => len,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                        continue;
                    }
                    _ => return Err(self.failed(error)),
                },
            };
            let datagram = &self.datagram[..len];
            let opened = open::<Reply>(datagram, HEADER_CAPACITY, &mut self.header);
            let Ok((reply, body)) = opened else { continue };
            if reply.total_size != body.len() as u64 {
                continue;
            }
            if reply.id != Some(id) {
                // Perhaps about a request whose header the server could not read. Perhaps an old one.
                if reply.id.is_none() && reply.error.is_some() {
                    without_id = Some(Box::new(reply));
                }
                continue;
            }
            match replies.take(reply, body, &mut on_frame) {
                Taken::Last => return Ok(()),
                // The reply is on its way: asking again would only lengthen it.
                Taken::New => {
                    pause = self.first_pause;
                    send_at = Instant::now() + pause;
                }
                Taken::Nothing => {}
            }
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::ConnectionRefused => Error::Refused(self.server, error),
            _ => Error::Io(error),
        }
    }
}

/// A socket that sends to and receives from the first address of `addr` that there is a way to, without frames.
///
/// # Errors
/// If the address is none, or the system has no socket for it.
pub fn connect(addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(ErrorKind::InvalidInput, "the name has no address");
    for server in addr.to_socket_addrs()? {
        match connect_to(server) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A socket that receives from `server` only.
fn connect_to(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    lengthen_queues(&socket);
    Ok(socket)
}

/// The request as a datagram.
fn frame(request: &Request, body: &[u8]) -> Result<Vec<u8>, Error> {
    let mut datagram = vec![0; MAX_DATAGRAM];
    let too_large = Error::TooLarge(body.len());
    let Ok(len) = encode(request, &mut datagram) else {
        return Err(too_large);
    };
    datagram.truncate(len);
    datagram.extend_from_slice(body);
    if datagram.len() > MAX_DATAGRAM {
        return Err(too_large);
    }
    Ok(datagram)
}

/// What a frame was good for.
enum Taken {
    /// The reply is complete.
    Last,
    /// It was not there yet.
    New,
    /// It was, or there is no room to keep it, or it contradicts others.
    Nothing,
}

/// The frames of a reply, put in order.
#[derive(Default)]
struct Replies {
    /// How many octets of body were handed over: the `offset` of the next frame.
    next: u64,
    /// The frames behind a gap, by `offset`, and what they take.
    kept: BTreeMap<u64, (Reply, Vec<u8>)>,
    octets: usize,
}

impl Replies {
    fn take(
        &mut self,
        reply: Reply,
        body: &[u8],
        on_frame: &mut impl FnMut(&Reply, &[u8]),
    ) -> Taken {
        let offset = reply.offset.unwrap_or(0);
        if offset < self.next || (body.is_empty() && reply.more) {
            return Taken::Nothing;
        }
        if offset > self.next {
            return self.keep(offset, reply, body);
        }
        if self.hand_over(&reply, body, on_frame) {
            return Taken::Last;
        }
        while let Some(entry) = self.kept.first_entry() {
            if *entry.key() > self.next {
                break;
            }
            let (offset, (reply, body)) = entry.remove_entry();
            self.octets -= FRAME + body.len();
            // One that begins inside another contradicts it.
            if offset == self.next && self.hand_over(&reply, &body, on_frame) {
                return Taken::Last;
            }
        }
        Taken::New
    }

    /// Whether this was the last.
    fn hand_over(
        &mut self,
        reply: &Reply,
        body: &[u8],
        on_frame: &mut impl FnMut(&Reply, &[u8]),
    ) -> bool {
        self.next += body.len() as u64;
        on_frame(reply, body);
        !reply.more
    }

    fn keep(&mut self, offset: u64, reply: Reply, body: &[u8]) -> Taken {
        let octets = self.octets + FRAME + body.len();
        match self.kept.entry(offset) {
            btree_map::Entry::Vacant(place) if octets <= MAX_KEPT => {
                place.insert((reply, body.to_vec()));
                self.octets = octets;
                Taken::New
            }
            _ => Taken::Nothing,
        }
    }
}

/// Why a request has no reply.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The request, with a body of this many octets, does not fit a datagram.
    TooLarge(usize),
    /// Nothing listens at this address.
    Refused(SocketAddr, io::Error),
    /// The reply was not complete in time.
    Deadline(Unanswered),
    /// The socket failed.
    Io(io::Error),
}

/// A request without a complete reply. Whether it was carried out is not known.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unanswered {
    /// How long the reply was waited for.
    pub deadline: Duration,
    /// How many times the request was sent.
    pub sent: u32,
    /// How many octets of body have arrived.
    pub received: u64,
    /// An error frame without `id`: it may be about this request.
    pub without_id: Option<Box<Reply>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(len) => write!(
                f,
                "a request with {len} octets of body does not fit a datagram, which has at most \
                 {MAX_DATAGRAM} octets with its header; use TCP"
            ),
            Self::Refused(server, _) => {
                write!(
                    f,
                    "nothing listens at udp {server}: the host refused the datagram"
                )
            }
            Self::Deadline(unanswered) => unanswered.fmt(f),
            Self::Io(error) => write!(f, "the datagram could not be exchanged: {error}"),
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.received {
            0 => f.write_str("no answer")?,
            octets => write!(f, "only {octets} octets of the answer")?,
        }
        write!(f, " within {} s; sent ", self.deadline.as_secs_f32())?;
        match self.sent {
            1 => f.write_str("once")?,
            sent => write!(f, "{sent} times")?,
        }
        if let Some(reply) = &self.without_id {
            let code = reply.error.map_or("", |code| code.as_str());
            // It goes to a terminal, perhaps.
            let message = reply.message.as_deref().unwrap_or_default().escape_debug();
            write!(
                f,
                "; the server said, perhaps of another request: {code}: {message}"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_, error) | Self::Io(error) => Some(error),
            Self::TooLarge(_) | Self::Deadline(_) => None,
        }
    }
}

//! Frames over UDP: one datagram is one frame (PROTOCOL.md, "UDP").
//!
//! Datagrams get lost, arrive twice, late or in another order. The [`Client`] therefore sends its request
//! again until the reply is complete, and the [`Server`] answers what it has already answered from a cache:
//! a request with an `id` is carried out once, however often it arrives.
//!
//! ```
//! use std::time::Duration;
//! use unstick_core::Request;
//! use unstick_core::services::Echo;
//! use unstick_std::{Limits, Shutdown, udp};
//!
//! let server = udp::Server::bind("127.0.0.1:0", Limits::default())?;
//! let address = server.local_addr()?;
//! let shutdown = Shutdown::new()?;
//! std::thread::scope(|scope| {
//!     scope.spawn(|| server.serve_forever(&shutdown, |_| Echo::<1024>::new()));
//!     let mut client = udp::Client::connect(address)?;
//!     let request = Request::new("echo", 0);
//!     client.request(request, b"hello", Duration::from_secs(5), |_, body| {
//!         assert_eq!(body, b"hello");
//!     })?;
//!     shutdown.request();
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod client;
mod server;

pub use client::{Client, Error, connect};
pub use server::Server;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use socket2::SockRef;
use tracing::debug;
use unstick_core::{Code, DecodeError, Header, PREFIX_LEN, Refusal};

use crate::poll::wait;
use crate::stats::UdpCounters;

/// The longest datagram, in octets: what UDP over IPv4 can carry.
pub const MAX_DATAGRAM: usize = 65_507;

/// The queue that is asked of the system for each direction of a socket, in octets.
///
/// Linux gives 212,992 unasked and counts its own bookkeeping: room for one datagram of the longest and no more.
const QUEUE_LEN: usize = 1024 * 1024;

/// Asks for longer queues. What the system does not give shows as loss, which is provided for.
fn lengthen_queues(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(QUEUE_LEN);
    let _ = socket.set_send_buffer_size(QUEUE_LEN);
}

/// How long a full send queue is waited for; then the datagram is lost, as it might be anywhere on its way.
const SEND_WAIT: Duration = Duration::from_millis(10);

/// A server's socket, which does not wait.
pub(crate) fn bind(addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
    adopt(UdpSocket::bind(addr)?)
}

/// The same of one that is bound already.
pub(crate) fn adopt(socket: UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    lengthen_queues(&socket);
    Ok(socket)
}

/// Sends a datagram from a server's socket. If that fails it is lost, like others on their way.
pub(crate) fn send(socket: &UdpSocket, datagram: &[u8], peer: SocketAddr, counters: &UdpCounters) {
    let mut sent = socket.send_to(datagram, peer);
    if matches!(&sent, Err(error) if error.kind() == ErrorKind::WouldBlock) {
        let mut queue = [PollFd::new(socket, PollFlags::OUT)];
        let _ = wait(&mut queue, Some(SEND_WAIT));
        sent = socket.send_to(datagram, peer);
    }
    match sent {
        Ok(_) => counters.sent.add_one(),
        Err(error) => {
            debug!(%peer, len = datagram.len(), %error, "a datagram was not sent");
        }
    }
}

/// The header of the frame in `datagram`, which may have `max_header` octets, and the octets behind it.
///
/// Whether these are as many as the header says is the caller's to check, who then knows the `id`.
/// `room` is used to decode in; what it holds before and after is of no meaning.
fn open<'d, H: Header>(
    datagram: &'d [u8],
    max_header: usize,
    room: &mut Vec<u8>,
) -> Result<(H, &'d [u8]), Refusal> {
    let bad_header = |message| Refusal::new(Code::BadHeader, message);
    let Some((prefix, rest)) = datagram.split_first_chunk::<PREFIX_LEN>() else {
        return Err(bad_header(format_args!(
            "a datagram of {} octets: a frame begins with a prefix of {PREFIX_LEN}",
            datagram.len()
        )));
    };
    let prefix = i32::from_le_bytes(*prefix);
    let len = match usize::try_from(prefix) {
        Ok(len) if len > 0 => len,
        _ => {
            let error = DecodeError::PrefixNotPositive(prefix);
            return Err(bad_header(format_args!("{error}")));
        }
    };
    // Whether all of it is there or not: over TCP nobody would wait for it.
    if len > max_header {
        return Err(Refusal::new(
            Code::TooLarge,
            format_args!("a header of {len} octets: the limit is {max_header}"),
        ));
    }
    let Some((text, body)) = rest.split_at_checked(len) else {
        return Err(bad_header(format_args!(
            "the prefix announces a header of {len} octets: the datagram has {} behind it",
            rest.len()
        )));
    };
    room.clear();
    room.extend_from_slice(text);
    room.resize(2 * len, 0);
    let (text, scratch) = room.split_at_mut(len);
    match H::decode(text, scratch) {
        Ok(header) => Ok((header, body)),
        Err(error) => Err(bad_header(format_args!("{error}"))),
    }
}

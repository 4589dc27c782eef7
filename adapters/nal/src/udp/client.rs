//! The client: sends a request until its reply is complete.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use embedded_nal::UdpClientStack;
use unstick_core::{Reply, Request, encode};

use super::open;
use crate::policy::{UdpPolicy, UdpReceived};

/// The pause before the first repetition; each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between repetitions. The server forgets a reply after 5 seconds at the earliest.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Why a request has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpClientError {
    /// The request does not fit the client's buffer.
    TooLarge,
    /// The reply was not complete in time. Whether the request was carried out is not known.
    Deadline,
}

impl fmt::Display for UdpClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request does not fit the client's buffer",
            Self::Deadline => "the reply was not complete in time",
        })
    }
}

impl core::error::Error for UdpClientError {}

/// A client of one server: replies with headers of up to `N` octets, requests and replies in datagrams of up to `BUF`.
///
/// One request at a time. Late replies to earlier requests are dropped; so are frames that arrive before an earlier one
/// of the same reply: they come again.
pub struct UdpClient<T: UdpClientStack, P, const N: usize, const BUF: usize> {
    socket: T::UdpSocket,
    policy: P,
    next_id: u32,
    request: [u8; BUF],
    input: [u8; BUF],
    wait: Option<Wait>,
}

/// The request that waits for its reply.
#[derive(Debug, Clone, Copy)]
struct Wait {
    id: u32,
    len: usize,
    send_at: Duration,
    pause: Duration,
    until: Duration,
    /// The `offset` of the frame that is next.
    next: u64,
}

impl<T, P, const N: usize, const BUF: usize> UdpClient<T, P, N, BUF>
where
    T: UdpClientStack,
    P: UdpPolicy<T>,
{
    /// A client on a socket of the stack, for the server at `remote`.
    ///
    /// `first_id` should be another one after each restart, or the server may take a new request for an old one: from a random
    /// number, or a clock.
    ///
    /// # Errors
    /// What the stack says to that.
    pub fn connect(
        stack: &mut T,
        mut socket: T::UdpSocket,
        remote: SocketAddr,
        policy: P,
        first_id: u32,
    ) -> Result<Self, T::Error> {
        stack.connect(&mut socket, remote)?;
        Ok(Self {
            socket,
            policy,
            next_id: first_id,
            request: [0; BUF],
            input: [0; BUF],
            wait: None,
        })
    }

    /// The socket.
    pub const fn socket(&self) -> &T::UdpSocket {
        &self.socket
    }

    /// Begins a request, which gets its `id` and `total_size` here, instead of the one before; it has until `until`.
    ///
    /// # Errors
    /// [`UdpClientError::TooLarge`].
    pub fn request(
        &mut self,
        mut request: Request,
        body: &[u8],
        now: Duration,
        until: Duration,
    ) -> Result<(), UdpClientError> {
        self.wait = None;
        let id = self.next_id;
        request.id = Some(id);
        request.total_size = body.len() as u64;
        let Ok(head) = encode(&request, &mut self.request) else {
            return Err(UdpClientError::TooLarge);
        };
        let len = head.saturating_add(body.len());
        let Some(room) = self.request.get_mut(head..len) else {
            return Err(UdpClientError::TooLarge);
        };
        room.iter_mut().zip(body).for_each(|(to, from)| *to = *from);
        self.next_id = id.wrapping_add(1);
        self.wait = Some(Wait {
            id,
            len,
            send_at: now,
            pause: FIRST_PAUSE,
            until,
            next: 0,
        });
        Ok(())
    }

    /// When [`poll`](Self::poll) has something to do unless a datagram arrives before.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.wait.map(|wait| wait.send_at.min(wait.until))
    }

    /// One bounded pass: at most one send and one receive; whether the reply is complete with it.
    ///
    /// `on_frame` gets the reply's frames, each once and in order. The last is the one without `more`; if it has `error`, the
    /// request was not carried out, or not to its end.
    ///
    /// # Errors
    /// [`nb::Error::WouldBlock`] if there was nothing to do, or there is no request; [`UdpClientError::Deadline`].
    pub fn poll(
        &mut self,
        stack: &mut T,
        now: Duration,
        mut on_frame: impl FnMut(&Reply, &[u8]),
    ) -> nb::Result<bool, UdpClientError> {
        let Some(wait) = &mut self.wait else {
            return Err(nb::Error::WouldBlock);
        };
        if wait.until <= now {
            self.wait = None;
            return Err(nb::Error::Other(UdpClientError::Deadline));
        }
        let mut moved = false;
        if wait.send_at <= now {
            let request = self.request.get(..wait.len).unwrap_or_default();
            // What fails is as good as lost; a full stack is asked again.
            if !matches!(
                stack.send(&mut self.socket, request),
                Err(nb::Error::WouldBlock)
            ) {
                wait.send_at = now.saturating_add(wait.pause);
                wait.pause = wait.pause.saturating_mul(2).min(MAX_PAUSE);
                moved = true;
            }
        }
        let received = stack.receive(&mut self.socket, &mut self.input);
        let len = match self.policy.received(received) {
            UdpReceived::Datagram(len, _) => len,
            UdpReceived::Other => return Ok(false),
            UdpReceived::Nothing if moved => return Ok(false),
            UdpReceived::Nothing => return Err(nb::Error::WouldBlock),
        };
        let datagram = self.input.get(..len.min(BUF)).unwrap_or_default();
        let Ok((reply, body_len)) = open::<Reply, N>(datagram, N) else {
            return Ok(false);
        };
        let expected = reply.total_size == body_len as u64
            && reply.id == Some(wait.id)
            && reply.offset.unwrap_or(0) == wait.next
            // One without a body has no place in the order.
            && !(reply.more && body_len == 0);
        if !expected {
            return Ok(false);
        }
        let body = datagram.get(datagram.len().saturating_sub(body_len)..);
        on_frame(&reply, body.unwrap_or_default());
        if !reply.more {
            self.wait = None;
            return Ok(true);
        }
        wait.next = wait.next.saturating_add(reply.total_size);
        // The reply is on its way: asking again would only lengthen it.
        wait.pause = FIRST_PAUSE;
        wait.send_at = now.saturating_add(FIRST_PAUSE);
        Ok(false)
    }

    /// Closes the socket.
    ///
    /// # Errors
    /// What the stack says to that.
    pub fn close(self, stack: &mut T) -> Result<(), T::Error> {
        stack.close(self.socket)
    }
}

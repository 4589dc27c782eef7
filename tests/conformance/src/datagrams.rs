//! A client over UDP: asks again until it is answered, as PROTOCOL.md wants it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::frame::{Frame, Octets, request};
use crate::target::Target;

/// How long an answer is waited for before the question is sent again.
const PAUSE: Duration = Duration::from_millis(200);
/// Room for any datagram.
const ROOM: usize = 65_536;

/// An `id` that was not used for long: servers remember them beyond the socket that they came from.
pub fn next_id() -> u32 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        AtomicU32::new(now.map_or(1, |now| now.as_millis() as u32))
    });
    next.fetch_add(1, Ordering::Relaxed)
}

/// A socket that talks to the target alone.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    patience: Duration,
}

impl Datagrams {
    /// A socket of its own.
    pub fn new(target: &Target) -> Result<Self> {
        let any: SocketAddr = match target.udp {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(target.udp)?;
        Ok(Self {
            socket,
            patience: target.patience,
        })
    }

    /// Sends one datagram.
    pub fn send(&self, octets: &[u8]) -> Result<()> {
        let sent = self.socket.send(octets);
        let sent = sent.with_context(|| format!("not sent: {}", Octets(octets)))?;
        ensure!(sent == octets.len());
        Ok(())
    }

    /// The next datagram, if there is one within this time. With no time, one that is there already.
    pub fn receive(&self, within: Duration) -> Result<Option<Vec<u8>>> {
        let mut room = vec![0; ROOM];
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // The system's timeouts have the grain of its ticks, and 0 would be for ever.
            self.socket.set_nonblocking(left.is_zero())?;
            if !left.is_zero() {
                self.socket.set_read_timeout(Some(left))?;
            }
            match self.socket.recv(&mut room) {
                Ok(len) => {
                    room.truncate(len);
                    self.socket.set_nonblocking(false)?;
                    return Ok(Some(room));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if left.is_zero() {
                        self.socket.set_nonblocking(false)?;
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends the datagram again and again until a datagram comes of which `take` makes something.
    pub fn until<T>(
        &self,
        datagram: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline {
            self.send(datagram)?;
            let again = Instant::now() + PAUSE;
            while let Some(left) = again.checked_duration_since(Instant::now())
                && let Some(octets) = self.receive(left)?
            {
                if let Some(taken) = take(&octets)? {
                    return Ok(taken);
                }
            }
        }
        anyhow::bail!(
            "no answer within {:?} to {}",
            self.patience,
            Octets(datagram)
        )
    }

    /// Asks until the reply, of one frame, is there: its datagram.
    pub fn exchange(&self, header: &Value, body: &[u8]) -> Result<(Vec<u8>, Frame)> {
        let mut header = header.clone();
        self.exchange_with(|id| {
            header["id"] = id.into();
            request(&header, body)
        })
    }

    /// The same with what `datagram` makes of an `id`. After `busy` there is another one.
    pub fn exchange_with(
        &self,
        mut datagram: impl FnMut(u32) -> Vec<u8>,
    ) -> Result<(Vec<u8>, Frame)> {
        let deadline = Instant::now() + self.patience;
        loop {
            let id = next_id();
            let (octets, frame) = self.reply(&datagram(id), id)?;
            match frame.header.get("retry_after_ms").and_then(Value::as_u64) {
                Some(pause) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(pause));
                }
                _ => return Ok((octets, frame)),
            }
        }
    }

    /// Sends this request until the reply with this `id` is there.
    pub fn reply(&self, datagram: &[u8], id: u32) -> Result<(Vec<u8>, Frame)> {
        self.until(datagram, |octets| {
            let frame = one(octets)?;
            // What else comes is late.
            Ok((frame.id() == Some(id.into())).then(|| (octets.to_vec(), frame)))
        })
    }

    /// Asks, and takes the frame.
    pub fn ask(&self, header: &Value, body: &[u8]) -> Result<Frame> {
        Ok(self.exchange(header, body)?.1)
    }
}

/// The one frame of a datagram.
pub fn one(datagram: &[u8]) -> Result<Frame> {
    let mut rest = datagram;
    let frame = Frame::take(&mut rest)?;
    let frame =
        frame.with_context(|| format!("a datagram is a whole frame: {}", Octets(datagram)))?;
    ensure!(
        rest.is_empty(),
        "a datagram is one frame: {}",
        Octets(datagram)
    );
    Ok(frame)
}

//! A connection of a chat over TCP, while it is one and while it ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown as Direction, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt;

use super::codec::{Heard, Listener};
use super::event::Peer;
use super::transport::FAREWELL;
use crate::failure::plain;

/// The most octets that wait for a peer to read.
const MAX_WAITING: usize = 256 * 1024;
/// How long a peer may take nothing of that before a piped line is refused rather than kept.
const PATIENCE: Duration = Duration::from_secs(5);
/// A peer that is silent for this long is asked whether it is there, and again after each pause.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// How long what was sent may go without any sign of the peer's system, or without room there for any of it.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// A peer that is here.
pub struct Connection {
    /// Who.
    pub peer: Peer,
    stream: TcpStream,
    listener: Listener,
    waiting: Vec<u8>,
    /// When it took some of that.
    took: Instant,
}

/// A connection that takes what is on its way out, ends, and reads until the peer has ended too: closing with
/// octets unread would reset it, and the reset would overtake the last words.
pub struct Parting {
    stream: TcpStream,
    waiting: Vec<u8>,
    ended: bool,
    /// When to give it up.
    pub until: Instant,
}

impl Connection {
    /// With a peer of whom nothing was heard.
    pub fn new(peer: Peer, stream: TcpStream, listener: Listener) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        Ok(Self {
            peer,
            stream,
            listener,
            waiting: Vec::new(),
            took: Instant::now(),
        })
    }

    /// Sends a message, or keeps it until the peer reads.
    ///
    /// # Errors
    /// A sentence that says why it does neither.
    pub fn send(&mut self, message: &[u8]) -> Result<(), String> {
        let waiting = self.waiting.len();
        if waiting + message.len() > MAX_WAITING {
            return Err(format!(
                "{} does not read: {waiting} octets wait for it; not sent",
                self.peer
            ));
        }
        self.waiting.extend_from_slice(message);
        // What fails here is found out when it is looked for.
        let _ = self.write();
        Ok(())
    }

    /// The same with what is left out if there is no room.
    pub fn answer(&mut self, octets: &[u8]) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.extend_from_slice(octets);
        }
    }

    /// Until when to wait for the peer to take what waits; `None` if nothing does.
    pub fn patience(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.took + PATIENCE)
    }

    /// What is to be waited for, if anything is.
    pub fn watched(&self, reading: bool) -> Option<PollFd<'_>> {
        watched(&self.stream, reading, !self.waiting.is_empty())
    }

    /// Ends with these last words.
    pub fn part(mut self, last: &[u8]) -> Parting {
        self.waiting.extend_from_slice(last);
        Parting::new(self.stream, self.waiting)
    }

    fn write(&mut self) -> io::Result<()> {
        let waiting = self.waiting.len();
        let written = write(&self.stream, &mut self.waiting);
        if waiting == 0 || self.waiting.len() < waiting {
            self.took = Instant::now();
        }
        written
    }

    /// Writes and reads what goes without waiting.
    ///
    /// # Errors
    /// Why the peer is gone.
    pub fn advance(
        &mut self,
        reading: bool,
        buffer: &mut [u8],
        heard: &mut Vec<Heard>,
    ) -> Result<(), String> {
        let written = self.write();
        if !reading {
            return written.map_err(|error| plain(&error));
        }
        // What it has said before it went is to be heard.
        match (&self.stream).read(buffer) {
            Ok(0) => {
                // Reading finds no more than the end of what writing has found broken.
                written.map_err(|error| plain(&error))?;
                let why = self.listener.finish();
                Err(why
                    .unwrap_or("its connection ended without a goodbye")
                    .to_owned())
            }
            Ok(len) => {
                self.listener.take(&buffer[..len], heard);
                Ok(())
            }
            Err(error) if is_passing(&error) => written.map_err(|error| plain(&error)),
            Err(error) => Err(plain(&error)),
        }
    }
}

impl Parting {
    /// A connection that does not wait, with its last words.
    pub fn new(stream: TcpStream, waiting: Vec<u8>) -> Self {
        Self {
            stream,
            waiting,
            ended: false,
            until: Instant::now() + FAREWELL,
        }
    }

    /// What is to be waited for.
    pub fn watched(&self) -> Option<PollFd<'_>> {
        watched(&self.stream, true, !self.waiting.is_empty())
    }

    /// Whether there is more to wait for.
    pub fn goes_on(&mut self, buffer: &mut [u8]) -> bool {
        if write(&self.stream, &mut self.waiting).is_err() || self.until <= Instant::now() {
            return false;
        }
        if self.waiting.is_empty() && !self.ended {
            self.ended = true;
            if self.stream.shutdown(Direction::Write).is_err() {
                return false;
            }
        }
        match (&self.stream).read(buffer) {
            Ok(len) => len > 0,
            Err(error) => is_passing(&error),
        }
    }
}

/// One of which nothing is wanted is not watched: it would still tell of its end, over and over.
fn watched(stream: &TcpStream, reads: bool, writes: bool) -> Option<PollFd<'_>> {
    let mut events = PollFlags::empty();
    events.set(PollFlags::IN, reads);
    events.set(PollFlags::OUT, writes);
    (!events.is_empty()).then(|| PollFd::from_borrowed_fd(stream.as_fd(), events))
}

/// Writes what goes without waiting.
fn write(mut stream: &TcpStream, waiting: &mut Vec<u8>) -> io::Result<()> {
    while !waiting.is_empty() {
        match stream.write(waiting) {
            Ok(len) => drop(waiting.drain(..len)),
            Err(error) if is_passing(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Has the system find out that a peer is gone without a word, unplugged say.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_PAUSE)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    #[cfg(target_os = "linux")]
    {
        let unacknowledged = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(stream, unacknowledged)?;
    }
    Ok(())
}

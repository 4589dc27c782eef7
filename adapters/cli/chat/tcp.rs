//! Chat over TCP.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown as Direction, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt;
use unstick_core::Refusal;

use super::codec::{GOODBYE, Heard, Listener, Speech};
use super::event::{Event, Peer, What};
use super::frame;
use super::transport::{FAREWELL, MAX_PEERS, Numbers, RECEIVE_LEN, Transport};
use crate::failure::plain;
use crate::wire::is_browser;

/// The most octets that wait for a peer to read.
const MAX_WAITING: usize = 256 * 1024;
/// How long a peer may take nothing of that before a piped line is refused rather than kept.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many connections are accepted at a time.
const ACCEPTED: usize = 16;
/// How long not to accept after accepting has failed, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A peer that is silent for this long is asked whether it is there, and again after each pause.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// How long what was sent may go without any sign of the peer's system.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Connections to peers, and where new ones come.
pub struct Tcp {
    listener: Option<TcpListener>,
    /// When to accept again.
    pause: Option<Instant>,
    speech: Speech,
    next_id: u32,
    numbers: Numbers,
    connections: BTreeMap<u64, Connection>,
    partings: Vec<Parting>,
    buffer: Vec<u8>,
}

/// A peer that is here.
struct Connection {
    peer: Peer,
    stream: TcpStream,
    listener: Listener,
    waiting: Vec<u8>,
    /// When it took some of that.
    took: Instant,
    /// Nothing has come of it yet.
    fresh: bool,
}

/// A connection that takes what is on its way out, ends, and reads until the peer has ended too: closing with
/// octets unread would reset it, and the reset would overtake the last words.
struct Parting {
    stream: TcpStream,
    waiting: Vec<u8>,
    ended: bool,
    until: Instant,
}

impl Tcp {
    /// The operator's side.
    pub fn listen(listener: TcpListener, speech: Speech) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::new(Some(listener), speech))
    }

    /// The other side, with the one connection there is.
    pub fn connected(stream: TcpStream, speech: Speech) -> io::Result<Self> {
        let mut tcp = Self::new(None, speech);
        let peer = tcp.numbers.next(stream.peer_addr()?);
        tcp.add(peer, stream)?;
        Ok(tcp)
    }

    fn new(listener: Option<TcpListener>, speech: Speech) -> Self {
        Self {
            listener,
            pause: None,
            speech,
            next_id: 1,
            numbers: Numbers::default(),
            connections: BTreeMap::new(),
            partings: Vec::new(),
            buffer: vec![0; RECEIVE_LEN],
        }
    }

    fn add(&mut self, peer: Peer, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        let connection = Connection {
            peer,
            stream,
            listener: self.speech.listener(),
            waiting: Vec::new(),
            took: Instant::now(),
            fresh: true,
        };
        self.connections.insert(peer.number, connection);
        Ok(())
    }

    fn accept(&mut self, events: &mut Vec<Event>) {
        let Some(listener) = self.listener.take_if(|_| is_over(self.pause)) else {
            return;
        };
        self.pause = None;
        for _ in 0..ACCEPTED {
            match listener.accept() {
                Ok((stream, _)) if self.connections.len() >= MAX_PEERS => self.turn_away(stream),
                Ok((stream, address)) => {
                    let peer = self.numbers.next(address);
                    // One that is gone already does not come.
                    if self.add(peer, stream).is_ok() {
                        let what = What::Comes;
                        events.push(Event { peer, what });
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.pause = Some(Instant::now() + ACCEPT_PAUSE);
                    break;
                }
            }
        }
        self.listener = Some(listener);
    }

    /// Says that there are too many, if the wire has a way to.
    fn turn_away(&mut self, stream: TcpStream) {
        let refusal = Refusal::busy("too many are here; try again later", 10_000);
        let waiting = match self.speech.is_framed() {
            true => frame::refusal(refusal, None),
            false => Vec::new(),
        };
        if stream.set_nonblocking(true).is_ok() {
            self.leave_to_part(stream, waiting);
        }
    }

    fn leave_to_part(&mut self, stream: TcpStream, waiting: Vec<u8>) {
        if self.partings.len() >= MAX_PEERS {
            self.partings.remove(0);
        }
        self.partings.push(Parting {
            stream,
            waiting,
            ended: false,
            until: Instant::now() + FAREWELL,
        });
    }

    /// Ends a connection that has these last words.
    fn close(&mut self, number: u64, last: &[u8]) {
        if let Some(mut connection) = self.connections.remove(&number) {
            connection.waiting.extend_from_slice(last);
            self.leave_to_part(connection.stream, connection.waiting);
        }
    }

    /// Does what can be done on a connection; whether it is over, and with what last words.
    fn serve(&mut self, number: u64, reading: bool, events: &mut Vec<Event>) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let peer = connection.peer;
        let mut gone = |why: String| {
            let what = What::Gone(why);
            events.push(Event { peer, what });
        };
        let mut heard = Vec::new();
        if let Err(error) = connection.advance(reading, &mut self.buffer, &mut heard) {
            self.connections.remove(&number);
            return gone(error);
        }
        for heard in heard {
            let what = match heard {
                Heard::Message(text) => What::Says(text),
                Heard::Refused(why) => What::Refuses(why),
                Heard::Answered(octets) => {
                    // Who does not read has no answers.
                    if connection.waiting.len() < MAX_WAITING {
                        connection.waiting.extend_from_slice(&octets);
                    }
                    continue;
                }
                Heard::Goodbye => {
                    let what = What::Leaves;
                    events.push(Event { peer, what });
                    return self.close(number, b"");
                }
                Heard::Broken(why, last) => {
                    let what = What::Gone(why);
                    events.push(Event { peer, what });
                    return self.close(number, &last);
                }
            };
            events.push(Event { peer, what });
        }
    }
}

impl Transport for Tcp {
    fn watch<'t>(&'t self, reading: bool, fds: &mut Vec<PollFd<'t>>) {
        let listener = self.listener.as_ref();
        let listener = listener.filter(|_| reading && self.pause.is_none());
        fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        let connections = self.connections.values().map(|connection| {
            let (stream, waits) = (&connection.stream, !connection.waiting.is_empty());
            (stream, reading, waits)
        });
        let partings = self.partings.iter().map(|parting| {
            let waits = !parting.waiting.is_empty();
            (&parting.stream, true, waits)
        });
        for (stream, reads, waits) in connections.chain(partings) {
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, reads);
            events.set(PollFlags::OUT, waits);
            // One of which nothing is wanted would still tell of its end, over and over.
            if !events.is_empty() {
                fds.push(PollFd::from_borrowed_fd(stream.as_fd(), events));
            }
        }
    }

    fn deadline(&self, _reading: bool) -> Option<Instant> {
        let partings = self.partings.iter().map(|parting| parting.until);
        partings.chain(self.pause).min()
    }

    fn step(&mut self, reading: bool, events: &mut Vec<Event>) {
        if reading {
            self.accept(events);
        }
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        for number in numbers {
            self.serve(number, reading, events);
        }
        let buffer = &mut self.buffer;
        self.partings.retain_mut(|parting| parting.goes_on(buffer));
    }

    fn here(&self) -> Vec<Peer> {
        self.connections.values().map(|it| it.peer).collect()
    }

    fn send(&mut self, peer: Peer, text: &str) -> Result<(), String> {
        let octets = self.speech.encode(text, self.next_id)?;
        let Some(connection) = self.connections.get_mut(&peer.number) else {
            return Err(format!("{peer} is gone"));
        };
        let waiting = connection.waiting.len();
        if waiting + octets.len() > MAX_WAITING {
            return Err(format!(
                "{peer} does not read: {waiting} octets wait for it; not sent"
            ));
        }
        self.next_id = self.next_id.wrapping_add(1);
        connection.waiting.extend_from_slice(&octets);
        // What fails here is found out when it is looked for.
        let _ = connection.write();
        Ok(())
    }

    fn part(&mut self, peer: Peer) {
        let goodbye = self.speech.encode(GOODBYE, self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.close(peer.number, &goodbye.unwrap_or_default());
    }

    fn patience(&self, peer: Peer) -> Option<Instant> {
        let connection = self.connections.get(&peer.number)?;
        (!connection.waiting.is_empty()).then(|| connection.took + PATIENCE)
    }

    fn has_parted(&self) -> bool {
        self.partings.is_empty()
    }
}

impl Connection {
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
    fn advance(
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
                let why = self.listener.finish();
                Err(why
                    .unwrap_or("its connection ended without a goodbye")
                    .to_owned())
            }
            Ok(len) => {
                let octets = &buffer[..len];
                if self.fresh && is_browser(octets) {
                    return Err("it speaks like a browser".to_owned());
                }
                self.fresh = false;
                self.listener.take(octets, heard);
                Ok(())
            }
            Err(error) if is_passing(&error) => written.map_err(|error| plain(&error)),
            Err(error) => Err(plain(&error)),
        }
    }
}

impl Parting {
    /// Whether there is more to wait for.
    fn goes_on(&mut self, buffer: &mut [u8]) -> bool {
        if write(&self.stream, &mut self.waiting).is_err() || is_over(Some(self.until)) {
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

/// Whether this time has passed; one that is not set has.
fn is_over(time: Option<Instant>) -> bool {
    time.is_none_or(|time| time <= Instant::now())
}

/// Has the system find out that a peer is gone without a word, unplugged say.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
        sockopt::set_tcp_keepintvl(stream, KEEPALIVE_PAUSE)?;
        sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
        let unacknowledged = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(stream, unacknowledged)?;
    }
    Ok(())
}

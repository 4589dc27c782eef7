//! Chat over TCP.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use unstick_core::Refusal;

use super::codec::{GOODBYE, Heard, Speech};
use super::connection::{Connection, Parting};
use super::event::{Event, Peer, What};
use super::frame;
use super::transport::{MAX_PEERS, Numbers, RECEIVE_LEN, Transport};

/// How many connections may be ending: all at once, and as many that were turned away.
const MAX_PARTINGS: usize = 2 * MAX_PEERS;
/// How many connections are accepted at a time.
const ACCEPTED: usize = 16;
/// How much may have happened before who has not been heard yet waits until it is on its way to the screen: each receive may
/// be many lines, and much longer there.
const MAX_EVENTS: usize = 32;
/// How long not to accept after accepting has failed, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections to peers, and where new ones come.
pub struct Tcp {
    listener: Option<TcpListener>,
    /// When to accept again.
    pause: Option<Instant>,
    speech: Speech,
    next_id: u32,
    numbers: Numbers,
    connections: BTreeMap<u64, Connection>,
    /// Who is heard first.
    first: u64,
    partings: Vec<Parting>,
    buffer: Vec<u8>,
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
            first: 0,
            partings: Vec::new(),
            buffer: vec![0; RECEIVE_LEN],
        }
    }

    fn add(&mut self, peer: Peer, stream: TcpStream) -> io::Result<()> {
        let connection = Connection::new(peer, stream, self.speech.listener())?;
        self.connections.insert(peer.number, connection);
        Ok(())
    }

    fn accept(&mut self, events: &mut Vec<Event>) {
        let is_over = self.pause.is_none_or(|pause| pause <= Instant::now());
        let Some(listener) = self.listener.take_if(|_| is_over) else {
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
            self.add_parting(Parting::new(stream, waiting));
        }
    }

    fn add_parting(&mut self, parting: Parting) {
        if self.partings.len() >= MAX_PARTINGS {
            self.partings.remove(0);
        }
        self.partings.push(parting);
    }

    /// Ends a connection with these last words.
    fn close(&mut self, number: u64, last: &[u8]) {
        if let Some(connection) = self.connections.remove(&number) {
            self.add_parting(connection.part(last));
        }
    }

    /// Does what can be done on a connection.
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
                    connection.answer(&octets);
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
        let connections = self.connections.values();
        fds.extend(connections.filter_map(|it| it.watched(reading)));
        fds.extend(self.partings.iter().filter_map(Parting::watched));
    }

    fn deadline(&self, reading: bool) -> Option<Instant> {
        let partings = self.partings.iter().map(|parting| parting.until);
        partings.chain(self.pause.filter(|_| reading)).min()
    }

    fn step(&mut self, reading: bool, events: &mut Vec<Event>) {
        if reading {
            self.accept(events);
        }
        let (before, from) = (..self.first, self.first..);
        let numbers = self.connections.range(from);
        let numbers = numbers.chain(self.connections.range(before));
        let numbers: Vec<u64> = numbers.map(|(number, _)| *number).collect();
        let mut waits = None;
        for number in numbers {
            let has_room = events.len() < MAX_EVENTS;
            if !has_room {
                waits.get_or_insert(number);
            }
            self.serve(number, reading && has_room, events);
        }
        self.first = waits.unwrap_or_default();
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
        self.next_id = self.next_id.wrapping_add(1);
        connection.send(&octets)
    }

    fn part(&mut self, peer: Peer) {
        let goodbye = self.speech.encode(GOODBYE, self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.close(peer.number, &goodbye.unwrap_or_default());
    }

    fn patience(&self, peer: Peer) -> Option<Instant> {
        self.connections.get(&peer.number)?.patience()
    }

    fn has_parted(&self) -> bool {
        self.partings.is_empty()
    }
}

//! Chat over UDP: frames that are repeated until they are answered, or bare text of which nobody knows.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use unstick_std::udp::MAX_DATAGRAM;

use super::codec::{GOODBYE, Heard, Speech, heard};
use super::correspondent::Correspondent;
use super::event::{Event, Peer, What};
use super::frame::{self, Meaning};
use super::transport::{MAX_PEERS, Numbers, Transport};
use crate::failure::plain;

/// How many messages are remembered, so that a repeated one is not shown again; and for how long: who comes back to the same
/// port may count from the start.
const MAX_SEEN: usize = 1024;
const REPEATED: Duration = Duration::from_secs(10);
/// How many datagrams are taken at a time.
const RECEIVED: usize = 64;

/// A socket, and those who were heard on it.
pub struct Udp {
    socket: UdpSocket,
    speech: Speech,
    /// The operator, of a side that talks to nobody else.
    operator: Option<SocketAddr>,
    numbers: Numbers,
    here: BTreeMap<u64, Correspondent>,
    /// Those that a goodbye is on its way to.
    parting: Vec<Correspondent>,
    /// Messages that were heard, by where from and `id`; the last one first.
    seen: VecDeque<(SocketAddr, u32, Instant)>,
    next_id: u32,
    buffer: Vec<u8>,
}

impl Udp {
    /// The operator's side.
    pub fn listen(socket: UdpSocket, speech: Speech) -> io::Result<Self> {
        Self::new(socket, None, speech)
    }

    /// The other side: a socket that is connected.
    pub fn connected(socket: UdpSocket, speech: Speech) -> io::Result<Self> {
        let operator = socket.peer_addr()?;
        let mut udp = Self::new(socket, Some(operator), speech)?;
        udp.add(operator);
        Ok(udp)
    }

    fn new(socket: UdpSocket, operator: Option<SocketAddr>, speech: Speech) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            speech,
            operator,
            numbers: Numbers::default(),
            here: BTreeMap::new(),
            parting: Vec::new(),
            seen: VecDeque::new(),
            // Not where an earlier one on the same port began: the other side may remember its ids.
            next_id: RandomState::new().hash_one(socket.local_addr()?) as u32,
            buffer: vec![0; usize::from(u16::MAX) + 1],
            socket,
        })
    }

    fn add(&mut self, address: SocketAddr) -> Peer {
        let peer = self.numbers.next(address);
        self.here.insert(peer.number, Correspondent::new(peer));
        peer
    }

    /// Sends once. What the system does not take is lost, as it might be anywhere on its way.
    fn post(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let sent = match self.operator {
            // The socket is connected.
            Some(_) => self.socket.send(datagram),
            None => self.socket.send_to(datagram, to),
        };
        match sent {
            Err(error) if self.operator.is_none() || error.kind() == ErrorKind::WouldBlock => {
                Ok(())
            }
            sent => sent.map(drop),
        }
    }

    fn receive(&mut self, events: &mut Vec<Event>) {
        for _ in 0..RECEIVED {
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = self.socket.recv_from(&mut buffer);
            match received {
                Ok((len, from)) => self.take(&buffer[..len], from, events),
                Err(ref error) if error.kind() == ErrorKind::Interrupted => {}
                Err(ref error) if error.kind() == ErrorKind::WouldBlock => {
                    self.buffer = buffer;
                    return;
                }
                Err(error) => self.failed(&error, events),
            }
            self.buffer = buffer;
        }
    }

    /// The system has been told that nobody is there.
    fn failed(&mut self, error: &io::Error, events: &mut Vec<Event>) {
        if self.operator.is_some()
            && let Some((_, gone)) = self.here.pop_first()
        {
            let what = What::Gone(unreachable(error));
            let peer = gone.peer;
            events.push(Event { peer, what });
        }
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr, events: &mut Vec<Event>) {
        if !self.speech.is_framed() {
            if let Some(heard) = self.speech.bare_datagram(datagram) {
                self.hear(heard, from, events);
            }
            return;
        }
        let reply = match frame::open(datagram) {
            Err(refusal) => Some(frame::refusal(refusal, None)),
            Ok((head, body)) => match head.meaning() {
                Meaning::Refused(why) => {
                    self.answered(head.id, from);
                    if self.find(from).is_some() {
                        self.hear(Heard::Refused(why), from, events);
                    }
                    None
                }
                Meaning::Message if head.is_answer() => {
                    self.answered(head.id, from);
                    None
                }
                Meaning::Message => {
                    if self.is_new(head.id, from)
                        && let Some(heard) = heard(&String::from_utf8_lossy(&body))
                    {
                        self.hear(heard, from, events);
                    }
                    if let (Some(_), Some(found)) = (head.id, self.find(from)) {
                        found.answers = true;
                    }
                    head.id.map(frame::answer)
                }
                Meaning::Unknown(refusal) | Meaning::TooLarge(refusal) => {
                    Some(frame::refusal(refusal, head.id))
                }
            },
        };
        if let Some(reply) = reply {
            // If it is lost, the message comes again.
            let _ = self.post(&reply, from);
        }
    }

    /// Whether a message with this `id` has not been heard; it has, from now on.
    fn is_new(&mut self, id: Option<u32>, from: SocketAddr) -> bool {
        let Some(id) = id else { return true };
        let recent = self.seen.iter();
        let mut recent = recent.take_while(|(.., when)| when.elapsed() < REPEATED);
        if recent.any(|(address, other, _)| (*address, *other) == (from, id)) {
            return false;
        }
        self.seen.truncate(MAX_SEEN - 1);
        self.seen.push_front((from, id, Instant::now()));
        true
    }

    fn find(&mut self, address: SocketAddr) -> Option<&mut Correspondent> {
        let mut here = self.here.values_mut();
        here.find(|here| here.peer.address == address)
    }

    fn answered(&mut self, id: Option<u32>, from: SocketAddr) {
        let all = self.here.values_mut().chain(&mut self.parting);
        for correspondent in all.filter(|one| one.peer.address == from) {
            correspondent.answer(id);
        }
    }

    fn hear(&mut self, heard: Heard, from: SocketAddr, events: &mut Vec<Event>) {
        let found = self.find(from).map(|found| {
            found.heard = Instant::now();
            found.peer
        });
        let peer = match (found, &heard) {
            (Some(peer), _) => peer,
            // Who only ever says goodbye was never there.
            (None, Heard::Message(_)) if self.operator.is_none() => {
                self.make_room(events);
                let peer = self.add(from);
                let what = What::Comes;
                events.push(Event { peer, what });
                peer
            }
            _ => return,
        };
        let what = match heard {
            Heard::Message(text) => What::Says(text),
            Heard::Refused(why) => What::Refuses(why),
            Heard::Goodbye => {
                self.here.remove(&peer.number);
                What::Leaves
            }
            Heard::Answered(_) | Heard::Broken(..) => return,
        };
        events.push(Event { peer, what });
    }

    /// Nobody notices that a peer is gone who neither says so nor is spoken to.
    fn make_room(&mut self, events: &mut Vec<Event>) {
        if self.here.len() < MAX_PEERS {
            return;
        }
        let silent = self.here.values().min_by_key(|one| one.heard);
        if let Some(peer) = silent.map(|one| one.peer) {
            self.here.remove(&peer.number);
            let what = What::Forgotten(format!("{MAX_PEERS} others were heard since"));
            events.push(Event { peer, what });
        }
    }

    fn forget(&mut self, events: &mut Vec<Event>) {
        if self.operator.is_some() {
            return;
        }
        self.here.retain(|_, one| {
            let forgotten = one.is_forgotten();
            if forgotten {
                let what = What::Forgotten("nothing was heard for 10 minutes".to_owned());
                let peer = one.peer;
                events.push(Event { peer, what });
            }
            !forgotten
        });
    }

    /// Asks those who have been silent whether they are there.
    fn probe(&mut self) {
        for one in self.here.values_mut().filter(|one| one.is_silent()) {
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            // Nothing waits, so there is room.
            let _ = one.send(id, frame::message("", id));
        }
    }

    /// Sends what is due.
    fn pump(&mut self, events: &mut Vec<Event>) {
        let mut here = std::mem::take(&mut self.here);
        here.retain(|_, one| match self.pump_one(one) {
            Ok(()) => true,
            Err(why) => {
                let what = What::Gone(why);
                let peer = one.peer;
                events.push(Event { peer, what });
                false
            }
        });
        self.here = here;
        let mut parting = std::mem::take(&mut self.parting);
        parting.retain_mut(|one| !one.is_done() && self.pump_one(one).is_ok());
        self.parting = parting;
    }

    /// # Errors
    /// Why the peer is gone.
    fn pump_one(&self, one: &mut Correspondent) -> Result<(), String> {
        let address = one.peer.address;
        match one.due()? {
            Some(datagram) => {
                let posted = self.post(datagram, address);
                posted.map_err(|error| unreachable(&error))
            }
            None => Ok(()),
        }
    }
}

/// What the system was told of where a datagram went.
fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        _ => plain(error),
    }
}

impl Transport for Udp {
    fn watch<'t>(&'t self, reading: bool, fds: &mut Vec<PollFd<'t>>) {
        if reading {
            fds.push(PollFd::new(&self.socket, PollFlags::IN));
        }
    }

    fn deadline(&self, reading: bool) -> Option<Instant> {
        if !reading {
            return None;
        }
        let all = self.here.values().chain(&self.parting);
        let forgets = self.operator.is_none();
        all.filter_map(|one| one.deadline(forgets)).min()
    }

    fn step(&mut self, reading: bool, events: &mut Vec<Event>) {
        // Whose answers are not taken is not to be told that they are late.
        if reading {
            self.receive(events);
            self.probe();
            self.pump(events);
            self.forget(events);
        }
    }

    fn here(&self) -> Vec<Peer> {
        self.here.values().map(|one| one.peer).collect()
    }

    fn send(&mut self, peer: Peer, text: &str) -> Result<(), String> {
        let datagram = self.speech.encode(text, self.next_id)?;
        if datagram.len() > MAX_DATAGRAM {
            let len = datagram.len();
            return Err(format!(
                "a datagram of {len} octets is too long: the limit is {MAX_DATAGRAM}; not sent"
            ));
        }
        if !self.speech.is_framed() {
            let posted = self.post(&datagram, peer.address);
            return posted.map_err(|error| format!("not sent: {}", plain(&error)));
        }
        let Some(correspondent) = self.here.get_mut(&peer.number) else {
            return Err(format!("{peer} is gone"));
        };
        correspondent.send(self.next_id, datagram)?;
        self.next_id = self.next_id.wrapping_add(1);
        Ok(())
    }

    fn part(&mut self, peer: Peer) {
        if self.send(peer, GOODBYE).is_ok()
            && let Some(correspondent) = self.here.remove(&peer.number)
            && !correspondent.is_done()
        {
            self.parting.push(correspondent);
        }
        self.here.remove(&peer.number);
    }

    fn patience(&self, peer: Peer) -> Option<Instant> {
        self.here.get(&peer.number)?.patience()
    }

    fn has_parted(&self) -> bool {
        self.parting.is_empty()
    }
}

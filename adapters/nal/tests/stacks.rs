//! The server on a stack in memory that plays what embedded-nal leaves open, in every way at once.

mod common;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use common::{frame, service, try_answer};
use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind, TcpFullStack};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use unstick_nal::{Limits, Slot, TcpPolicy, TcpServer, ZeroIsEnd, ZeroIsNothing};

/// What a call of the stack comes to, apart from what is there.
#[derive(Debug, Clone, Copy)]
enum Mood {
    /// Up to this many octets move.
    Moves(usize),
    /// Nothing moves, said in this way.
    Nothing(bool),
    /// The connection breaks, said in this way.
    Breaks(bool),
}

#[derive(Debug, Clone, Copy)]
struct Error(TcpErrorKind);

impl TcpError for Error {
    fn kind(&self) -> TcpErrorKind {
        self.0
    }
}

/// A peer that connects, sends this much, and ends or not.
#[derive(Debug, Clone)]
struct Script {
    octets: Vec<u8>,
    ends: bool,
}

#[derive(Debug)]
struct Peer {
    unread: VecDeque<u8>,
    ends: bool,
    /// The end or a reset was told: nothing else may be.
    broken: bool,
    told: Vec<u8>,
    open: bool,
}

/// The stack. `Ok(0)` means what `zero_is_end` says.
struct Stack {
    zero_is_end: bool,
    moods: Vec<Mood>,
    mood: usize,
    waiting: VecDeque<Script>,
    peers: Vec<Peer>,
    listeners: usize,
    /// Calls since the last pass began, for each peer.
    calls: Vec<usize>,
    accepts: usize,
}

impl Stack {
    fn mood(&mut self) -> Mood {
        self.mood += 1;
        // In no order that a pass could fall in step with.
        let at = self.mood.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        self.moods[at % self.moods.len()]
    }

    fn call(&mut self, peer: usize) {
        assert!(self.peers[peer].open, "a socket is used after its close");
        self.calls[peer] += 1;
    }

    fn open(&self) -> usize {
        self.peers.iter().filter(|peer| peer.open).count()
    }
}

fn kind(pipe: bool) -> nb::Error<Error> {
    nb::Error::Other(Error(match pipe {
        true => TcpErrorKind::PipeClosed,
        false => TcpErrorKind::Other,
    }))
}

impl TcpClientStack for Stack {
    // `None` is the one that listens.
    type TcpSocket = Option<usize>;
    type Error = Error;

    fn socket(&mut self) -> Result<Option<usize>, Error> {
        self.listeners += 1;
        Ok(None)
    }

    fn connect(&mut self, _: &mut Option<usize>, _: SocketAddr) -> nb::Result<(), Error> {
        unreachable!("a server does not call out")
    }

    fn send(&mut self, socket: &mut Option<usize>, octets: &[u8]) -> nb::Result<usize, Error> {
        let peer = socket.expect("connected");
        self.call(peer);
        assert!(!octets.is_empty(), "an empty send means nothing");
        let mood = self.mood();
        let peer = &mut self.peers[peer];
        match mood {
            _ if peer.broken => Err(kind(true)),
            Mood::Moves(most) => {
                let len = most.min(octets.len());
                peer.told.extend_from_slice(&octets[..len]);
                Ok(len)
            }
            Mood::Nothing(true) => Ok(0),
            Mood::Nothing(false) => Err(nb::Error::WouldBlock),
            Mood::Breaks(pipe) => {
                peer.broken = true;
                Err(kind(pipe))
            }
        }
    }

    fn receive(&mut self, socket: &mut Option<usize>, room: &mut [u8]) -> nb::Result<usize, Error> {
        let peer = socket.expect("connected");
        self.call(peer);
        assert!(!room.is_empty(), "an empty receive means nothing");
        let (mood, zero_is_end) = (self.mood(), self.zero_is_end);
        let peer = &mut self.peers[peer];
        let nothing = |zero: bool| match zero && !zero_is_end {
            true => Ok(0),
            false => Err(nb::Error::WouldBlock),
        };
        match mood {
            _ if peer.broken => Err(kind(true)),
            Mood::Moves(most) if !peer.unread.is_empty() => {
                let len = most.min(room.len()).min(peer.unread.len());
                for (to, from) in room.iter_mut().zip(peer.unread.drain(..len)) {
                    *to = from;
                }
                Ok(len)
            }
            Mood::Moves(_) if peer.ends && zero_is_end => Ok(0),
            Mood::Moves(_) if peer.ends => Err(kind(true)),
            Mood::Moves(_) => nothing(true),
            Mood::Nothing(zero) => nothing(zero),
            Mood::Breaks(pipe) => {
                peer.broken = true;
                Err(kind(pipe))
            }
        }
    }

    fn close(&mut self, socket: Option<usize>) -> Result<(), Error> {
        match socket {
            Some(peer) => {
                assert!(self.peers[peer].open, "closed once");
                self.peers[peer].open = false;
            }
            None => self.listeners -= 1,
        }
        // A failing close is no reason to keep anything.
        match self.mood() {
            Mood::Breaks(_) => Err(Error(TcpErrorKind::Other)),
            _ => Ok(()),
        }
    }
}

impl TcpFullStack for Stack {
    fn bind(&mut self, _: &mut Option<usize>, _: u16) -> Result<(), Error> {
        Ok(())
    }

    fn listen(&mut self, _: &mut Option<usize>) -> Result<(), Error> {
        Ok(())
    }

    fn accept(&mut self, _: &mut Option<usize>) -> nb::Result<(Option<usize>, SocketAddr), Error> {
        self.accepts += 1;
        match self.mood() {
            Mood::Breaks(pipe) => return Err(kind(pipe)),
            Mood::Nothing(_) => return Err(nb::Error::WouldBlock),
            Mood::Moves(_) => {}
        }
        let script = self.waiting.pop_front().ok_or(nb::Error::WouldBlock)?;
        self.peers.push(Peer {
            unread: script.octets.into(),
            ends: script.ends,
            broken: false,
            told: Vec::new(),
            open: true,
        });
        self.calls.push(0);
        let port = u16::try_from(self.peers.len()).unwrap();
        let peer = SocketAddr::from(([10, 0, 0, 1], port));
        Ok((Some(self.peers.len() - 1), peer))
    }
}

const SLOTS: usize = 3;

/// Serves every script to its end, and checks each pass.
fn play<P: TcpPolicy<Stack>>(mut stack: Stack, policy: P, step: Duration) -> Stack {
    let mut slots: [Slot<_, _, 256, 64, 256>; SLOTS] = [const { Slot::FREE }; SLOTS];
    let limits = Limits::default();
    let mut server = TcpServer::bind(&mut stack, 7, policy, limits, &mut slots).unwrap();
    let mut now = Duration::ZERO;
    let mut idle = 0;
    for _ in 0..200_000 {
        stack.calls.fill(0);
        stack.accepts = 0;
        let polled = server.poll(&mut stack, now, |_| service());
        assert!(
            stack.calls.iter().all(|calls| *calls <= 1),
            "one call a peer"
        );
        assert!(stack.accepts <= 1, "one accept a pass");
        assert!(stack.open() <= SLOTS + 1);
        assert_eq!(stack.open(), server.waits().count(), "no socket is lost");
        now += Duration::from_micros(10);
        match polled {
            Ok(()) => idle = 0,
            Err(nb::Error::Other(_)) => {}
            Err(nb::Error::WouldBlock) => {
                if stack.waiting.is_empty() && server.is_idle() {
                    assert_eq!((server.taken(), stack.open()), (0, 0));
                    server.close(&mut stack);
                    assert_eq!(stack.listeners, 0);
                    return stack;
                }
                idle += 1;
                // Whatever is not ready at once gets its time.
                if idle > 50 {
                    match server.next_deadline(now) {
                        Some(at) => now = now.max(at) + step,
                        None => now += step,
                    }
                }
            }
        }
    }
    panic!("it goes on for ever");
}

/// What a peer was told are frames, but for a cut at the end; their number.
fn frames(mut told: &[u8]) -> usize {
    let mut count = 0;
    while !told.is_empty() {
        let before = told.len();
        match try_answer(&mut told) {
            Some((header, _)) => {
                assert!(header["total_size"].is_u64());
                count += 1;
            }
            None => return count,
        }
        assert!(told.len() < before);
    }
    count
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let good = (0..300_usize).prop_map(|len| frame(&json!({"op": "echo"}), &vec![b'x'; len]));
    let info = Just(frame(&json!({"op": "info"}), b""));
    let refused = (0..300_usize).prop_map(|len| frame(&json!({"op": "fly"}), &vec![b'y'; len]));
    let bad = vec(any::<u8>(), 0..40);
    let cut = (1..40_usize).prop_map(|len| {
        let mut whole = frame(&json!({"op": "echo"}), b"cut somewhere");
        whole.truncate(len);
        whole
    });
    let piece = prop_oneof![8 => good, 2 => info, 2 => refused, 1 => bad, 1 => cut];
    let script = (vec(piece, 0..6), any::<bool>()).prop_map(|(pieces, ends)| Script {
        octets: pieces.concat(),
        ends,
    });
    vec(script, 1..12)
}

fn moods() -> impl Strategy<Value = Vec<Mood>> {
    let mood = prop_oneof![
        10 => (1..400_usize).prop_map(Mood::Moves),
        3 => any::<bool>().prop_map(Mood::Nothing),
        1 => any::<bool>().prop_map(Mood::Breaks),
    ];
    // One that moves at least, or nothing ever happens.
    vec(mood, 0..60).prop_map(|mut moods| {
        moods.push(Mood::Moves(100));
        moods
    })
}

fn stack(zero_is_end: bool, moods: Vec<Mood>, scripts: Vec<Script>) -> Stack {
    Stack {
        zero_is_end,
        moods,
        mood: 0,
        waiting: scripts.into(),
        peers: Vec::new(),
        listeners: 0,
        calls: Vec::new(),
        accepts: 0,
    }
}

fn run(zero_is_end: bool, moods: Vec<Mood>, scripts: Vec<Script>) -> Stack {
    let stack = stack(zero_is_end, moods, scripts);
    let step = Duration::from_millis(1);
    match zero_is_end {
        true => play(stack, ZeroIsEnd, step),
        false => play(stack, ZeroIsNothing, step),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_slot_is_lost_and_nothing_hangs(
        zero_is_end: bool,
        moods in moods(),
        scripts in scripts(),
    ) {
        let count = scripts.len();
        let stack = run(zero_is_end, moods, scripts);
        prop_assert_eq!(stack.peers.len(), count);
        for peer in &stack.peers {
            frames(&peer.told);
        }
    }

    #[test]
    fn without_failures_every_good_request_has_its_reply(
        zero_is_end: bool,
        sizes in vec(1..100_usize, 1..10),
        pauses in vec(any::<bool>(), 0..10),
        requests in vec(0..200_usize, 1..10),
    ) {
        let moods = sizes.into_iter().map(Mood::Moves);
        let moods = moods.chain(pauses.into_iter().map(Mood::Nothing)).collect();
        let octets = requests.iter();
        let octets = octets.flat_map(|len| frame(&json!({"op": "echo"}), &vec![b'x'; *len]));
        let octets: Vec<u8> = octets.collect();
        // As many as there are slots, so that none is too many.
        let script = Script { octets, ends: true };
        let stack = run(zero_is_end, moods, vec![script; SLOTS]);
        for peer in &stack.peers {
            let mut told = &peer.told[..];
            for len in &requests {
                let (header, body) = try_answer(&mut told).expect("a reply");
                prop_assert!(header["error"].is_null());
                prop_assert_eq!(body.len(), *len);
            }
            prop_assert!(told.is_empty());
        }
    }
}

#[test]
fn without_a_half_close_the_error_has_its_time() {
    // It sends bad input and then more and more; the frame is out long before the close.
    let octets = [b"\xff\xff\xff\xff".to_vec(), vec![0; 5000]].concat();
    for zero_is_end in [false, true] {
        let script = Script {
            octets: octets.clone(),
            ends: false,
        };
        let stack = run(zero_is_end, vec![Mood::Moves(64)], vec![script]);
        assert_eq!(frames(&stack.peers[0].told), 1);
        assert!(
            stack.peers[0].unread.is_empty(),
            "a reset would eat the frame"
        );
    }
}

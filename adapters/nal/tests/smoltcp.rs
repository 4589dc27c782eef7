//! The servers over unstick-smoltcp: two stacks on a wire in memory, with a clock that the tests turn.

mod common;
#[path = "../../smoltcp/tests/common/mod.rs"]
mod wire;

use std::time::Duration;

use common::{frame, try_answer};
use embedded_nal::{TcpClientStack, UdpClientStack, nb};
use serde_json::{Value, json};
use smoltcp::iface::PollResult;
use smoltcp::time::Instant;
use smoltcp::wire::TcpControl;
use unstick_core::services::Echo;
use unstick_core::{Event, Request};
use unstick_nal::smoltcp_stack::{Policy, since_boot};
use unstick_nal::{Client, Entry, Limits, Slot, TcpServer, TcpStats, UdpServer, UdpSlot, body_of};
use unstick_smoltcp::{Error, Pending, Settings, Stack, TcpSocket, UdpSocket};
use wire::faults::{Faults, WIRES};
use wire::raw::Raw;
use wire::{Nic, PORT, Pair, leak_with, server_at};

type Service = Echo<64>;
type TcpOf<const SOCKETS: usize> =
    TcpServer<'static, Stack<'static, Nic, SOCKETS, 2>, Service, Policy, 256, 128, 256>;
type Udp = UdpServer<'static, Stack<'static, Nic, SOCKETS, 2>, Service, Policy, 256, 1024, 512>;

/// Sockets of the server: two more than it has slots, where it has four.
const SOCKETS: usize = 6;

fn slots(count: usize) -> &'static mut [Slot<TcpSocket, Service, 256, 128, 256>] {
    leak_with(count, || Slot::FREE)
}

/// A board with the servers, and peers.
struct Board {
    pair: Pair<24, SOCKETS>,
    tcp: TcpOf<SOCKETS>,
    udp: Udp,
    peers: Vec<Peer>,
    /// The server's last acknowledgement may be lost. If another peer has the socket by the time that the goodbye is repeated, the
    /// answer is a reset, behind everything that was said.
    lossy: bool,
}

impl Board {
    fn new(count: usize) -> Self {
        let pair = Pair::with_clients(Settings::default(), 2048, 1);
        Self::on(pair, count, Limits::default())
    }

    fn on(mut pair: Pair<24, SOCKETS>, count: usize, limits: Limits) -> Self {
        let stack = &mut pair.server;
        stack.add_backlog(leak_with(16, || Pending::EMPTY));
        let tcp = TcpServer::bind(stack, PORT, Policy, limits, slots(count)).unwrap();
        let entries = leak_with(4, || Entry::EMPTY);
        let slot = Box::leak(Box::new(UdpSlot::free()));
        let udp = UdpServer::bind(stack, PORT, Policy, limits, slot, entries).unwrap();
        Self {
            pair,
            tcp,
            udp,
            peers: vec![],
            lossy: false,
        }
    }

    /// A peer that says this, and ends its stream behind it if it `ends`; its number.
    fn peer(&mut self, octets: Vec<u8>, ends: bool) -> usize {
        let socket = TcpClientStack::socket(&mut self.pair.client).unwrap();
        self.peers.push(Peer {
            socket: Some(socket),
            began: false,
            connected: false,
            unsent: octets,
            ends,
            heard: vec![],
            outcome: None,
        });
        self.peers.len() - 1
    }

    /// Until nothing moves any more at this time.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let now = self.pair.now;
            let polled = [self.pair.server.poll(now), self.pair.client.poll(now)];
            let mut moved = polled != [PollResult::None; 2];
            moved |= !self.pair.to_server.borrow().is_empty();
            moved |= !self.pair.to_client.borrow().is_empty();
            let (stack, now) = (&mut self.pair.server, since_boot(now));
            moved |= goes_on(self.tcp.poll(stack, now, |_| Service::new()));
            moved |= goes_on(self.udp.poll(stack, now, |_| Service::new()));
            for peer in &mut self.peers {
                moved |= peer.step(&mut self.pair.client);
            }
            if !moved {
                return;
            }
        }
        panic!("it goes on and on at {}", self.pair.now);
    }

    /// Turns the clock on to when a board that sleeps would wake, and no further than `most`.
    fn sleep(&mut self, most: Instant) {
        let now = self.pair.now;
        let server = self.pair.server.poll_at(now);
        let client = self.pair.client.poll_at(now);
        let tcp = self.tcp.next_deadline(since_boot(now));
        let deadlines = tcp.into_iter().chain(self.udp.next_deadline());
        let deadlines = deadlines.map(|at| Instant::from_micros(at.as_micros() as i64));
        let all = deadlines.chain(server).chain(client);
        let next = all.min().unwrap_or(most).min(most);
        // What is due now has been done but for what a busy device holds up.
        self.pair.now = next.max(now + smoltcp::time::Duration::from_micros(100));
    }

    fn until(&mut self, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.pair.now + smoltcp::time::Duration::from_secs(seconds);
        loop {
            self.run();
            if done(self) {
                return;
            }
            assert!(
                self.pair.now < end,
                "not within {seconds} s: {:?}, {:?}, {} slots taken",
                self.pair.server.usage(),
                self.tcp.stats(),
                self.tcp.taken()
            );
            self.sleep(end);
        }
    }

    fn wait(&mut self, millis: u64) {
        let end = self.pair.now + smoltcp::time::Duration::from_millis(millis);
        while self.pair.now < end {
            self.run();
            self.sleep(end);
        }
        self.run();
    }

    fn over(&self) -> bool {
        self.peers.iter().all(|peer| peer.outcome.is_some())
    }

    /// Lets all peers come to their end; what each has been told.
    fn outcomes(&mut self, seconds: u64) -> Vec<Vec<(Value, Vec<u8>)>> {
        self.until(seconds, |board| board.over());
        let peers = std::mem::take(&mut self.peers);
        let told = |(number, peer): (usize, Peer)| {
            let late = self.lossy && peer.outcome == Some(Outcome::Reset);
            assert!(late || peer.outcome == Some(Outcome::Ended), "{number}");
            answers(&peer.heard)
        };
        peers.into_iter().enumerate().map(told).collect()
    }

    /// Every slot, socket and place is free again, and there is nothing left to wake up for.
    fn assert_at_rest(mut self) {
        self.until(3_000, |board| board.tcp.is_idle());
        self.pair.wait(3_000_000);
        assert_eq!(self.tcp.next_deadline(since_boot(self.pair.now)), None);
        assert_eq!(self.pair.server.usage().listening, SOCKETS);
        self.udp.close(&mut self.pair.server).unwrap();
        self.tcp.close(&mut self.pair.server);
        self.pair.assert_at_rest(0);
    }
}

fn goes_on(polled: nb::Result<(), Error>) -> bool {
    match polled {
        Ok(()) => true,
        Err(nb::Error::WouldBlock) => false,
        Err(nb::Error::Other(error)) => panic!("{error}"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ended,
    Refused,
    Reset,
}

/// A client: says what it has to say, hears what there is to hear, closes.
struct Peer {
    socket: Option<TcpSocket>,
    began: bool,
    connected: bool,
    unsent: Vec<u8>,
    ends: bool,
    heard: Vec<u8>,
    outcome: Option<Outcome>,
}

impl Peer {
    /// One bounded step; whether anything was done.
    fn step(&mut self, stack: &mut Stack<'static, Nic, 24, 2>) -> bool {
        let Some(socket) = &mut self.socket else {
            return false;
        };
        if !self.connected {
            match TcpClientStack::connect(stack, socket, server_at(PORT)) {
                Ok(()) => self.connected = true,
                Err(nb::Error::WouldBlock) => return !std::mem::replace(&mut self.began, true),
                Err(nb::Error::Other(_)) => {
                    self.close(stack, Outcome::Refused);
                    return true;
                }
            }
        }
        let mut moved = false;
        if !self.unsent.is_empty() {
            // A failure shows when it reads.
            if let Ok(len) = wire::send(stack, socket, &self.unsent) {
                self.unsent.drain(..len);
                moved = true;
            }
            if self.unsent.is_empty() && self.ends {
                let _ = stack.shutdown(socket);
            }
        }
        match wire::receive(stack, socket, 100) {
            Ok(some) if some.is_empty() => self.close(stack, Outcome::Ended),
            Ok(some) => self.heard.extend(some),
            Err(nb::Error::WouldBlock) => return moved,
            Err(nb::Error::Other(_)) => self.close(stack, Outcome::Reset),
        }
        true
    }

    fn close(&mut self, stack: &mut Stack<'static, Nic, 24, 2>, outcome: Outcome) {
        self.outcome = Some(outcome);
        if let Some(socket) = self.socket.take() {
            wire::close(stack, socket);
        }
    }
}

fn echo(body: &[u8]) -> Vec<u8> {
    frame(&json!({"op": "echo"}), body)
}

/// The frames; one that is cut off comes as an error of that name.
fn answers(mut heard: &[u8]) -> Vec<(Value, Vec<u8>)> {
    let mut answers = vec![];
    while !heard.is_empty() {
        let cut = || (json!({"error": "cut"}), vec![]);
        answers.push(try_answer(&mut heard).unwrap_or_else(cut));
    }
    answers
}

/// How many were served with this; the others were told `busy`.
fn served(outcomes: &[Vec<(Value, Vec<u8>)>], body: &[u8]) -> usize {
    let is_served = |answers: &&Vec<(Value, Vec<u8>)>| {
        assert_eq!(answers.len(), 1, "one answer, and it is whole");
        match answers[0].0["error"].as_str() {
            None => assert_eq!(answers[0].1, body),
            error => assert_eq!(error, Some("busy")),
        }
        answers[0].0["error"].is_null()
    };
    outcomes.iter().filter(is_served).count()
}

fn pair(faults: Faults, seed: u32) -> Pair<24, SOCKETS> {
    wire::faults::pair(faults, seed)
}

/// Deadlines that no peer behind a bad wire reaches: smoltcp waits up to 60 s before it sends a segment again.
fn patient() -> Limits {
    let mut limits = Limits::default();
    limits.timeouts.header = Duration::from_secs(600);
    limits.timeouts.idle = Duration::from_secs(600);
    limits
}

#[test]
fn requests_are_answered_in_order() {
    for faults in [Faults::default()].into_iter().chain(WIRES) {
        let mut board = Board::on(pair(faults, 1), 4, patient());
        let requests = (0..300).flat_map(|id| frame(&json!({"op": "echo", "id": id}), b"hello"));
        board.peer(requests.collect(), true);
        let outcomes = board.outcomes(30_000);
        assert_eq!(outcomes[0].len(), 300, "{faults:?}");
        for (id, (header, body)) in outcomes[0].iter().enumerate() {
            assert_eq!(
                (header["id"].as_u64(), &body[..]),
                (Some(id as u64), &b"hello"[..])
            );
        }
        board.assert_at_rest();
    }
}

#[test]
fn who_is_one_too_many_is_told_busy() {
    let mut board = Board::new(2);
    for _ in 0..2 {
        board.peer(echo(b"first"), false);
    }
    board.run();
    let first = std::mem::take(&mut board.peers);
    for peer in &first {
        assert_eq!(try_answer(&mut &peer.heard[..]).unwrap().1, b"first");
    }
    // The end is right behind it, and not only after a silence.
    board.peer(vec![], false);
    let told = board.pair.now;
    assert_eq!(served(&board.outcomes(1), b""), 0);
    assert!(board.pair.now - told < smoltcp::time::Duration::from_millis(20));
    for _ in 0..5 {
        // What nobody reads must not have its reset eat the answer.
        board.peer(echo(&[b'x'; 6000]), false);
    }
    assert_eq!(served(&board.outcomes(10), b""), 0);
    assert_eq!(board.tcp.stats().refused, 6);
    for mut peer in first {
        peer.unsent = echo(b"again");
        peer.ends = true;
        board.peers.push(peer);
    }
    for answers in board.outcomes(1) {
        assert_eq!(answers[1].1, b"again");
    }
    board.peer(echo(b"later"), true);
    assert_eq!(served(&board.outcomes(1), b"later"), 1);
    board.assert_at_rest();
}

#[test]
fn sixteen_at_once_on_four_slots() {
    for (wire, faults) in [Faults::default()].into_iter().chain(WIRES).enumerate() {
        // Those who stay until they are told the end: then the others are told `busy`.
        for stay in [0, 1, 4, 16] {
            let seed = stay as u32 + 10 * wire as u32;
            let mut board = Board::on(pair(faults, seed), 4, patient());
            board.lossy = faults.drop > 0 || faults.corrupt > 0;
            for number in 0..16 {
                board.peer(echo(b"hello"), number >= stay);
            }
            let served = served(&board.outcomes(3_000), b"hello");
            assert!(served >= 4, "{served} {faults:?}");
            assert_eq!(u32::from(served < 16), board.tcp.stats().refused.min(1));
            board.assert_at_rest();
        }
    }
}

#[test]
fn clients_that_stay_are_evicted() {
    let mut limits = Limits::default();
    limits.timeouts.idle = Duration::from_secs(20);
    let mut board = Board::on(Pair::with_clients(Settings::default(), 2048, 1), 4, limits);
    // Silent from the first, in the middle of a header, in the middle of a body, and after an answer.
    let request = echo(b"hello");
    for sent in [0, 9, request.len() - 1, request.len()] {
        board.peer(request[..sent].to_vec(), false);
    }
    board.wait(9_000);
    assert_eq!(board.tcp.taken(), 4);
    let outcomes = board.outcomes(22);
    let errors = outcomes.iter().map(|answers| match answers.last() {
        Some((header, _)) => header["error"].as_str().unwrap_or("answered"),
        None => "silence",
    });
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors, ["silence", "deadline", "cut", "answered"]);
    for _ in 0..4 {
        board.peer(request.clone(), false);
    }
    board.run();
    assert_eq!(board.tcp.stats().refused, 0);
    board.outcomes(22);
    board.assert_at_rest();
}

#[test]
fn peers_that_vanish_hold_a_socket_for_a_bounded_time() {
    let mut board = Board::new(4);
    for _ in 0..4 {
        board.peer(echo(b"hello"), false);
    }
    board.run();
    // Their cable is cut.
    board.peers.clear();
    let end = board.pair.now + smoltcp::time::Duration::from_secs(120);
    while board.pair.now < end {
        board.pair.server.poll(board.pair.now);
        board.pair.client.poll(board.pair.now);
        for wire in [&board.pair.to_client, &board.pair.to_server] {
            wire.borrow_mut().clear();
        }
        let now = since_boot(board.pair.now);
        while goes_on(
            board
                .tcp
                .poll(&mut board.pair.server, now, |_| Service::new()),
        ) {}
        board.sleep(end);
    }
    assert!(board.tcp.is_idle());
    assert_eq!(board.pair.server.usage().listening, SOCKETS);
}

#[test]
fn two_thousand_in_a_row() {
    let mut board = Board::new(4);
    ends_of_all_kinds(&mut board, 2_000);
    let stats = board.tcp.stats();
    assert_eq!((stats.accepted, stats.refused), (2_000, 0), "{stats:?}");
    board.assert_at_rest();
}

#[test]
fn hundreds_in_a_row_on_bad_wires() {
    for (wire, faults) in WIRES.into_iter().enumerate() {
        let mut board = Board::on(pair(faults, 10 * wire as u32), 4, patient());
        ends_of_all_kinds(&mut board, 300);
        let TcpStats {
            accepted, refused, ..
        } = board.tcp.stats();
        assert!(accepted + refused >= 300);
        board.assert_at_rest();
    }
}

/// Peers one after the other: good ones, bad ones, and such that go in the middle.
fn ends_of_all_kinds(board: &mut Board, count: usize) {
    for number in 0..count {
        let mut request = echo(&number.to_le_bytes());
        let ends = number % 3 != 0;
        match number % 5 {
            // The server ends it for the bad octets, or because the peer's stream has ended in a frame.
            1 => request.splice(..4, [0xff; 4]).for_each(drop),
            2 if ends => request.truncate(request.len() - 1),
            _ => {}
        }
        let good = number % 5 != 1;
        board.peer(request, ends);
        if ends || !good {
            let answers = board.outcomes(3_000).remove(0);
            if number % 5 > 2 {
                assert!(!answers.is_empty(), "{number}");
            }
        } else {
            // It has its answer, and goes.
            board.until(3_000, |board| {
                let peer = &board.peers[0];
                try_answer(&mut &peer.heard[..]).is_some()
            });
            let mut peer = board.peers.remove(0);
            peer.close(&mut board.pair.client, Outcome::Ended);
        }
    }
}

/// The server on the wire of a peer that writes its own segments.
fn raw(count: usize) -> (Raw, TcpOf<4>) {
    let mut raw = Raw::new();
    let limits = Limits::default();
    let server = TcpServer::bind(&mut raw.server, PORT, Policy, limits, slots(count));
    (raw, server.unwrap())
}

fn poll(raw: &mut Raw, server: &mut TcpOf<4>) {
    raw.listen();
    let now = since_boot(raw.now);
    while goes_on(server.poll(&mut raw.server, now, |_| Service::new())) {}
    raw.listen();
}

#[test]
fn a_reset_frees_its_slot() {
    let (mut raw, mut server) = raw(4);
    for round in 0..50 {
        let ports = [1, 2, 3, 4].map(|port| 10 * round + port);
        let request = echo(b"hello");
        for (port, sent) in ports.into_iter().zip([0, 7, 30, request.len()]) {
            let number = raw.shake(port);
            let octets = &request[..sent];
            raw.say(port, TcpControl::Psh, 101, Some(number + 1), octets);
            poll(&mut raw, &mut server);
        }
        assert_eq!(server.taken(), 4);
        for (port, sent) in ports.into_iter().zip([0, 7, 30, request.len()]) {
            raw.say(port, TcpControl::Rst, 101 + sent as i32, None, &[]);
        }
        poll(&mut raw, &mut server);
        assert!(server.is_idle());
        assert_eq!(raw.server.usage().listening, 4);
    }
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.lost), (200, 200));
}

#[test]
fn a_reset_while_it_is_told_busy_or_lingers() {
    let (mut raw, mut server) = raw(1);
    for round in 0..50 {
        let (served, surplus) = (10 * round + 1, 10 * round + 2);
        let number = raw.shake(served);
        raw.say(served, TcpControl::Psh, 101, Some(number + 1), &[0xff]);
        poll(&mut raw, &mut server);
        raw.shake(surplus);
        poll(&mut raw, &mut server);
        // No frame: told so, and lingering.
        raw.say(served, TcpControl::Psh, 102, Some(number + 1), &[0xff; 3]);
        poll(&mut raw, &mut server);
        assert_eq!(server.waits().count(), 2);
        raw.say(served, TcpControl::Rst, 105, None, &[]);
        raw.say(surplus, TcpControl::Rst, 101, None, &[]);
        poll(&mut raw, &mut server);
        assert!(server.is_idle());
        assert_eq!(raw.server.usage().listening, 4);
    }
}

/// A socket of a client that speaks to the server only.
fn udp(board: &mut Board) -> UdpSocket {
    let client = &mut board.pair.client;
    let mut socket = UdpClientStack::socket(client).unwrap();
    UdpClientStack::connect(client, &mut socket, server_at(PORT)).unwrap();
    socket
}

fn say(board: &mut Board, socket: &mut UdpSocket, datagram: &[u8]) {
    UdpClientStack::send(&mut board.pair.client, socket, datagram).unwrap();
}

fn hear(board: &mut Board, socket: &mut UdpSocket) -> Option<(Value, Vec<u8>)> {
    board.run();
    let heard = wire::receive_datagram(&mut board.pair.client, socket, 2000);
    heard
        .ok()
        .map(|(datagram, _)| common::answer(&mut &datagram[..]))
}

#[test]
fn a_repeated_datagram_is_answered_and_not_carried_out() {
    let mut board = Board::new(4);
    let mut socket = udp(&mut board);
    let request = frame(&json!({"op": "echo", "id": 5}), b"hello");
    for _ in 0..3 {
        say(&mut board, &mut socket, &request);
        let (header, body) = hear(&mut board, &mut socket).unwrap();
        assert_eq!((&header["id"], &body[..]), (&json!(5), &b"hello"[..]));
    }
    let stats = board.udp.stats();
    assert_eq!((stats.requests, stats.repeats), (1, 2));
    assert_eq!((stats.lost, stats.refused), (0, 0));
}

#[test]
fn a_datagram_that_is_too_long_does_not_hide_the_next() {
    let mut board = Board::new(4);
    let mut socket = udp(&mut board);
    say(
        &mut board,
        &mut socket,
        &echo(b"the neighbors know each other"),
    );
    hear(&mut board, &mut socket).unwrap();
    say(&mut board, &mut socket, &echo(&[0; 1200]));
    say(&mut board, &mut socket, &echo(b"hello"));
    board.pair.poll();
    // Both are there: a board that had nothing to do now would sleep.
    let now = since_boot(board.pair.now);
    let poll = || {
        board
            .udp
            .poll(&mut board.pair.server, now, |_| Service::new())
    };
    let passes = std::iter::repeat_with(poll).take_while(Result::is_ok);
    assert!(passes.count() >= 2);
    assert_eq!(hear(&mut board, &mut socket).unwrap().1, b"hello");
    assert_eq!(hear(&mut board, &mut socket), None);
}

#[test]
fn datagrams_over_bad_wires() {
    for (wire, faults) in WIRES.into_iter().enumerate() {
        let mut board = Board::on(pair(faults, 10 * wire as u32), 4, patient());
        let mut socket = udp(&mut board);
        for id in 0..100 {
            let request = frame(&json!({"op": "echo", "id": id}), b"hello");
            'answered: loop {
                // As long as the neighbors do not know each other there is no room for more than a few.
                let _ = UdpClientStack::send(&mut board.pair.client, &mut socket, &request);
                board.wait(200);
                while let Some((header, body)) = hear(&mut board, &mut socket) {
                    if header["id"] == id {
                        assert_eq!(body, b"hello");
                        break 'answered;
                    }
                }
            }
        }
        assert_eq!(board.udp.stats().requests, 100, "each once: {faults:?}");
    }
}

#[test]
fn one_stack_carries_both() {
    let mut board = Board::new(4);
    let mut socket = udp(&mut board);
    for _ in 0..4 {
        board.peer(echo(b"stream"), true);
    }
    say(&mut board, &mut socket, &echo(b"datagram"));
    assert_eq!(hear(&mut board, &mut socket).unwrap().1, b"datagram");
    assert_eq!(served(&board.outcomes(1), b"stream"), 4);
    UdpClientStack::close(&mut board.pair.client, socket).unwrap();
    board.assert_at_rest();
}

#[test]
fn the_client_calls_out() {
    for (wire, faults) in [Faults::default()].into_iter().chain(WIRES).enumerate() {
        let mut board = Board::on(pair(faults, 10 * wire as u32 + 3), 4, patient());
        let socket = TcpClientStack::socket(&mut board.pair.client).unwrap();
        let mut client = Client::<_, _, 256, 128, 128>::new(socket, Policy);
        board.until(3_000, |board| {
            let connected = client.connect(&mut board.pair.client, server_at(PORT));
            connected.is_ok()
        });
        for id in 0..20 {
            let body = [b'x'; 1000];
            let mut unsent = &body[..];
            let mut heard = vec![];
            let mut request = Request::new("echo", 1000);
            request.id = Some(id);
            client.request(&request).unwrap();
            board.until(3_000, |board| {
                loop {
                    let stack = &mut board.pair.client;
                    let polled = client.poll(stack, body_of(&mut unsent), |event| match event {
                        Event::Header(reply) => assert_eq!(reply.id, Some(id)),
                        Event::Body(octets) => heard.extend_from_slice(octets),
                        _ => {}
                    });
                    match polled {
                        Ok(true) => return true,
                        Ok(false) => {}
                        Err(nb::Error::WouldBlock) => return false,
                        Err(nb::Error::Other(error)) => panic!("{error}"),
                    }
                }
            });
            assert_eq!(heard, body);
        }
        client.close(&mut board.pair.client).unwrap();
        board.assert_at_rest();
    }
}

#[test]
fn a_slot_that_only_lingers_is_waited_for() {
    let mut board = Board::new(4);
    let mut held = vec![];
    for _ in 0..4 {
        let mut socket = board.pair.connect().unwrap();
        // No frame: it is told so, and does not go away.
        wire::send(&mut board.pair.client, &mut socket, b"\xff\xff\xff\xff").unwrap();
        held.push(socket);
    }
    board.run();
    assert_eq!((board.tcp.taken(), board.tcp.stats().faults), (4, 4));
    board.peer(echo(b"hello"), true);
    let outcomes = board.outcomes(1);
    assert_eq!(served(&outcomes, b"hello"), 1);
    assert_eq!(board.tcp.stats().refused, 0);
    for socket in held {
        wire::close(&mut board.pair.client, socket);
    }
    board.assert_at_rest();
}

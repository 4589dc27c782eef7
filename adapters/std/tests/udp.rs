//! UDP over real sockets: what arrives late, twice, in disorder or not at all changes no answer, and does
//! nothing twice.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use unstick_core::services::{Echo, Info};
use unstick_core::{Code, Refusal, Reply, Request, Route, Service};
use unstick_std::udp::{Client, Error, MAX_DATAGRAM, Server};
use unstick_std::{Limits, Shutdown};

/// No test waits longer for anything; none should get near it.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOPBACK: &str = "127.0.0.1:0";

/// How often the request with this body was carried out, and how often one was given up.
#[derive(Default)]
struct Ran {
    counts: Mutex<HashMap<Vec<u8>, u32>>,
    cancelled: Mutex<u32>,
}

impl Ran {
    fn count(&self, body: &[u8]) -> u32 {
        *self.counts.lock().unwrap().get(body).unwrap_or(&0)
    }

    fn cancelled(&self) -> u32 {
        *self.cancelled.lock().unwrap()
    }
}

/// What a service waits for.
#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    fn opened_after(pause: Duration) -> Arc<Self> {
        let gate = Arc::new(Self::default());
        let theirs = Arc::clone(&gate);
        thread::spawn(move || {
            thread::sleep(pause);
            let mut state = theirs.0.lock().unwrap();
            state.0 = true;
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        });
        gate
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Counts what it carries out. The `op` says how the body comes back:
/// `once` in one frame, `many` in frames of ten octets and a last one with `exit`, `later` and `later-many`
/// the same after a while and with pauses, `endless` again and again, `never`, `panic`, `cut`.
struct Effects {
    ran: Arc<Ran>,
    op: String,
    body: Vec<u8>,
    whole: bool,
    frames: VecDeque<Vec<u8>>,
    frame: VecDeque<u8>,
    gate: Option<Arc<Gate>>,
}

impl Effects {
    fn new(ran: &Arc<Ran>) -> Self {
        Self {
            ran: Arc::clone(ran),
            op: String::new(),
            body: Vec::new(),
            whole: false,
            frames: VecDeque::new(),
            frame: VecDeque::new(),
            gate: None,
        }
    }
}

impl Service for Effects {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        self.op = request.op.as_ref().unwrap().as_str().to_owned();
        Ok(())
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        // Not all at once.
        let taken = octets.len().min(1000);
        self.body.extend_from_slice(&octets[..taken]);
        Ok(taken)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.whole = true;
        let mut counts = self.ran.counts.lock().unwrap();
        *counts.entry(self.body.clone()).or_default() += 1;
        drop(counts);
        if self.op.ends_with("many") {
            self.frames = self.body.chunks(10).map(<[u8]>::to_vec).collect();
        } else {
            self.frames = VecDeque::from([self.body.clone()]);
        }
        if self.op.starts_with("later") {
            self.gate = Some(Gate::opened_after(Duration::from_millis(5)));
        }
        assert_ne!(self.op, "panic", "as it was asked to");
        Ok(())
    }

    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        if !self.whole {
            return Poll::Pending;
        }
        if self.op == "never" {
            return Gate::default().poll(cx).map(|()| unreachable!());
        }
        if let Some(gate) = &self.gate
            && gate.poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        let Some(frame) = self.frames.pop_front() else {
            let mut head = Reply::new(0);
            head.exit = Some(i32::try_from(self.ran.count(&self.body)).unwrap());
            return Poll::Ready(Ok(head));
        };
        if self.op == "later-many" {
            self.gate = Some(Gate::opened_after(Duration::from_millis(1)));
        }
        if self.op == "endless" {
            self.frames.push_back(self.body.clone());
        }
        let mut head = Reply::new(frame.len() as u64);
        head.more = self.op.ends_with("many") || self.op == "endless";
        self.frame = frame.into();
        Poll::Ready(Ok(head))
    }

    fn fill(&mut self, _: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        if self.op == "cut" && self.frame.len() < self.body.len() {
            return Poll::Ready(Err(Refusal::new(Code::Internal, "as it was asked to")));
        }
        // Not all at once.
        let len = out.len().min(999).min(self.frame.len());
        let len = if self.op == "cut" { 1 } else { len };
        out[..len]
            .iter_mut()
            .for_each(|octet| *octet = self.frame.pop_front().unwrap());
        Poll::Ready(Ok(len))
    }

    fn cancel(&mut self) {
        *self.ran.cancelled.lock().unwrap() += 1;
    }
}

/// Ends the server also when the test has failed.
struct End<'a>(&'a Shutdown);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

fn serving<S: Service + Send>(
    server: &Server,
    factory: impl Fn(SocketAddr) -> S + Sync,
    test: impl FnOnce(SocketAddr, &Shutdown),
) {
    let shutdown = Shutdown::new().unwrap();
    thread::scope(|scope| {
        let served = scope.spawn(|| server.serve_forever(&shutdown, &factory));
        {
            let _end = End(&shutdown);
            test(server.local_addr().unwrap(), &shutdown);
        }
        served.join().unwrap().unwrap();
    });
}

fn serving_effects(limits: Limits, test: impl FnOnce(SocketAddr, &Ran, &Shutdown)) {
    let ran = Arc::new(Ran::default());
    let server = Server::bind(LOOPBACK, limits).unwrap();
    let factory = |_| Effects::new(&ran);
    serving(&server, factory, |address, shutdown| {
        test(address, &ran, shutdown)
    });
}

/// A peer that sends what it is told to.
struct Peer(UdpSocket);

impl Peer {
    fn of(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(LOOPBACK).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn send(&self, datagram: &[u8]) {
        self.0.send(datagram).unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        let mut datagram = vec![0; 1 << 16];
        let len = self.0.recv(&mut datagram).unwrap();
        datagram.truncate(len);
        datagram
    }

    fn ask(&self, datagram: &[u8]) -> Vec<u8> {
        self.send(datagram);
        self.receive()
    }

    /// Nothing is on its way to this peer: what the server answers is the answer to this.
    fn assert_quiet(&self) {
        let probe = frame(json!({"op": "once", "total_size": 5}), b"probe");
        assert_eq!(open(&self.ask(&probe)).1, b"probe");
    }
}

fn frame(header: Value, body: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    let prefix = i32::try_from(header.len()).unwrap().to_le_bytes();
    [&prefix, header.as_bytes(), body].concat()
}

fn open(datagram: &[u8]) -> (Value, &[u8]) {
    let (prefix, rest) = datagram.split_first_chunk().unwrap();
    let (header, body) = rest.split_at(i32::from_le_bytes(*prefix) as usize);
    let header: Value = serde_json::from_slice(header).unwrap();
    assert_eq!(header["total_size"], body.len());
    (header, body)
}

fn asked(op: &str, id: u32, body: &[u8]) -> Vec<u8> {
    frame(json!({"op": op, "id": id, "total_size": body.len()}), body)
}

/// The bodies of a reply, one after another, and the header of its last frame.
fn ask(client: &mut Client, op: &str, body: &[u8]) -> (Vec<u8>, Reply) {
    let (mut whole, mut last) = (Vec::new(), None);
    let request = Request::new(op, 0);
    let outcome = client.request(request, body, PATIENCE, |reply, body| {
        assert!(last.is_none(), "a frame behind the last");
        whole.extend_from_slice(body);
        if !reply.more {
            last = Some(reply.clone());
        }
    });
    outcome.unwrap();
    (whole, last.unwrap())
}

/// Chance, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // Xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A network between clients and a server: loses 30 % in either direction, doubles 30 %, holds 30 % back so
/// that others overtake them, and repeats old ones.
struct Network {
    front: UdpSocket,
    server: SocketAddr,
    /// A client, the socket that the server sees instead, and what was sent of late.
    paths: Vec<Path>,
    dice: Dice,
    held: Vec<(Instant, Datagram)>,
    passed: u64,
    lost: u64,
}

struct Path {
    client: SocketAddr,
    back: UdpSocket,
    past: VecDeque<(Instant, Datagram)>,
}

#[derive(Clone)]
struct Datagram {
    path: usize,
    to_server: bool,
    octets: Vec<u8>,
}

impl Network {
    fn before(server: SocketAddr, seed: u64) -> Self {
        let front = UdpSocket::bind(LOOPBACK).unwrap();
        front.set_nonblocking(true).unwrap();
        Self {
            front,
            server,
            paths: Vec::new(),
            dice: Dice(seed),
            held: Vec::new(),
            passed: 0,
            lost: 0,
        }
    }

    fn run(&mut self, over: &AtomicBool) {
        let millisecond = Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        while !over.load(Ordering::SeqCst) {
            let backs = self.paths.iter().map(|path| &path.back);
            let mut sockets: Vec<_> = std::iter::once(&self.front)
                .chain(backs)
                .map(|socket| PollFd::new(socket, PollFlags::IN))
                .collect();
            let _ = poll(&mut sockets, Some(&millisecond));
            drop(sockets);
            self.receive();
            let now = Instant::now();
            let held = std::mem::take(&mut self.held);
            let (due, held) = held.into_iter().partition(|(at, _)| *at <= now);
            self.held = held;
            for (_, datagram) in due {
                self.pass(&datagram);
            }
        }
    }

    fn receive(&mut self) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((len, client)) = self.front.recv_from(&mut buffer) {
            let known = self.paths.iter().position(|path| path.client == client);
            let path = known.unwrap_or_else(|| {
                let back = UdpSocket::bind(LOOPBACK).unwrap();
                back.connect(self.server).unwrap();
                back.set_nonblocking(true).unwrap();
                let past = VecDeque::new();
                self.paths.push(Path { client, back, past });
                self.paths.len() - 1
            });
            self.take(path, true, &buffer[..len]);
        }
        for path in 0..self.paths.len() {
            while let Ok(len) = self.paths[path].back.recv(&mut buffer) {
                self.take(path, false, &buffer[..len]);
            }
        }
    }

    fn take(&mut self, path: usize, to_server: bool, octets: &[u8]) {
        let datagram = Datagram {
            path,
            to_server,
            octets: octets.to_vec(),
        };
        let now = Instant::now();
        if self.dice.percent(10) {
            // Younger than what the server forgets.
            let past = &self.paths[path].past;
            let any = past.get(self.dice.below(1 + past.len() as u64) as usize);
            if let Some((at, old)) = any
                && now.duration_since(*at) < Duration::from_secs(10)
            {
                self.pass(&old.clone());
            }
        }
        let past = &mut self.paths[path].past;
        past.push_back((now, datagram.clone()));
        if past.len() > 64 {
            past.pop_front();
        }
        if self.dice.percent(30) {
            self.lost += 1;
            return;
        }
        for _ in 0..1 + u32::from(self.dice.percent(30)) {
            if self.dice.percent(30) {
                let pause = Duration::from_millis(self.dice.below(30));
                self.held.push((now + pause, datagram.clone()));
            } else {
                self.pass(&datagram);
            }
        }
    }

    fn pass(&mut self, datagram: &Datagram) {
        self.passed += 1;
        let Path { client, back, .. } = &self.paths[datagram.path];
        // What does not get through is lost.
        let _ = match datagram.to_server {
            true => back.send(&datagram.octets),
            false => self.front.send_to(&datagram.octets, client),
        };
    }
}

/// Runs `client` in eight threads, through such a network.
fn through_network(server: SocketAddr, seed: u64, client: impl Fn(usize, &mut Client) + Sync) {
    let mut network = Network::before(server, seed);
    let address = network.front.local_addr().unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let network = scope.spawn(|| {
            network.run(&over);
            network
        });
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let client = &client;
                scope.spawn(move || {
                    let mut socket = Client::connect(address)
                        .unwrap()
                        .with_first_pause(Duration::from_millis(10));
                    client(number, &mut socket);
                })
            })
            .collect();
        let outcomes: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        over.store(true, Ordering::SeqCst);
        let network = network.join().unwrap();
        assert!(network.lost > 0 && network.passed > 0);
        outcomes.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn a_bad_network_changes_no_answer() {
    let server = Server::bind(LOOPBACK, Limits::default()).unwrap();
    let factory = |_| Echo::<256>::new();
    serving(&server, factory, |address, _| {
        through_network(address, 1, |number, client| {
            for request in 0..125 {
                let body = format!("{number}.{request} ").repeat(1 + request % 100);
                let (answer, last) = ask(client, "echo", body.as_bytes());
                assert_eq!(answer, body.as_bytes());
                assert_eq!(last.error, None);
            }
        });
    });
}

#[test]
fn a_bad_network_does_nothing_twice() {
    const OPS: [&str; 4] = ["once", "many", "later", "later-many"];
    serving_effects(Limits::default(), |address, ran, _| {
        through_network(address, 2, |number, client| {
            for request in 0..40 {
                let op = OPS[request % 4];
                let body = format!("{number}.{request}.").repeat(1 + request / 2);
                let (answer, last) = ask(client, op, body.as_bytes());
                assert_eq!(answer, body.as_bytes());
                assert_eq!(last.exit, op.ends_with("many").then_some(1));
            }
        });
        let counts = ran.counts.lock().unwrap();
        assert_eq!(counts.len(), 8 * 40);
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    });
}

#[test]
fn a_repeat_gets_the_same_octets() {
    serving_effects(Limits::default(), |address, ran, _| {
        let peer = Peer::of(address);
        let request = asked("once", 7, b"a");
        let first = peer.ask(&request);
        assert_eq!(open(&first), (json!({"total_size": 1, "id": 7}), &b"a"[..]));
        assert_eq!(peer.ask(&request), first);
        assert_eq!(ran.count(b"a"), 1);

        // Another peer, another request.
        assert_eq!(Peer::of(address).ask(&request), first);
        assert_eq!(ran.count(b"a"), 2);

        let request = asked("many", 8, b"0123456789abc");
        let receive_all = || {
            peer.send(&request);
            [peer.receive(), peer.receive(), peer.receive()]
        };
        let first = receive_all();
        let expected = [
            json!({"total_size": 10, "id": 8, "more": true, "offset": 0}),
            json!({"total_size": 3, "id": 8, "more": true, "offset": 10}),
            json!({"total_size": 0, "id": 8, "offset": 13, "exit": 1}),
        ];
        assert_eq!(first.each_ref().map(|datagram| open(datagram).0), expected);
        assert_eq!(receive_all(), first);
        assert_eq!(ran.count(b"0123456789abc"), 1);
        peer.assert_quiet();
    });
}

#[test]
fn a_repeat_of_what_is_running_waits_with_it() {
    serving_effects(Limits::default(), |address, ran, _| {
        let peer = Peer::of(address);
        let request = asked("later", 7, b"a");
        for _ in 0..10 {
            peer.send(&request);
        }
        let first = peer.receive();
        assert_eq!(open(&first).1, b"a");
        assert_eq!(peer.ask(&request), first);
        assert_eq!(ran.count(b"a"), 1);
    });
}

#[test]
fn another_datagram_with_the_same_id_is_another_request() {
    serving_effects(Limits::default(), |address, ran, _| {
        let peer = Peer::of(address);
        assert_eq!(open(&peer.ask(&asked("once", 7, b"a"))).1, b"a");
        assert_eq!(open(&peer.ask(&asked("once", 7, b"b"))).1, b"b");
        assert_eq!(open(&peer.ask(&asked("once", 7, b"b"))).1, b"b");
        assert_eq!((ran.count(b"a"), ran.count(b"b")), (1, 1));

        // While the first is running it is passed over: its answer would be taken for the first one's.
        peer.send(&asked("later", 8, b"c"));
        peer.send(&asked("once", 8, b"d"));
        assert_eq!(open(&peer.receive()).1, b"c");
        peer.assert_quiet();
        assert_eq!((ran.count(b"c"), ran.count(b"d")), (1, 0));
        let answer = loop {
            // The entry is done a moment after its last datagram was sent.
            peer.send(&asked("once", 8, b"d"));
            peer.0
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            let mut datagram = [0; 100];
            if let Ok(len) = peer.0.recv(&mut datagram) {
                break datagram[..len].to_vec();
            }
        };
        assert_eq!(open(&answer).1, b"d");
        assert_eq!(ran.count(b"d"), 1);
    });
}

#[test]
fn without_an_id_every_one_is_carried_out() {
    serving_effects(Limits::default(), |address, ran, _| {
        let peer = Peer::of(address);
        let request = frame(json!({"op": "once", "total_size": 1}), b"a");
        for count in 1..4 {
            assert_eq!(
                open(&peer.ask(&request)),
                (json!({"total_size": 1}), &b"a"[..])
            );
            assert_eq!(ran.count(b"a"), count);
        }
    });
}

#[test]
fn without_room_for_its_reply_a_request_is_refused() {
    let ran = Arc::new(Ran::default());
    // For two replies of 60,000 octets, and while they are written.
    let server = Server::bind(LOOPBACK, Limits::default())
        .unwrap()
        .with_cache(130_000);
    serving(
        &server,
        |_| Effects::new(&ran),
        |address, _| {
            let peer = Peer::of(address);
            let first = peer.ask(&asked("once", 1, &[1; 60_000]));
            assert!(open(&first).1 == [1; 60_000]);
            peer.ask(&asked("once", 2, &[2; 60_000]));

            let answer = peer.ask(&asked("once", 3, b"a"));
            let (header, _) = open(&answer);
            assert_eq!(header["error"], "busy");
            assert_eq!(header["id"], 3);
            assert!(header["retry_after_ms"].is_u64());
            assert_eq!(ran.count(b"a"), 0);

            // The others are not forgotten.
            assert!(peer.ask(&asked("once", 1, &[1; 60_000])) == first);
            assert_eq!(ran.count(&[1; 60_000]), 1);
            // Without an `id` nothing needs to be kept.
            peer.assert_quiet();
        },
    );
}

#[test]
fn a_datagram_that_is_no_frame_is_told_so() {
    let limits = Limits {
        max_header: 200,
        max_body: 1000,
        ..Limits::default()
    };
    serving_effects(limits, |address, ran, _| {
        let peer = Peer::of(address);
        let whole = asked("once", 9, b"hello");
        let header_len = whole.len() - 5;
        let mut all: Vec<Vec<u8>> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
        all.push([&whole[..], b"!"].concat());
        all.push([&whole[..], &whole[..]].concat());
        all.push(vec![0; 100]);
        all.push(vec![0xff; MAX_DATAGRAM]);
        all.push(frame(json!([1, 2]), b""));
        all.push(frame(json!({"op": "once"}), b""));
        all.push(frame(json!({"op": "once", "total_size": -1}), b""));
        all.push(frame(
            json!({"op": "once", "total_size": u64::MAX, "id": 9}),
            b"",
        ));
        all.push(b"\x08\0\0\0{\"a\":\"\xff\"}".to_vec());
        for datagram in &all {
            let answer = peer.ask(datagram);
            let (header, body) = open(&answer);
            assert_eq!(header["error"], "bad_header", "{datagram:?}");
            assert!(body.is_empty() && header["message"].is_string());
            // As soon as the header is readable, the answer is to be told from others.
            let readable =
                datagram.len() >= header_len && datagram.starts_with(&whole[..header_len]);
            if readable {
                assert_eq!(header["id"], 9);
            }
        }
        assert_eq!(ran.counts.lock().unwrap().len(), 0);

        // What is too large is another matter.
        let large = asked("once", 10, &[1; 1001]);
        assert_eq!(open(&peer.ask(&large)).0["error"], "too_large");
        let long = json!({"op": "once", "total_size": 0, "note": "x".repeat(200)});
        let long = frame(long, b"");
        // Its prefix says so, whatever is there of it.
        for datagram in [&long[..], &long[..long.len() - 1], &long[..4], b"hello\n"] {
            assert_eq!(open(&peer.ask(datagram)).0["error"], "too_large");
        }
        assert_eq!(ran.counts.lock().unwrap().len(), 0);
        peer.assert_quiet();
    });
}

#[test]
fn an_error_frame_is_not_answered() {
    serving_effects(Limits::default(), |address, _, _| {
        let peer = Peer::of(address);
        peer.send(&frame(
            json!({"error": "bad_header", "message": "no", "total_size": 0}),
            b"",
        ));
        peer.send(&frame(
            json!({"error": "whatever", "id": 3, "total_size": 2}),
            b"ab",
        ));
        peer.assert_quiet();
    });
}

#[test]
fn datagrams_up_to_the_longest_are_carried() {
    let server = Server::bind(LOOPBACK, Limits::default()).unwrap();
    serving(
        &server,
        |_| Echo::<4096>::new(),
        |address, _| {
            let mut client = Client::connect(address).unwrap();
            let header =
                serde_json::to_string(&json!({"total_size": 65000, "op": "echo", "id": u32::MAX}));
            let most = MAX_DATAGRAM - 4 - header.unwrap().len();
            let body: Vec<u8> = (0..most).map(|at| at as u8).collect();
            assert!(ask(&mut client, "echo", &body).0 == body);

            let body = vec![0; MAX_DATAGRAM];
            let outcome = client.request(Request::new("echo", 0), &body, PATIENCE, |_, _| ());
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::TooLarge(MAX_DATAGRAM)));
            assert!(error.to_string().contains("use TCP"));
        },
    );
}

#[test]
fn a_reply_too_long_to_be_kept_ends_with_too_large() {
    serving_effects(Limits::default(), |address, ran, _| {
        let mut client = Client::connect(address).unwrap();
        let (answer, last) = ask(&mut client, "endless", &[7; 60_000]);
        assert_eq!(last.error, Some(Code::TooLarge));
        assert_eq!(last.offset, Some(answer.len() as u64));
        assert!(answer.len() > 4_000_000 && answer.iter().all(|octet| *octet == 7));
        assert_eq!(ran.count(&[7; 60_000]), 1);
        assert_eq!(ran.cancelled(), 1);
    });
}

#[test]
fn more_requests_at_once_than_allowed_are_refused() {
    let limits = Limits {
        max_connections: 2,
        idle_timeout: PATIENCE,
        grace: Duration::ZERO,
        ..Limits::default()
    };
    serving_effects(limits, |address, ran, _| {
        let peer = Peer::of(address);
        peer.send(&asked("never", 1, b"a"));
        peer.send(&asked("never", 2, b"b"));
        let third = asked("once", 3, b"c");
        let refused = peer.ask(&third);
        let (header, _) = open(&refused);
        assert_eq!(
            (&header["error"], &header["id"]),
            (&json!("busy"), &json!(3))
        );
        assert!(header["retry_after_ms"].is_u64());
        // That was the answer: a duplicate does not do what the client was told is not done.
        assert_eq!(peer.ask(&third), refused);
        assert_eq!(ran.count(b"c"), 0);
    });
}

#[test]
fn a_deadline_ends_a_request() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(20),
        ..Limits::default()
    };
    serving_effects(limits, |address, ran, _| {
        let peer = Peer::of(address);
        let header = json!({"op": "never", "id": 1, "timeout_ms": 10, "total_size": 1});
        let answer = peer.ask(&frame(header, b"a"));
        let (header, _) = open(&answer);
        assert_eq!(
            (&header["error"], &header["id"]),
            (&json!("deadline"), &json!(1))
        );
        assert_eq!(ran.cancelled(), 1);

        let answer = peer.ask(&asked("never", 2, b"b"));
        assert_eq!(open(&answer).0["error"], "deadline");
        assert_eq!(ran.cancelled(), 2);

        // Also one that never waits, and is in the middle of its reply.
        let mut client = Client::connect(address).unwrap();
        let mut request = Request::new("endless", 0);
        request.timeout_ms = Some(10);
        let mut last = None;
        let outcome = client.request(request, b"c", PATIENCE, |reply, _| {
            last = Some(reply.clone())
        });
        outcome.unwrap();
        let last = last.unwrap();
        assert_eq!(last.error, Some(Code::Deadline));
        assert!(last.offset > Some(0));
    });
}

#[test]
fn a_service_that_fails_harms_nobody_else() {
    serving_effects(Limits::default(), |address, ran, _| {
        let peer = Peer::of(address);
        let request = asked("panic", 1, b"a");
        let answer = peer.ask(&request);
        assert_eq!(open(&answer).0["error"], "internal");
        assert_eq!(peer.ask(&request), answer);
        assert_eq!(ran.count(b"a"), 1);

        let answer = peer.ask(&asked("cut", 2, b"abc"));
        assert_eq!(open(&answer).0["error"], "internal");
        assert_eq!(open(&answer).0["id"], 2);
        peer.assert_quiet();
    });
}

/// `put` stores, which takes as long as it takes: others are answered meanwhile.
struct Disk<'a> {
    stored: &'a Mutex<Receiver<()>>,
    op: String,
    ended: bool,
}

impl Service for Disk<'_> {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        self.op = request.op.as_ref().unwrap().as_str().to_owned();
        Ok(())
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        Ok(octets.len())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.ended = true;
        Ok(())
    }

    fn reply(&mut self, _: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        if !self.ended {
            return Poll::Pending;
        }
        if self.op == "put" {
            let stored = self.stored.lock().unwrap().recv_timeout(PATIENCE);
            stored.map_err(|_| Refusal::new(Code::Internal, "nobody else was answered"))?;
        }
        Poll::Ready(Ok(Reply::new(0)))
    }

    fn fill(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        Poll::Ready(Ok(0))
    }

    fn cancel(&mut self) {}
}

#[test]
fn a_disk_that_is_slow_holds_up_nobody_else() {
    let server = Server::bind(LOOPBACK, Limits::default()).unwrap();
    let (sender, receiver) = channel();
    let stored = Mutex::new(receiver);
    let factory = |_| Disk {
        stored: &stored,
        op: String::new(),
        ended: false,
    };
    serving(&server, factory, |address, _| {
        let (slow, other) = (Peer::of(address), Peer::of(address));
        slow.send(&asked("put", 1, b"content"));
        assert_eq!(open(&other.ask(&asked("stat", 2, b""))).0["id"], 2);
        sender.send(()).unwrap();
        let answer = slow.receive();
        let (header, _) = open(&answer);
        assert_eq!(header, json!({"total_size": 0, "id": 1}));
    });
}

#[test]
fn a_shutdown_lets_a_request_end() {
    let ran = Arc::new(Ran::default());
    let server = Server::bind(LOOPBACK, Limits::default()).unwrap();
    serving(
        &server,
        |_| Effects::new(&ran),
        |address, shutdown| {
            let peer = Peer::of(address);
            peer.send(&asked("later-many", 1, b"0123456789"));
            assert_eq!(open(&peer.receive()).1, b"0123456789");
            shutdown.request();
            assert_eq!(open(&peer.receive()).0["exit"], 1);
        },
    );
}

#[test]
fn a_shutdown_gives_up_what_does_not_end() {
    let limits = Limits {
        grace: Duration::from_millis(200),
        ..Limits::default()
    };
    serving_effects(limits, |address, ran, shutdown| {
        let peer = Peer::of(address);
        peer.send(&asked("never", 1, b"a"));
        // It has begun.
        peer.assert_quiet();
        shutdown.request();
        let answer = peer.receive();
        assert_eq!(open(&answer).0["error"], "busy");
        assert_eq!(ran.cancelled(), 1);
    });
}

#[test]
fn a_server_serves_again_after_a_shutdown() {
    let ran = Arc::new(Ran::default());
    let server = Server::bind(LOOPBACK, Limits::default()).unwrap();
    let request = asked("once", 1, b"a");
    let peer = Peer::of(server.local_addr().unwrap());
    for _ in 0..2 {
        serving(
            &server,
            |_| Effects::new(&ran),
            |_, _| {
                assert_eq!(open(&peer.ask(&request)).1, b"a");
            },
        );
    }
    assert_eq!(ran.count(b"a"), 1);
}

/// A server that says what it is told to, to a client's first datagram.
fn scripted(
    script: impl FnOnce(u32, &dyn Fn(Value, &[u8])) + Send,
    test: impl FnOnce(&mut Client),
) {
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::connect(socket.local_addr().unwrap()).unwrap();
    thread::scope(|scope| {
        let socket = &socket;
        scope.spawn(move || {
            let mut datagram = [0; 1000];
            let (len, peer) = socket.recv_from(&mut datagram).unwrap();
            let id = open(&datagram[..len]).0["id"].as_u64().unwrap();
            script(u32::try_from(id).unwrap(), &|header, body| {
                socket.send_to(&frame(header, body), peer).unwrap();
            });
        });
        test(&mut client);
    });
}

#[test]
fn answers_to_other_questions_are_dropped() {
    let script = |id: u32, send: &dyn Fn(Value, &[u8])| {
        let old = id.wrapping_sub(1);
        send(json!({"id": old, "total_size": 3}), b"old");
        send(json!({"total_size": 4}), b"none");
        send(json!({"error": "bad_header", "total_size": 0}), b"");
        send(json!({"id": id, "total_size": 3}), b"cut off?");
        send(json!({"id": id, "total_size": "3"}), b"bad");
        send(json!({"id": id, "total_size": 3}), b"new");
    };
    scripted(script, |client| {
        assert_eq!(ask(client, "once", b"a").0, b"new")
    });
}

#[test]
fn frames_are_put_in_order() {
    let script = |id: u32, send: &dyn Fn(Value, &[u8])| {
        let more = |offset: u64, body: &[u8]| {
            send(
                json!({"id": id, "more": true, "offset": offset, "total_size": body.len()}),
                body,
            );
        };
        send(
            json!({"id": id, "offset": 9, "exit": 5, "total_size": 0}),
            b"",
        );
        more(6, b"ghi");
        more(6, b"xyz");
        more(3, b"def");
        more(3, b"def");
        more(u64::MAX, b"far");
        // Without a body: no place in the order.
        more(0, b"");
        // They contradict the others.
        more(4, b"?");
        send(json!({"id": id, "offset": 5, "total_size": 0}), b"");
        more(0, b"abc");
    };
    scripted(script, |client| {
        let (answer, last) = ask(client, "many", b"a");
        assert_eq!(answer, b"abcdefghi");
        assert_eq!(last.exit, Some(5));
    });
}

#[test]
fn an_error_frame_is_the_last() {
    let script = |id: u32, send: &dyn Fn(Value, &[u8])| {
        send(
            json!({"id": id, "error": "busy", "retry_after_ms": 3, "total_size": 0}),
            b"",
        );
    };
    scripted(script, |client| {
        let (_, last) = ask(client, "once", b"a");
        assert_eq!(
            (last.error, last.retry_after_ms),
            (Some(Code::Busy), Some(3))
        );
    });
}

#[test]
fn a_server_cannot_make_the_client_keep_everything() {
    let script = |id: u32, send: &dyn Fn(Value, &[u8])| {
        // 12 MB behind a gap, all of it with other offsets.
        for offset in 1..2000_u64 {
            let body = [0; 6000];
            send(
                json!({"id": id, "more": true, "offset": offset * 10_000, "total_size": body.len()}),
                &body,
            );
        }
    };
    scripted(script, |client| {
        let deadline = Duration::from_millis(500);
        let outcome = client.request(Request::new("once", 0), b"a", deadline, |_, _| {
            panic!("there is a gap")
        });
        assert!(matches!(outcome, Err(Error::Deadline(_))));
    });
}

#[test]
fn no_answer_is_told_as_such() {
    let silent = UdpSocket::bind(LOOPBACK).unwrap();
    let address = silent.local_addr().unwrap();
    let mut client = Client::connect(address)
        .unwrap()
        .with_first_pause(Duration::from_millis(5));
    let deadline = Duration::from_millis(100);
    let ask =
        |client: &mut Client| client.request(Request::new("once", 0), b"a", deadline, |_, _| ());
    let error = ask(&mut client).unwrap_err();
    let Error::Deadline(unanswered) = &error else {
        panic!("{error}")
    };
    assert!(unanswered.sent > 1 && unanswered.received == 0);
    let sentence = format!("no answer within 0.1 s; sent {} times", unanswered.sent);
    assert_eq!(error.to_string(), sentence);

    // It was the same datagram each time.
    let mut datagrams = (0..unanswered.sent).map(|_| {
        let mut datagram = [0; 100];
        let len = silent.recv(&mut datagram).unwrap();
        datagram[..len].to_vec()
    });
    let first = datagrams.next().unwrap();
    assert!(datagrams.all(|datagram| datagram == first));

    // And where the server says something that may be about it, the reader is told.
    let script = |_: u32, send: &dyn Fn(Value, &[u8])| {
        send(
            json!({"error": "too_large", "message": "no\u{1b}[2J", "total_size": 0}),
            b"",
        );
    };
    scripted(script, |client| {
        let sentence = ask(client).unwrap_err().to_string();
        assert!(sentence.contains("perhaps of another request: too_large: no\\u{1b}[2J"));
    });
}

#[test]
fn where_nothing_listens_the_client_says_so() {
    let address = UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let mut client = Client::connect(address).unwrap();
    for _ in 0..2 {
        let outcome = client.request(Request::new("once", 0), b"a", PATIENCE, |_, _| ());
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, Error::Refused(at, _) if at == address),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .starts_with(&format!("nothing listens at udp {address}"))
        );
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn stock_python_is_a_peer() {
    const PEER: &str = r#"
import json, socket, struct, sys

def ask(header, body=b''):
    header = json.dumps(dict(header, total_size=len(body))).encode()
    peer.send(struct.pack('<i', len(header)) + header + body)
    reply = peer.recv(65536)
    (length,) = struct.unpack_from('<i', reply)
    header, body = json.loads(reply[4:4 + length]), reply[4 + length:]
    assert header['total_size'] == len(body), header
    return header, body

peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.settimeout(60)
peer.connect((sys.argv[1], int(sys.argv[2])))

text = 'grüße, 世界 😀'
header, body = ask({'op': 'echo', 'id': 1, 'note': text}, text.encode())
assert (header['id'], body.decode()) == (1, text), (header, body)
header, body = ask({'op': 'info', 'id': 2})
assert json.loads(body)['ops'] == ['echo', 'info'], body
header, body = ask({'op': 'fly', 'id': 3})
assert header['error'] == 'unknown_op', header
print('well')
"#;
    const INFO: Info = Info {
        name: "test",
        version: "1",
        max_header: 4096,
        max_body: u64::MAX,
        max_datagram: MAX_DATAGRAM as u64,
        ops: &["echo", "info"],
    };
    let server = Server::bind(LOOPBACK, Limits::default()).unwrap();
    serving(
        &server,
        |_| Echo::<256>::new().or(INFO.into_service()),
        |address, _| {
            let (host, port) = (address.ip().to_string(), address.port().to_string());
            let output = Command::new("python3")
                .args(["-c", PEER, &host, &port])
                .output();
            let output = output.expect("this test needs python3");
            assert_eq!(
                output.stdout,
                b"well\n",
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        },
    );
}

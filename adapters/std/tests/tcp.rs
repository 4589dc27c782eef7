//! The threaded TCP server over real sockets: deadlines, limits, peers that come and go.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown as Direction, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use unstick_core::services::{Echo, Output, Responder};
use unstick_core::{Code, Decoder, Event, Refusal, Reply, Request, Route, Service, encode};
use unstick_std::{Limits, Shutdown, tcp};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until it is told to answer; counts how many wait, and how many were given up.
#[derive(Clone, Default)]
struct Waiting(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    cancelled: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
    answer: AtomicUsize,
}

impl Waiting {
    fn answer(&self) {
        self.0.answer.store(1, Ordering::SeqCst);
        self.0
            .wakers
            .lock()
            .unwrap()
            .drain(..)
            .for_each(Waker::wake);
    }

    fn until(&self, count: impl Fn(&Counts) -> &AtomicUsize, at_least: usize) {
        for _ in 0..PATIENCE.as_millis() {
            if count(&self.0).load(Ordering::SeqCst) >= at_least {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("it never came to {at_least}");
    }
}

impl Service for Waiting {
    fn begin(&mut self, _: &Request) -> Result<(), Refusal> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        Ok(octets.len())
    }
    fn end(&mut self) -> Result<(), Refusal> {
        Ok(())
    }
    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        self.0.wakers.lock().unwrap().push(cx.waker().clone());
        match self.0.answer.load(Ordering::SeqCst) {
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(Reply::new(0))),
        }
    }
    fn fill(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        panic!("the reply has no body")
    }
    fn cancel(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::SeqCst);
    }
}

impl Route for Waiting {
    fn serves(&self, op: &str) -> bool {
        op == "wait"
    }
}

/// A server in a thread of its own, which ends with the test.
struct Running {
    addr: SocketAddr,
    shutdown: Shutdown,
    waiting: Waiting,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn with(limits: Limits) -> Self {
        let server = tcp::Server::bind("127.0.0.1:0", limits).unwrap();
        let addr = server.local_addr().unwrap();
        let (shutdown, waiting) = (Shutdown::new().unwrap(), Waiting::default());
        let (ended, service) = (shutdown.clone(), waiting.clone());
        let thread = thread::spawn(move || {
            let factory = |_| {
                let panics = |_: &[u8], _: &mut Output<'_>| panic!("as it was told");
                Echo::<1024>::new()
                    .or(service.clone())
                    .or(Responder::<_, 16, 16>::new("panic", panics))
            };
            server.serve_forever(&ended, factory).unwrap();
        });
        Self {
            addr,
            shutdown,
            waiting,
            thread: Some(thread),
        }
    }

    fn connect(&self) -> Peer {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer(stream)
    }

    fn stop(&mut self) {
        self.shutdown.request();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop();
        }
    }
}

struct Peer(TcpStream);

fn request(op: &str, id: u32, body: &[u8]) -> Vec<u8> {
    let mut request = Request::new(op, body.len() as u64);
    request.id = Some(id);
    request_with(&request, body)
}

fn request_with(request: &Request, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 256];
    let len = encode(request, &mut frame).unwrap();
    frame.truncate(len);
    frame.extend_from_slice(body);
    frame
}

impl Peer {
    fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).unwrap();
    }

    /// The next frame; none at the end of the stream.
    fn receive(&mut self) -> Option<(Reply, Vec<u8>)> {
        let mut decoder = Decoder::<Reply, 1024>::new();
        let (mut head, mut body) = (None, Vec::new());
        loop {
            let mut octet = [0];
            let mut input = match self.0.read(&mut octet) {
                Ok(octets) => &octet[..octets],
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    panic!("the connection was reset")
                }
                Err(error) => panic!("{error}"),
            };
            if input.is_empty() {
                decoder.finish().unwrap();
                return None;
            }
            while let Some(event) = decoder.decode(&mut input).unwrap() {
                match event {
                    Event::Header(reply) => head = Some(reply),
                    Event::Body(octets) => body.extend_from_slice(octets),
                    Event::End => return Some((head.unwrap(), body)),
                }
            }
        }
    }

    fn receive_error(&mut self) -> (Code, Option<u32>) {
        let (head, _) = self.receive().expect("an error frame");
        (head.error.expect("an error"), head.id)
    }

    /// The stream has ended, and with an end, not with a reset.
    fn assert_closed(&mut self) {
        assert_eq!(self.receive(), None);
    }

    fn assert_echo(&mut self) {
        self.send(&request("echo", 77, b"still there?"));
        let (head, body) = self.receive().unwrap();
        assert_eq!((head.id, &body[..]), (Some(77), &b"still there?"[..]));
    }
}

const SOON: Duration = Duration::from_millis(200);

#[test]
fn many_requests_in_one_send_are_answered_in_order() {
    let server = Running::with(Limits::default());
    let mut peer = server.connect();
    let bodies: Vec<Vec<u8>> = (0..500).map(|len| vec![b'x'; len]).collect();
    let frames: Vec<u8> = (0..)
        .zip(&bodies)
        .flat_map(|(id, body)| request("echo", id, body))
        .collect();
    let mut writer = peer.0.try_clone().unwrap();
    let sender = thread::spawn(move || writer.write_all(&frames).unwrap());
    for (id, body) in (0..).zip(&bodies) {
        let (head, echo) = peer.receive().unwrap();
        assert_eq!((head.id, &echo), (Some(id), body));
    }
    sender.join().unwrap();
}

#[test]
fn a_header_has_to_arrive_in_time() {
    let server = Running::with(Limits {
        header_timeout: SOON,
        ..Limits::default()
    });
    let (mut silent, mut slow) = (server.connect(), server.connect());
    slow.send(&[1, 2, 3]);
    assert_eq!(slow.receive_error(), (Code::Deadline, None));
    slow.assert_closed();
    silent.assert_echo();
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Running::with(Limits {
        idle_timeout: SOON,
        ..Limits::default()
    });
    let mut peer = server.connect();
    peer.assert_echo();
    peer.assert_closed();
}

#[test]
fn a_body_that_trickles_is_given_up() {
    let server = Running::with(Limits {
        idle_timeout: SOON,
        ..Limits::default()
    });
    let mut peer = server.connect();
    peer.send(&request_with(&Request::new("wait", 1_000_000), b""));
    server.waiting.until(|counts| &counts.begun, 1);
    let mut writer = peer.0.try_clone().unwrap();
    let trickle = thread::spawn(move || {
        // One octet at a time is progress, but not enough of it.
        while writer.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
    });
    assert_eq!(peer.receive_error().0, Code::Deadline);
    peer.assert_closed();
    drop(peer);
    trickle.join().unwrap();
}

#[test]
fn a_request_that_takes_too_long_ends_alone() {
    let server = Running::with(Limits::default());
    let mut peer = server.connect();
    let mut wait = Request::new("wait", 0);
    (wait.id, wait.timeout_ms) = (Some(5), Some(50));
    peer.send(&request_with(&wait, b""));
    peer.send(&request("echo", 6, b"next"));
    assert_eq!(peer.receive_error(), (Code::Deadline, Some(5)));
    assert_eq!(peer.receive().unwrap().1, b"next");
    server.waiting.until(|counts| &counts.cancelled, 1);
    // A time that no clock can reach is no deadline.
    (wait.id, wait.timeout_ms) = (Some(7), Some(u64::MAX));
    peer.send(&request_with(&wait, b""));
    server.waiting.until(|counts| &counts.begun, 2);
    server.waiting.answer();
    assert_eq!(peer.receive().unwrap().0.id, Some(7));
}

#[test]
fn a_service_that_waits_does_not_count_as_idle() {
    let server = Running::with(Limits {
        idle_timeout: SOON,
        ..Limits::default()
    });
    let mut peer = server.connect();
    peer.send(&request("wait", 1, b""));
    server.waiting.until(|counts| &counts.begun, 1);
    thread::sleep(SOON * 3);
    server.waiting.answer();
    assert_eq!(peer.receive().unwrap().0.id, Some(1));
}

#[test]
fn a_service_may_answer_before_the_body_is_complete() {
    let server = Running::with(Limits::default());
    let mut peer = server.connect();
    let whole = request("wait", 1, b"12345");
    peer.send(&whole[..whole.len() - 2]);
    server.waiting.until(|counts| &counts.begun, 1);
    thread::sleep(SOON);
    server.waiting.answer();
    assert_eq!(peer.receive().unwrap().0.id, Some(1));
    peer.send(b"45");
    peer.assert_echo();
}

#[test]
fn what_was_begun_for_a_peer_that_is_gone_is_given_up() {
    let server = Running::with(Limits::default());
    let mut peer = server.connect();
    peer.send(&request("wait", 1, b""));
    // Octets behind the request do not hide that the peer is gone.
    peer.send(&request("echo", 2, b"unread"));
    server.waiting.until(|counts| &counts.begun, 1);
    drop(peer);
    server.waiting.until(|counts| &counts.cancelled, 1);
    server.connect().assert_echo();
}

#[test]
fn a_peer_that_closes_its_sending_side_is_still_answered() {
    let server = Running::with(Limits::default());
    let mut peer = server.connect();
    peer.send(&[request("echo", 1, b"one"), request("echo", 2, b"two")].concat());
    peer.0.shutdown(Direction::Write).unwrap();
    assert_eq!(peer.receive().unwrap().1, b"one");
    assert_eq!(peer.receive().unwrap().1, b"two");
    peer.assert_closed();
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_told_so() {
    let server = Running::with(Limits::default());
    let whole = request("wait", 1, b"12345");
    for len in [1, 3, 4, 20, whole.len() - 5, whole.len() - 1] {
        let mut peer = server.connect();
        peer.send(&whole[..len]);
        peer.0.shutdown(Direction::Write).unwrap();
        assert_eq!(peer.receive_error().0, Code::BadHeader, "{len} octets");
        peer.assert_closed();
    }
}

#[test]
fn an_error_frame_survives_what_the_peer_goes_on_sending() {
    let server = Running::with(Limits {
        max_body: 1_000_000,
        ..Limits::default()
    });
    for bad in [
        vec![0; 4],
        request_with(&Request::new("echo", 1_000_001), b""),
    ] {
        let mut peer = server.connect();
        let mut writer = peer.0.try_clone().unwrap();
        let sender = thread::spawn(move || {
            let _ = writer
                .write_all(&bad)
                .and_then(|()| writer.write_all(&vec![0; 10_000_000]));
        });
        let code = peer.receive_error().0;
        assert!(matches!(code, Code::BadHeader | Code::TooLarge));
        peer.assert_closed();
        drop(peer);
        sender.join().unwrap();
    }
    server.connect().assert_echo();
}

#[test]
fn the_body_of_a_refused_request_is_passed_over() {
    let server = Running::with(Limits::default());
    let mut peer = server.connect();
    peer.send(&request("fly", 1, &vec![0; 1_000_000]));
    assert_eq!(peer.receive_error(), (Code::UnknownOp, Some(1)));
    peer.assert_echo();
}

#[test]
fn the_surplus_is_told_busy_and_the_others_are_not_harmed() {
    const MAX: usize = 8;
    let server = Running::with(Limits {
        max_connections: MAX,
        ..Limits::default()
    });
    let mut peers: Vec<Peer> = (0..MAX).map(|_| server.connect()).collect();
    peers.iter_mut().for_each(Peer::assert_echo);
    let mut surplus: Vec<Peer> = (0..20).map(|_| server.connect()).collect();
    for peer in &mut surplus {
        // What it has sent already must not reset the answer away.
        let _ = peer.0.write_all(&request("echo", 1, &[0; 10_000]));
        let (head, _) = peer.receive().expect("an error frame");
        assert_eq!(head.error, Some(Code::Busy));
        assert!(head.retry_after_ms.is_some());
        peer.assert_closed();
    }
    peers.iter_mut().for_each(Peer::assert_echo);
    drop((surplus, peers.pop()));
    // The place is free as soon as its thread has ended.
    for _ in 0..PATIENCE.as_millis() {
        let mut peer = server.connect();
        peer.send(&request("echo", 1, b""));
        if peer.receive().unwrap().0.error.is_none() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("no place became free");
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let mut server = Running::with(Limits {
        idle_timeout: SOON,
        ..Limits::default()
    });
    let mut deaf = server.connect();
    deaf.0.set_write_timeout(Some(PATIENCE)).unwrap();
    deaf.send(&request_with(&Request::new("echo", 1 << 30), b""));
    let octets = vec![0; 1 << 20];
    // Until the server has let go of it.
    while deaf.0.write_all(&octets).is_ok() {}
    server.stop();
}

#[test]
fn a_service_that_panics_ends_its_own_connection_alone() {
    let server = Running::with(Limits::default());
    let (mut unlucky, mut other) = (server.connect(), server.connect());
    other.assert_echo();
    unlucky.send(&request("panic", 1, b""));
    unlucky.assert_closed();
    other.assert_echo();
    server.connect().assert_echo();
}

#[test]
fn shutdown_finishes_what_is_in_flight_and_closes_the_rest() {
    let mut server = Running::with(Limits::default());
    let (mut idle, mut busy) = (server.connect(), server.connect());
    idle.assert_echo();
    busy.send(&request("wait", 3, b""));
    server.waiting.until(|counts| &counts.begun, 1);
    server.shutdown.request();
    idle.assert_closed();
    let mut late = server.connect();
    assert_eq!(late.receive_error(), (Code::Busy, None));
    late.assert_closed();
    server.waiting.answer();
    assert_eq!(busy.receive().unwrap().0.id, Some(3));
    busy.assert_closed();
    server.stop();
    assert!(TcpStream::connect(server.addr).is_err());
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    let mut server = Running::with(Limits {
        grace: SOON,
        ..Limits::default()
    });
    let mut busy = server.connect();
    busy.send(&request("wait", 3, b""));
    server.waiting.until(|counts| &counts.begun, 1);
    server.shutdown.request();
    assert_eq!(busy.receive_error(), (Code::Busy, Some(3)));
    busy.assert_closed();
    server.waiting.until(|counts| &counts.cancelled, 1);
    server.stop();
}

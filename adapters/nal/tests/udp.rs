//! The UDP server and client over std-embedded-nal, on loopback; the time is the tests'.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use common::{LONG, answer, frame, service};
use embedded_nal::UdpClientStack;
use serde_json::{Value, json};
use std_embedded_nal::Stack;
use unstick_core::services::Echo;
use unstick_core::{Refusal, Reply, Request, Route, Service};
use unstick_nal::{Entry, Limits, UdpClient, UdpServer, UdpSlot, std_stack};

const ZERO: Duration = Duration::ZERO;

type Server<'m, S> = UdpServer<'m, Stack, S, std_stack::Policy, 256, 1024, 512>;

/// A server, and a socket that talks to it.
fn server<S: Service>(entries: &mut [Entry<512>]) -> (Server<'_, S>, UdpSocket) {
    let policy = std_stack::Policy {
        loopback_only: true,
    };
    let slot = Box::leak(Box::new(UdpSlot::free()));
    let limits = Limits::default();
    let server = UdpServer::bind(&mut Stack, 0, policy, limits, slot, entries).unwrap();
    let peer = connect(&server);
    (server, peer)
}

fn connect<S: Service>(server: &Server<'_, S>) -> UdpSocket {
    let port = std_stack::udp_local_port(server.socket()).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(("127.0.0.1", port)).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    peer
}

/// Polls until there is nothing to do.
fn run<S: Service>(server: &mut Server<'_, S>, now: Duration, mut factory: impl FnMut() -> S) {
    // What was sent over loopback is there.
    for _ in 0..100 {
        match server.poll(&mut Stack, now, |_| factory()) {
            Ok(()) => {}
            Err(nb::Error::WouldBlock) => return,
            Err(nb::Error::Other(error)) => panic!("{error}"),
        }
    }
    panic!("it goes on and on");
}

fn receive(peer: &UdpSocket) -> (Value, Vec<u8>) {
    let mut datagram = [0; 2048];
    let len = peer.recv(&mut datagram).unwrap();
    let mut datagram = &datagram[..len];
    let answer = answer(&mut datagram);
    assert!(datagram.is_empty());
    answer
}

fn assert_silent(peer: &UdpSocket) {
    peer.set_nonblocking(true).unwrap();
    assert!(peer.recv(&mut [0; 2048]).is_err());
    peer.set_nonblocking(false).unwrap();
}

#[test]
fn echo_with_and_without_id() {
    let mut entries = [const { Entry::EMPTY }; 2];
    let (mut server, peer) = server(&mut entries);
    for header in [json!({"op": "echo"}), json!({"op": "echo", "id": 5})] {
        peer.send(&frame(&header, b"hello")).unwrap();
        run(&mut server, ZERO, service);
        let (reply, body) = receive(&peer);
        assert_eq!((&reply["id"], &body[..]), (&header["id"], &b"hello"[..]));
    }
}

#[test]
fn a_repeat_is_answered_and_not_carried_out() {
    let mut entries = [const { Entry::EMPTY }; 2];
    let (mut server, peer) = server(&mut entries);
    let request = frame(&json!({"op": "echo", "id": 5}), b"hello");
    for _ in 0..3 {
        peer.send(&request).unwrap();
        run(&mut server, ZERO, service);
        assert_eq!(receive(&peer).1, b"hello");
    }
    assert_eq!((server.stats().requests, server.stats().repeats), (1, 2));
    // The same `id` with other octets is another request.
    peer.send(&frame(&json!({"op": "echo", "id": 5}), b"again"))
        .unwrap();
    run(&mut server, ZERO, service);
    assert_eq!(receive(&peer).1, b"again");
}

#[test]
fn without_room_to_remember_new_peers_are_told_busy() {
    let mut entries = [const { Entry::EMPTY }; 2];
    let (mut server, first) = server(&mut entries);
    let (second, third) = (connect(&server), connect(&server));
    let request = frame(&json!({"op": "work", "id": 1}), b"hello");
    for peer in [&first, &second] {
        peer.send(&request).unwrap();
        run(&mut server, ZERO, Echo::<64>::new);
        assert_eq!(receive(peer).1, b"hello");
    }
    third.send(&request).unwrap();
    run(&mut server, ZERO, Echo::<64>::new);
    assert_eq!(receive(&third).0["error"], "busy");
    // Not so if it has no `id`; nor after a while; nor for who is remembered.
    third
        .send(&frame(&json!({"op": "echo"}), b"hello"))
        .unwrap();
    run(&mut server, ZERO, Echo::<64>::new);
    assert_eq!(receive(&third).1, b"hello");
    second
        .send(&frame(&json!({"op": "echo", "id": 2}), b"more"))
        .unwrap();
    run(&mut server, ZERO, Echo::<64>::new);
    assert_eq!(receive(&second).1, b"more");
    third.send(&request).unwrap();
    run(&mut server, Duration::from_secs(5), Echo::<64>::new);
    assert_eq!(receive(&third).1, b"hello");
}

#[test]
fn malformed_datagrams_are_told_so_and_harm_nobody() {
    let mut entries = [const { Entry::EMPTY }; 2];
    let (mut server, peer) = server(&mut entries);
    let long = frame(&json!({"op": "echo", "id": 9}), &[0; 1024]);
    // Whole, and as long as the buffer: one octet more than is taken.
    let header_len = frame(&json!({"op": "info", "id": 9}), &[0; 100]).len() - 100;
    let whole = frame(&json!({"op": "info", "id": 9}), &vec![0; 1024 - header_len]);
    assert_eq!(whole.len(), 1024);
    let huge = frame(&json!({"op": "echo", "id": 9}), &[0; 20_000]);
    let mut lying = frame(&json!({"op": "echo", "id": 3}), b"hello");
    lying.push(0);
    let bad: [(&[u8], &str); 9] = [
        (b"", "bad_header"),
        (b"\x1c\0", "bad_header"),
        (b"\xff\xff\xff\xff", "bad_header"),
        (b"\0\x10\0\0", "too_large"),
        (b"\x02\0\0\0{}", "bad_header"),
        (&lying, "bad_header"),
        (&long, "too_large"),
        (&whole, "too_large"),
        (&huge, "too_large"),
    ];
    for (datagram, code) in bad {
        peer.send(datagram).unwrap();
        run(&mut server, ZERO, service);
        assert_eq!(receive(&peer).0["error"], code, "{:?}", datagram.get(..20));
    }
    // An error is never answered.
    peer.send(&frame(&json!({"error": "busy"}), b"")).unwrap();
    run(&mut server, ZERO, service);
    assert_silent(&peer);
    // A reply that does not fit.
    peer.send(&frame(&json!({"op": "echo", "id": 4}), &[0; 600]))
        .unwrap();
    run(&mut server, ZERO, service);
    assert_eq!(receive(&peer).0["error"], "too_large");

    peer.send(&frame(&json!({"op": "echo"}), b"hello")).unwrap();
    run(&mut server, ZERO, service);
    assert_eq!(receive(&peer).1, b"hello");
}

/// Says "not yet" `waits` times before each of its frames of `LEN` octets.
struct Slow {
    waits: u32,
    waited: u32,
    frames: u32,
    left: usize,
}

const LEN: usize = 100;

impl Slow {
    fn new(waits: u32, frames: u32) -> Self {
        Self {
            waits,
            waited: 0,
            frames,
            left: 0,
        }
    }
}

impl Service for Slow {
    fn begin(&mut self, _: &Request) -> Result<(), Refusal> {
        Ok(())
    }
    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        Ok(octets.len())
    }
    fn end(&mut self) -> Result<(), Refusal> {
        Ok(())
    }
    fn reply(&mut self, _: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        if self.waited < self.waits {
            self.waited += 1;
            return Poll::Pending;
        }
        self.waited = 0;
        self.frames -= 1;
        self.left = LEN;
        let mut reply = Reply::new(LEN as u64);
        reply.more = self.frames > 0;
        Poll::Ready(Ok(reply))
    }
    fn fill(&mut self, _: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        let len = out.len().min(self.left);
        out[..len].fill(b'x');
        self.left -= len;
        Poll::Ready(Ok(len))
    }
}

impl Route for Slow {
    fn serves(&self, _: &str) -> bool {
        true
    }
}

#[test]
fn who_comes_while_a_service_waits_is_told_busy() {
    let mut entries = [const { Entry::EMPTY }; 4];
    let (mut server, first) = server(&mut entries);
    let second = connect(&server);
    let slow = || Slow::new(20, 2);
    let request = frame(&json!({"op": "any", "id": 1}), b"hello");
    first.send(&request).unwrap();
    assert!(server.poll(&mut Stack, ZERO, |_| slow()).is_ok());
    assert!(!server.is_idle());
    second.send(&request).unwrap();
    // A repeat of what is being carried out has no answer yet.
    first.send(&request).unwrap();
    run(&mut server, ZERO, slow);
    assert_eq!(receive(&second).0["error"], "busy");
    for _ in 0..100 {
        let _ = server.poll(&mut Stack, ZERO, |_| slow());
    }
    for (offset, more) in [(0, true), (100, false)] {
        let (header, body) = receive(&first);
        assert_eq!(header["offset"], offset);
        assert_eq!((header["more"] == true, body.len()), (more, LEN));
    }
    assert!(server.is_idle());
    assert_silent(&first);
    // All of it comes again.
    first.send(&request).unwrap();
    run(&mut server, ZERO, slow);
    assert_eq!(receive(&first).0["offset"], 0);
    assert_eq!(receive(&first).0["offset"], 100);
    // `busy` was final for that `id`.
    second.send(&request).unwrap();
    run(&mut server, ZERO, slow);
    assert_eq!(receive(&second).0["error"], "busy");
    assert_eq!(server.stats().requests, 1);
}

#[test]
fn a_service_that_waits_for_ever_is_given_up() {
    let mut entries = [const { Entry::EMPTY }; 4];
    let (mut server, peer) = server(&mut entries);
    let slow = || Slow::new(u32::MAX, 1);
    let request = frame(&json!({"op": "any", "id": 1, "timeout_ms": 500}), b"");
    peer.send(&request).unwrap();
    run(&mut server, ZERO, slow);
    assert_eq!(server.next_deadline(), Some(Duration::from_millis(500)));
    run(&mut server, Duration::from_millis(500), slow);
    assert_eq!(receive(&peer).0["error"], "deadline");
    assert!(server.is_idle() && server.next_deadline().is_none());

    let request = frame(&json!({"op": "any", "id": 2}), b"");
    peer.send(&request).unwrap();
    run(&mut server, ZERO, slow);
    server.stop(Duration::from_secs(1));
    run(&mut server, Duration::from_secs(1), slow);
    assert_eq!(receive(&peer).0["error"], "busy");
}

#[test]
fn a_reply_that_cannot_be_kept_ends_with_an_error() {
    let mut entries = [const { Entry::EMPTY }; 4];
    let (mut server, peer) = server(&mut entries);
    let slow = || Slow::new(0, 20);
    let request = frame(&json!({"op": "any", "id": 1}), b"");
    for _ in 0..2 {
        peer.send(&request).unwrap();
        run(&mut server, ZERO, slow);
        let mut offset = 0;
        loop {
            let (header, body) = receive(&peer);
            assert_eq!(header["offset"], offset);
            offset += body.len();
            if header["error"] == "too_large" {
                break;
            }
        }
        assert!(offset > 0);
    }
    assert_eq!(server.stats().requests, 1);
    // Without `id` nothing is kept.
    peer.send(&frame(&json!({"op": "any"}), b"")).unwrap();
    run(&mut server, ZERO, slow);
    for number in 0..20 {
        assert_eq!(receive(&peer).0["offset"], number * LEN);
    }
}

#[test]
fn the_client_asks_again_until_it_knows() {
    let lossy = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote: SocketAddr = lossy.local_addr().unwrap();
    let answering = thread::spawn(move || {
        let mut datagram = [0; 1024];
        let (len, _) = lossy.recv_from(&mut datagram).unwrap();
        let first = datagram[..len].to_vec();
        // The first is lost; the second is answered, after something stale and something out of order.
        let (len, peer) = lossy.recv_from(&mut datagram).unwrap();
        assert_eq!(first, &datagram[..len]);
        for (header, body) in [
            (json!({"id": 6}), "stale"),
            (json!({"id": 7, "offset": 3}), "two"),
            (json!({"id": 7, "offset": 0, "more": true}), "one"),
            (json!({"id": 7, "offset": 0, "more": true}), "one"),
            (json!({"id": 7, "offset": 3}), "two"),
        ] {
            lossy
                .send_to(&frame(&header, body.as_bytes()), peer)
                .unwrap();
        }
    });
    let mut stack = Stack;
    let socket = UdpClientStack::socket(&mut stack).unwrap();
    let policy = std_stack::Policy::default();
    let mut client =
        UdpClient::<_, _, 256, 512>::connect(&mut stack, socket, remote, policy, 7).unwrap();
    client
        .request(Request::new("echo", 0), b"hello", ZERO, LONG)
        .unwrap();
    let (mut now, mut whole) = (ZERO, Vec::new());
    loop {
        match client.poll(&mut stack, now, |_, body| whole.extend_from_slice(body)) {
            Ok(true) => break,
            Ok(false) => {}
            Err(nb::Error::WouldBlock) => {
                now += Duration::from_millis(20);
                thread::sleep(Duration::from_millis(1));
            }
            Err(nb::Error::Other(error)) => panic!("{error}"),
        }
    }
    assert_eq!(whole, b"onetwo");
    answering.join().unwrap();

    client
        .request(Request::new("echo", 0), b"hello", now, now + LONG)
        .unwrap();
    let late = client.poll(&mut stack, now + LONG, |_, _| {});
    assert!(matches!(late, Err(nb::Error::Other(_))));
}

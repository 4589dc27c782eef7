//! The server, with a peer that is programmed by hand.

use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use unstick_core::Route;
use unstick_core::services::{Echo, Info};
use unstick_std::udp::{Error, MAX_DATAGRAM};

use super::*;

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

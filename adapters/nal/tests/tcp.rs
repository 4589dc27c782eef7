//! The server over std-embedded-nal: real sockets, on loopback.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, SOON, Served, answer, assert_ended, frame, limits, serve};
use serde_json::json;

#[test]
fn echo() {
    let server = serve::<4>(limits());
    let mut peer = server.connect();
    for body in ["", "hello", "hello 世界"] {
        peer.write_all(&frame(&json!({"op": "echo", "id": 7}), body.as_bytes()))
            .unwrap();
        let (header, echoed) = answer(&mut peer);
        assert_eq!(header["id"], 7);
        assert_eq!(echoed, body.as_bytes());
    }
    drop(peer);
    let stats = server.stop();
    assert_eq!((stats.accepted, stats.requests, stats.faults), (1, 3, 0));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = serve::<4>(limits());
    let mut peer = server.connect();
    let requests: Vec<u8> = (0..1000)
        .flat_map(|id| frame(&json!({"op": "echo", "id": id}), b"again"))
        .collect();
    let mut sender = peer.try_clone().unwrap();
    let sender = thread::spawn(move || sender.write_all(&requests));
    for id in 0..1000 {
        let (header, body) = answer(&mut peer);
        assert_eq!(
            (header["id"].as_u64(), &body[..]),
            (Some(id), &b"again"[..])
        );
    }
    sender.join().unwrap().unwrap();
}

#[test]
fn a_body_far_larger_than_the_buffers_streams_through() {
    const LEN: usize = 8 * 1024 * 1024;
    let server = serve::<4>(limits());
    let mut peer = server.connect();
    let body: Vec<u8> = (0..LEN).map(|at| ((at * 31) >> 3) as u8).collect();
    let request = frame(&json!({"op": "echo"}), &body);
    let mut sender = peer.try_clone().unwrap();
    let sender = thread::spawn(move || sender.write_all(&request));
    assert!(answer(&mut peer).1 == body);
    sender.join().unwrap().unwrap();
}

#[test]
fn silent_clients_do_not_freeze_the_others() {
    let server = serve::<4>(limits());
    let silent = server.connect();
    let mut halfway = server.connect();
    halfway.write_all(b"\x1c\0\0").unwrap();
    let mut peer = server.connect();
    let begun = Instant::now();
    for _ in 0..100 {
        peer.write_all(&frame(&json!({"op": "echo"}), b"hello"))
            .unwrap();
        assert_eq!(answer(&mut peer).1, b"hello");
    }
    assert!(begun.elapsed() < SOON);
    drop(silent);
}

#[test]
fn who_is_one_too_many_is_told_busy() {
    let server = serve::<2>(limits());
    let mut served = [server.connect(), server.connect()];
    for peer in &mut served {
        peer.write_all(&frame(&json!({"op": "echo"}), b"hello"))
            .unwrap();
        assert_eq!(answer(peer).1, b"hello");
    }
    for _ in 0..5 {
        let mut surplus = server.connect();
        let _ = surplus.write_all(&frame(&json!({"op": "echo"}), b"hello"));
        let (header, _) = answer(&mut surplus);
        assert_eq!(header["error"], "busy");
        assert!(header["retry_after_ms"].as_u64() > Some(0));
        assert_ended(&mut surplus);
    }
    // Even if they do not go away by themselves.
    let mut stubborn: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for peer in &mut stubborn {
        assert_eq!(answer(peer).0["error"], "busy");
    }
    for peer in &mut served {
        peer.write_all(&frame(&json!({"op": "echo"}), b"again"))
            .unwrap();
        assert_eq!(answer(peer).1, b"again");
    }
    drop(served);
    server.echoes_again();
    assert_eq!(server.stop().refused, 10);
}

#[test]
fn a_silent_client_is_evicted_and_its_slot_serves_again() {
    let mut limits = limits();
    limits.timeouts.idle = Duration::from_millis(200);
    limits.timeouts.header = Duration::from_millis(100);
    let server = serve::<2>(limits);
    let (mut silent, mut slow) = (server.connect(), server.connect());
    slow.write_all(b"\x1c\0\0").unwrap();
    assert_ended(&mut silent);
    assert_eq!(answer(&mut slow).0["error"], "deadline");
    assert_ended(&mut slow);
    server.echoes_again();
}

#[test]
fn bad_input_is_told_why_although_more_was_sent() {
    let server = serve::<8>(limits());
    let bad: [(&[u8], &str); 6] = [
        (b"\xff\xff\xff\xff", "bad_header"),
        (b"\0\0\0\0", "bad_header"),
        (b"\xff\xff\xff\x7f", "too_large"),
        (b"\x02\0\0\0[]", "bad_header"),
        (b"\x02\0\0\0{}", "bad_header"),
        (b"\x05\0\0\0{\xff\xfe}}", "bad_header"),
    ];
    for (octets, code) in bad {
        let mut peer = server.connect();
        peer.write_all(octets).unwrap();
        // More than the kernel takes: the server reads on, or this fails.
        let _ = peer.write_all(&vec![0; 512 * 1024]);
        assert_eq!(answer(&mut peer).0["error"], code);
        let _ = peer.shutdown(Shutdown::Write);
        assert_ended(&mut peer);
    }
    assert_eq!(server.stop().faults, 6);
}

#[test]
fn a_refused_request_costs_its_body_not_the_connection() {
    let server = serve::<4>(limits());
    let mut peer = server.connect();
    peer.write_all(&frame(&json!({"op": "fly", "id": 1}), &[0; 10_000]))
        .unwrap();
    peer.write_all(&frame(&json!({"op": "echo", "id": 2}), b"hello"))
        .unwrap();
    assert_eq!(answer(&mut peer).0["error"], "unknown_op");
    assert_eq!(answer(&mut peer).1, b"hello");
}

#[test]
fn a_stop_lets_go_of_who_is_idle_and_gives_up_who_is_not() {
    let server = serve::<4>(limits());
    let (mut idle, mut busy) = (server.connect(), server.connect());
    idle.write_all(&frame(&json!({"op": "echo"}), b"hello"))
        .unwrap();
    assert_eq!(answer(&mut idle).1, b"hello");
    let request = frame(&json!({"op": "fly"}), b"hello");
    busy.write_all(&request[..request.len() - 1]).unwrap();
    assert_eq!(answer(&mut busy).0["error"], "unknown_op");
    let begun = Instant::now();
    let stopped = thread::spawn(move || server.stop());
    assert_ended(&mut idle);
    // It is answered already, so it is cut off without a word.
    assert_ended(&mut busy);
    drop((idle, busy));
    stopped.join().unwrap();
    assert!(begun.elapsed() < LONG);
}

#[test]
fn after_ten_thousand_requests_good_and_bad_no_slot_is_lost() {
    const CLIENTS: usize = 6;
    const REQUESTS: usize = 10_000;
    let server = serve::<4>(limits());
    let client = |number: usize| {
        let (mut done, mut kind) = (0, number);
        while done < REQUESTS / CLIENTS {
            let mut peer = server.connect();
            let (goods, bad) = (kind % 40, kind % 5);
            kind += 7;
            for _ in 0..goods {
                let body = [b'x'; 300];
                let request = frame(&json!({"op": "echo"}), &body[..kind % 300]);
                if peer.write_all(&request).is_err() {
                    break;
                }
                let Some((header, echoed)) = common::try_answer(&mut peer) else {
                    break;
                };
                if header["error"] == "busy" {
                    thread::sleep(Duration::from_millis(2));
                    break;
                }
                assert_eq!(echoed.len(), kind % 300);
                done += 1;
            }
            done += 1;
            end(peer, bad);
        }
    };
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let client = &client;
            scope.spawn(move || client(number));
        }
    });
    server.is_idle_soon();
    // Every slot serves, all at once.
    let mut peers: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.write_all(&frame(&json!({"op": "echo"}), b"hello"))
            .unwrap();
        assert_eq!(answer(peer).1, b"hello");
    }
    drop(peers);
    server.is_idle_soon();
}

/// Ends a connection in one way or another.
fn end(mut peer: TcpStream, how: usize) {
    match how {
        // Cut inside a header; inside a body; bad input, its answer never read; with the answer read.
        1 => drop(peer.write_all(b"\x1c\0\0\0{\"op")),
        2 => {
            let request = frame(&json!({"op": "echo"}), &[0; 5000]);
            let _ = peer.write_all(&request[..3000]);
        }
        3 => drop(peer.write_all(b"\xff\xff\xff\xffmore")),
        4 => {
            let _ = peer.write_all(b"\0\0\0\0");
            let _ = peer.read(&mut [0; 512]);
        }
        _ => {}
    }
}

#[test]
fn a_policy_can_keep_to_loopback() {
    let server: Served = serve::<2>(limits());
    // Over loopback it comes as `::ffff:127.0.0.1`, and is served.
    server.echoes_again();
    assert_eq!(server.stop().turned, 0);
}

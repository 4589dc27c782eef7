//! The client, with a server that is programmed by hand.

use unstick_std::udp::Error;

use super::*;

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

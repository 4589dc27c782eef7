//! One connection: the contract of each call.

mod common;

use common::{PORT, Pair, close, octets, receive, send, server_at};
use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind, TcpFullStack, nb};
use unstick_smoltcp::Error;

const NOTHING: nb::Error<Error> = nb::Error::WouldBlock;
const CLOSED: nb::Error<Error> = nb::Error::Other(Error::Closed);
const INVALID: nb::Error<Error> = nb::Error::Other(Error::InvalidState);

#[test]
fn octets_go_both_ways() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    let (mut client, mut server) = pair.connected(&mut listener);
    let (up, down) = (octets(100_000, 1), octets(70_000, 2));
    let (mut sent_up, mut sent_down, mut got_up, mut got_down) = (0, 0, vec![], vec![]);
    pair.until(60, |pair| {
        if let Ok(len) = send(&mut pair.client, &mut client, &up[sent_up..]) {
            sent_up += len;
        }
        if let Ok(len) = send(&mut pair.server, &mut server, &down[sent_down..]) {
            sent_down += len;
        }
        if let Ok(some) = receive(&mut pair.server, &mut server, 700) {
            got_up.extend(some);
        }
        if let Ok(some) = receive(&mut pair.client, &mut client, 900) {
            got_down.extend(some);
        }
        got_up.len() >= up.len() && got_down.len() >= down.len()
    });
    assert!(got_up == up && got_down == down);
    close(&mut pair.client, client);
    close(&mut pair.server, server);
    pair.assert_at_rest(4);
}

#[test]
fn nothing_there_would_block() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    pair.poll();
    assert_eq!(pair.server.accept(&mut listener).unwrap_err(), NOTHING);

    let mut client = TcpClientStack::socket(&mut pair.client).unwrap();
    for _ in 0..3 {
        let outcome =
            TcpClientStack::connect(&mut pair.client, &mut client, server_at(PORT)).unwrap_err();
        assert_eq!(outcome, NOTHING, "nothing has been sent yet");
    }
    assert_eq!(
        send(&mut pair.client, &mut client, b"x").unwrap_err(),
        NOTHING
    );
    assert_eq!(
        receive(&mut pair.client, &mut client, 9).unwrap_err(),
        NOTHING
    );
    let elsewhere = TcpClientStack::connect(&mut pair.client, &mut client, server_at(PORT + 1));
    assert_eq!(elsewhere.unwrap_err(), INVALID);
    pair.poll();
    for _ in 0..2 {
        TcpClientStack::connect(&mut pair.client, &mut client, server_at(PORT)).unwrap();
    }
    let (mut server, _) = pair.server.accept(&mut listener).unwrap();
    assert_eq!(
        receive(&mut pair.server, &mut server, 9).unwrap_err(),
        NOTHING
    );

    // Nobody reads: two buffers of 2048 octets, and no more.
    let mut taken = 0;
    loop {
        match send(&mut pair.client, &mut client, &[7; 500]) {
            Ok(len) => taken += len,
            Err(error) => {
                assert_eq!(error, NOTHING);
                pair.poll();
                if send(&mut pair.client, &mut client, &[7]).is_err() {
                    break;
                }
                taken += 1;
            }
        }
    }
    assert_eq!(taken, 4096);
    assert_eq!(
        send(&mut pair.client, &mut client, &[]),
        Ok(0),
        "nothing always fits"
    );
    assert_eq!(receive(&mut pair.server, &mut server, 0), Ok(vec![]));
    assert_eq!(
        receive(&mut pair.server, &mut server, 9),
        Ok(vec![7; 9]),
        "and loses nothing"
    );
}

#[test]
fn the_clients_stream_ends_first() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    let (mut client, mut server) = pair.connected(&mut listener);
    send(&mut pair.client, &mut client, b"question").unwrap();
    pair.client.shutdown(&mut client).unwrap();
    assert_eq!(
        send(&mut pair.client, &mut client, b"x").unwrap_err(),
        CLOSED
    );
    pair.poll();
    assert_eq!(receive(&mut pair.server, &mut server, 4).unwrap(), b"ques");
    assert_eq!(receive(&mut pair.server, &mut server, 9).unwrap(), b"tion");
    for _ in 0..3 {
        assert_eq!(receive(&mut pair.server, &mut server, 9).unwrap(), b"");
    }
    // The other direction works on, for as long as it takes.
    pair.wait(120_000);
    assert_eq!(
        receive(&mut pair.client, &mut client, 9).unwrap_err(),
        NOTHING
    );
    send(&mut pair.server, &mut server, b"answer").unwrap();
    pair.poll();
    assert_eq!(
        receive(&mut pair.client, &mut client, 9).unwrap(),
        b"answer"
    );
    close(&mut pair.server, server);
    pair.poll();
    assert_eq!(receive(&mut pair.client, &mut client, 9).unwrap(), b"");
    // smoltcp has forgotten it when TIME-WAIT is over.
    pair.wait(30_000);
    assert_eq!(receive(&mut pair.client, &mut client, 9).unwrap(), b"");
    assert_eq!(
        send(&mut pair.client, &mut client, b"x").unwrap_err(),
        CLOSED
    );
    close(&mut pair.client, client);
    pair.assert_at_rest(4);
}

#[test]
fn the_servers_stream_ends_first() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    let (mut client, mut server) = pair.connected(&mut listener);
    send(&mut pair.server, &mut server, b"all there is").unwrap();
    pair.server.shutdown(&mut server).unwrap();
    pair.poll();
    assert_eq!(
        receive(&mut pair.client, &mut client, 99).unwrap(),
        b"all there is"
    );
    assert_eq!(receive(&mut pair.client, &mut client, 99).unwrap(), b"");
    send(&mut pair.client, &mut client, b"thanks").unwrap();
    close(&mut pair.client, client);
    pair.poll();
    assert_eq!(
        receive(&mut pair.server, &mut server, 99).unwrap(),
        b"thanks"
    );
    assert_eq!(receive(&mut pair.server, &mut server, 99).unwrap(), b"");
    close(&mut pair.server, server);
    pair.assert_at_rest(4);
}

#[test]
fn a_close_delivers_what_was_sent() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    let (mut client, mut server) = pair.connected(&mut listener);
    let sent = octets(2048, 3);
    assert_eq!(send(&mut pair.server, &mut server, &sent), Ok(2048));
    // Unread input does not turn the goodbye into a reset, and what comes later does not hold it up.
    send(&mut pair.client, &mut client, &[0; 2048]).unwrap();
    pair.poll();
    close(&mut pair.server, server);
    pair.poll();
    let mut got = vec![];
    pair.until(10, |pair| {
        let _ = send(&mut pair.client, &mut client, &[0; 999]);
        let some = receive(&mut pair.client, &mut client, 300).unwrap_or_default();
        let end = some.is_empty() && !got.is_empty();
        got.extend(some);
        end
    });
    assert_eq!(got, sent);
    close(&mut pair.client, client);
    pair.assert_at_rest(4);
}

#[test]
fn a_close_is_over_in_bounded_time() {
    for reads in [false, true] {
        let mut pair = Pair::new();
        let mut listener = pair.listen(PORT);
        let (mut client, mut server) = pair.connected(&mut listener);
        send(&mut pair.server, &mut server, &[1; 2000]).unwrap();
        pair.poll();
        send(&mut pair.server, &mut server, &[2; 2000]).unwrap();
        close(&mut pair.server, server);
        // A peer that reads nothing, or reads and never closes.
        pair.wait(15_000);
        if reads {
            receive(&mut pair.client, &mut client, 9999).unwrap();
        }
        assert_eq!(pair.server.usage().closing, 1);
        pair.wait(6_000);
        assert_eq!(pair.server.usage().listening, 4);
        // It is told: a reset.
        assert_eq!(
            send(&mut pair.client, &mut client, b"x").unwrap_err(),
            CLOSED
        );
        close(&mut pair.client, client);
        pair.assert_at_rest(4);
    }
}

#[test]
fn a_vanished_peer_is_forgotten() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    let (client, mut server) = pair.connected(&mut listener);
    send(&mut pair.server, &mut server, &[1; 2000]).unwrap();
    close(&mut pair.server, server);
    let start = pair.now;
    while pair.server.usage().listening < 4 {
        pair.server.poll(pair.now);
        pair.to_client.borrow_mut().clear();
        if let Some(at) = pair.server.poll_at(pair.now) {
            pair.now = at.max(pair.now + smoltcp::time::Duration::from_millis(1));
        }
    }
    assert_eq!((pair.now - start).secs(), 20);
    // When it comes back it learns that the connection is gone.
    let mut client = client;
    send(&mut pair.client, &mut client, b"anybody?").unwrap();
    pair.poll();
    assert_eq!(
        receive(&mut pair.client, &mut client, 9).unwrap_err(),
        CLOSED
    );
    close(&mut pair.client, client);
    pair.assert_at_rest(4);
}

#[test]
fn a_reset_is_closed_after_what_had_arrived() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    let mut client = pair.connect().unwrap();
    send(&mut pair.client, &mut client, b"x").unwrap();
    pair.poll();
    // A listener that is closed resets those that nobody has accepted.
    close(&mut pair.server, listener);
    pair.poll();
    let error = receive(&mut pair.client, &mut client, 9).unwrap_err();
    assert_eq!(error, CLOSED);
    assert_eq!(Error::Closed.kind(), TcpErrorKind::PipeClosed);
    assert_eq!(
        send(&mut pair.client, &mut client, b"x").unwrap_err(),
        CLOSED
    );
    let again = TcpClientStack::connect(&mut pair.client, &mut client, server_at(PORT));
    assert_eq!(again.unwrap_err(), CLOSED);
    close(&mut pair.client, client);
    listener = pair.listen(PORT);

    let (mut client, mut server) = pair.connected(&mut listener);
    send(&mut pair.server, &mut server, b"last words").unwrap();
    pair.poll();
    send(&mut pair.server, &mut server, &[0; 2048]).unwrap();
    send(&mut pair.client, &mut client, &[0; 2048]).unwrap();
    close(&mut pair.server, server);
    pair.to_client.borrow_mut().clear();
    for _ in 0..30 {
        // The client hears nothing until the server has given up.
        pair.now += smoltcp::time::Duration::from_secs(1);
        pair.server.poll(pair.now);
        pair.to_client.borrow_mut().clear();
    }
    pair.wait(100_000);
    assert_eq!(
        receive(&mut pair.client, &mut client, 99).unwrap(),
        b"last words"
    );
    assert_eq!(
        receive(&mut pair.client, &mut client, 99).unwrap_err(),
        CLOSED
    );
    close(&mut pair.client, client);
    pair.assert_at_rest(4);
}

#[test]
fn connecting_fails_and_can_be_tried_again() {
    let mut pair = Pair::new();
    let mut socket = TcpClientStack::socket(&mut pair.client).unwrap();
    for (remote, error) in [
        ("0.0.0.0:1", Error::Unaddressable),
        ("192.0.2.1:0", Error::Unaddressable),
    ] {
        let outcome =
            TcpClientStack::connect(&mut pair.client, &mut socket, remote.parse().unwrap());
        assert_eq!(outcome, Err(nb::Error::Other(error)), "{remote}");
    }
    assert_eq!(pair.client.usage().open, 0);
    let mut connect = |pair: &mut Pair, remote: &str| {
        let remote = remote.parse().unwrap();
        loop {
            match TcpClientStack::connect(&mut pair.client, &mut socket, remote) {
                Err(nb::Error::WouldBlock) => pair.step(),
                Err(nb::Error::Other(error)) => return Some(error),
                Ok(()) => return None,
            }
        }
    };
    assert_eq!(connect(&mut pair, "192.0.2.1:8896"), Some(Error::Refused));
    let start = pair.now;
    assert_eq!(connect(&mut pair, "192.0.2.99:8896"), Some(Error::TimedOut));
    assert_eq!((pair.now - start).secs(), 30);
    assert_eq!(Error::TimedOut.kind(), TcpErrorKind::Other);
    pair.poll();
    assert_eq!(pair.client.usage().free, 24);
    let _listener = pair.listen(PORT);
    assert_eq!(
        connect(&mut pair, "[::ffff:192.0.2.1]:8896"),
        None,
        "a mapped address"
    );
}

#[test]
fn ports() {
    let mut pair = Pair::new();
    let listener = pair.listen(PORT);
    let server = &mut pair.server;
    let mut other = TcpClientStack::socket(server).unwrap();
    assert_eq!(server.listen(&mut other).unwrap_err(), Error::InvalidState);
    assert_eq!(
        TcpFullStack::bind(server, &mut other, PORT).unwrap_err(),
        Error::PortInUse
    );
    assert_eq!(server.tcp_port(&other), None);
    TcpFullStack::bind(server, &mut other, 0).unwrap();
    assert_eq!(server.tcp_port(&other), Some(49152));
    assert_eq!(
        TcpFullStack::bind(server, &mut other, 5).unwrap_err(),
        Error::InvalidState
    );
    server.listen(&mut other).unwrap();
    server.listen(&mut other).unwrap();
    assert_eq!(receive(server, &mut other, 9).unwrap_err(), INVALID);
    assert_eq!(send(server, &mut other, b"x").unwrap_err(), INVALID);
    let itself = TcpClientStack::connect(server, &mut other, common::client_at(9));
    assert_eq!(itself.unwrap_err(), INVALID);
    assert_eq!(
        server.shutdown(&mut other).unwrap_err(),
        Error::InvalidState
    );
    close(server, other);
    close(server, listener);
    let _listener = pair.listen(PORT);

    // As many as there are sockets, from as many ports; those of one that is bound included.
    let mut sockets = vec![];
    let mut bound = TcpClientStack::socket(&mut pair.client).unwrap();
    TcpFullStack::bind(&mut pair.client, &mut bound, 49154).unwrap();
    sockets.push(bound);
    for _ in 0..23 {
        sockets.push(TcpClientStack::socket(&mut pair.client).unwrap());
    }
    for socket in &mut sockets {
        let outcome = TcpClientStack::connect(&mut pair.client, socket, server_at(PORT));
        assert_eq!(outcome.unwrap_err(), NOTHING);
    }
    let mut ports: Vec<_> = sockets.iter().map(|it| pair.client.tcp_port(it)).collect();
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 24);
    let mut more = TcpClientStack::socket(&mut pair.client).unwrap();
    let outcome = TcpClientStack::connect(&mut pair.client, &mut more, server_at(PORT));
    assert_eq!(outcome.unwrap_err(), nb::Error::Other(Error::NoSocket));
    TcpFullStack::bind(&mut pair.client, &mut more, 49154).unwrap();
    let outcome = TcpClientStack::connect(&mut pair.client, &mut more, server_at(PORT));
    assert_eq!(outcome.unwrap_err(), nb::Error::Other(Error::PortInUse));
    for socket in sockets {
        close(&mut pair.client, socket);
    }
    pair.assert_at_rest(4);
}

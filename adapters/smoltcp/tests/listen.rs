//! Listening: bursts, handshakes that are never completed, sockets that are used again.

mod common;

use common::raw::Raw;
use common::{PORT, Pair, close, connecting, octets, outcomes, receive, send, server_at};
use embedded_nal::{TcpClientStack, TcpFullStack, nb};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::TcpControl;
use unstick_smoltcp::Error;

#[test]
fn a_burst_is_served_up_to_the_sockets_given() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    for burst in [1, 4, 5, 16, 24, 4] {
        let sockets = connecting(&mut pair.client, burst);
        pair.poll();
        let (connected, refused) = outcomes(&mut pair.client, sockets);
        assert_eq!(connected.len(), burst.min(4));
        assert_eq!(refused, burst.saturating_sub(4));
        let mut served = vec![];
        while let Ok((socket, _)) = pair.server.accept(&mut listener) {
            served.push(socket);
        }
        assert_eq!(served.len(), connected.len());
        for socket in served {
            // The server ends it, and is in TIME-WAIT when the next burst comes.
            close(&mut pair.server, socket);
        }
        pair.poll();
        for socket in connected {
            close(&mut pair.client, socket);
        }
        pair.poll();
        // The sockets are ready for the next burst at once.
        let usage = pair.server.usage();
        assert_eq!(usage.listening + usage.time_wait, 4, "{usage:?}");
        assert!(usage.listening > 0);
    }
    pair.assert_at_rest(4);
}

#[test]
fn peers_are_accepted_in_their_order() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    let mut held = vec![];
    for _ in 0..30 {
        let mut order = vec![];
        for _ in 0..3 {
            let socket = pair.connect().unwrap();
            order.push(pair.client.tcp_port(&socket).unwrap());
            held.push(socket);
        }
        for port in order {
            let (socket, peer) = pair.server.accept(&mut listener).unwrap();
            assert_eq!(peer.port(), port);
            close(&mut pair.server, socket);
        }
        for socket in held.drain(..) {
            close(&mut pair.client, socket);
        }
        pair.poll();
    }
    pair.assert_at_rest(4);
}

#[test]
fn thousands_in_a_row() {
    let mut pair = Pair::new();
    let mut listener = pair.listen(PORT);
    for round in 0..5000_u32 {
        let (mut client, mut server) = pair.connected(&mut listener);
        send(&mut pair.client, &mut client, &round.to_le_bytes()).unwrap();
        pair.poll();
        let got = receive(&mut pair.server, &mut server, 9).unwrap();
        assert_eq!(got, round.to_le_bytes());
        // In turn: one end first, the other end first, both at once.
        if round % 3 == 0 {
            close(&mut pair.client, client);
            pair.poll();
            close(&mut pair.server, server);
        } else {
            close(&mut pair.server, server);
            if round % 3 == 1 {
                pair.poll();
            }
            close(&mut pair.client, client);
        }
        pair.poll();
        pair.now += Duration::from_millis(1);
    }
    pair.assert_at_rest(4);
}

#[test]
fn two_ports_share_the_sockets() {
    let mut pair = Pair::new();
    let mut first = pair.listen(PORT);
    assert_eq!(pair.server.usage().listening, 4);
    let second = pair.listen(80);
    // One is spared for the second, the others follow as they become free.
    assert_eq!(pair.server.usage().listening, 4);
    let mut web = TcpClientStack::socket(&mut pair.client).unwrap();
    let _ = TcpClientStack::connect(&mut pair.client, &mut web, server_at(80));
    pair.poll();
    TcpClientStack::connect(&mut pair.client, &mut web, server_at(80)).unwrap();
    let (client, server) = pair.connected(&mut first);
    assert_eq!(
        pair.server.usage().listening,
        2,
        "one listens on each of the ports"
    );
    close(&mut pair.server, second);
    pair.poll();
    assert_eq!(pair.server.usage().listening, 3);
    assert_eq!(
        receive(&mut pair.client, &mut web, 9),
        Err(nb::Error::Other(Error::Closed))
    );
    close(&mut pair.client, web);
    close(&mut pair.client, client);
    close(&mut pair.server, server);
    pair.assert_at_rest(4);
}

#[test]
fn a_connection_of_our_own_takes_a_socket_that_listens() {
    let mut pair = Pair::new();
    let _here = pair.listen(PORT);
    let mut there = common::listen(&mut pair.client, PORT);
    let mut ours = vec![];
    for _ in 0..4 {
        let mut socket = TcpClientStack::socket(&mut pair.server).unwrap();
        let remote = common::client_at(PORT);
        let _ = TcpClientStack::connect(&mut pair.server, &mut socket, remote);
        pair.poll();
        TcpClientStack::connect(&mut pair.server, &mut socket, remote).unwrap();
        ours.push(socket);
    }
    assert_eq!(pair.server.usage().listening, 0);
    assert_eq!(pair.connect().unwrap_err(), Error::Refused);
    for socket in ours {
        close(&mut pair.server, socket);
        let (socket, _) = pair.client.accept(&mut there).unwrap();
        close(&mut pair.client, socket);
    }
    pair.wait(1000);
    let socket = pair.connect().unwrap();
    close(&mut pair.client, socket);
    close(&mut pair.client, there);
}

#[test]
fn handshakes_that_are_never_completed() {
    let mut raw = Raw::new();
    let mut listener = common::listen(&mut raw.server, PORT);
    for round in 0..50 {
        for port in 1..=4 {
            raw.say(1000 + port + round, TcpControl::Syn, 5, None, &[]);
        }
        raw.listen();
        assert_eq!(raw.server.usage().handshake, 4);
        raw.say(999, TcpControl::Syn, 5, None, &[]);
        let said = raw.listen();
        assert_eq!(
            (said[0].0, said[0].1),
            (999, TcpControl::Rst),
            "no socket is left"
        );
        raw.wait(4_990);
        assert_eq!(raw.server.usage().handshake, 4);
        raw.wait(10);
        assert_eq!(raw.server.usage().listening, 4);
    }
    // One that a reset ends is over at once.
    raw.say(2000, TcpControl::Syn, 5, None, &[]);
    raw.listen();
    raw.say(2000, TcpControl::Rst, 6, None, &[]);
    raw.listen();
    assert_eq!(raw.server.usage().listening, 4);
    raw.shake(3000);
    let (socket, peer) = raw.server.accept(&mut listener).unwrap();
    assert_eq!(peer, common::client_at(3000));
    close(&mut raw.server, socket);
}

#[test]
fn spoofed_neighbors_hold_nothing_for_long() {
    let mut raw = Raw::new();
    let _listener = common::listen(&mut raw.server, PORT);
    raw.say(1, TcpControl::Syn, 5, None, &[]);
    raw.server.poll(raw.now);
    raw.from_server.borrow_mut().clear();
    while raw.server.usage().handshake > 0 {
        assert!(raw.now < Instant::from_secs(6));
        raw.now += Duration::from_millis(100);
        raw.server.poll(raw.now);
        raw.from_server.borrow_mut().clear();
    }
    raw.server.poll(raw.now);
    assert_eq!(raw.server.poll_at(raw.now), None);
}

#[test]
fn a_repeated_syn_does_not_disturb_a_connection() {
    let mut raw = Raw::new();
    let mut listener = common::listen(&mut raw.server, PORT);
    for order in 0..24 {
        // Four connections, one of which goes, so that a socket listens that was used before another one.
        let mut numbers = vec![];
        let mut sockets = vec![];
        for port in 0..4 {
            numbers.push(raw.shake(1000 * (order + 1) + port));
            sockets.push(Some(raw.server.accept(&mut listener).unwrap().0));
        }
        let gone = usize::from(order % 4);
        let socket = sockets[gone].take().unwrap();
        close(&mut raw.server, socket);
        raw.listen();
        let port = 1000 * (order + 1) + order % 4;
        let answer = numbers[gone] + 2;
        raw.say(port, TcpControl::Fin, 101, Some(answer), &[]);
        raw.listen();
        let usage = raw.server.usage();
        assert_eq!((usage.open, usage.listening), (3, 1), "{usage:?}");

        for (index, socket) in sockets.iter_mut().enumerate() {
            let Some(socket) = socket else { continue };
            let port = 1000 * (order + 1) + index as u16;
            raw.say(port, TcpControl::Syn, 100, None, &[]);
            raw.listen();
            assert_eq!(raw.server.usage().handshake, 0, "it is no new connection");
            raw.say(
                port,
                TcpControl::Psh,
                101,
                Some(numbers[index] + 1),
                b"still here",
            );
            raw.listen();
            assert_eq!(receive(&mut raw.server, socket, 99).unwrap(), b"still here");
        }
        for (index, socket) in sockets.into_iter().enumerate() {
            let Some(socket) = socket else { continue };
            raw.say(
                1000 * (order + 1) + index as u16,
                TcpControl::Rst,
                111,
                None,
                &[],
            );
            raw.listen();
            close(&mut raw.server, socket);
        }
        raw.wait(20_000);
        assert_eq!(raw.server.usage().listening, 4);
    }
}

#[test]
fn a_peer_may_use_its_port_again() {
    let mut raw = Raw::new();
    let mut listener = common::listen(&mut raw.server, PORT);
    for _ in 0..20 {
        let number = raw.shake(1000);
        let (socket, _) = raw.server.accept(&mut listener).unwrap();
        close(&mut raw.server, socket);
        raw.listen();
        raw.say(1000, TcpControl::Fin, 101, Some(number + 2), &[]);
        raw.listen();
        assert!(raw.server.usage().time_wait > 0);
    }
}

#[test]
fn octets_with_the_handshake_and_a_goodbye_before_the_accept() {
    let mut raw = Raw::new();
    let mut listener = common::listen(&mut raw.server, PORT);
    let number = raw.shake(1000);
    let sent = octets(1000, 4);
    raw.say(1000, TcpControl::Fin, 101, Some(number + 1), &sent);
    raw.listen();
    let (mut socket, _) = raw.server.accept(&mut listener).unwrap();
    assert_eq!(receive(&mut raw.server, &mut socket, 2000).unwrap(), sent);
    assert_eq!(receive(&mut raw.server, &mut socket, 2000).unwrap(), b"");
    // One that is reset before it is accepted was never there.
    raw.shake(1001);
    assert_eq!(raw.server.usage().waiting, 1);
    raw.say(1001, TcpControl::Rst, 101, None, &[]);
    raw.listen();
    assert_eq!(raw.server.usage().waiting, 0);
    assert_eq!(
        raw.server.accept(&mut listener).unwrap_err(),
        nb::Error::WouldBlock
    );
}

//! Datagrams: the contract of each call.

mod common;

use std::net::SocketAddr;

use common::{CLIENT, PORT, Pair, SERVER, receive_datagram as receive, server_at};
use embedded_nal::{UdpClientStack, UdpFullStack, nb};
use smoltcp::iface::PollResult;
use smoltcp::time::Duration;
use unstick_smoltcp::{Error, Settings, UdpSocket};

const NOTHING: nb::Error<Error> = nb::Error::WouldBlock;

fn socket<T: UdpClientStack<Error = Error, UdpSocket = UdpSocket>>(stack: &mut T) -> UdpSocket {
    UdpClientStack::socket(stack).unwrap()
}

fn bound(pair: &mut Pair) -> UdpSocket {
    let mut socket = socket(&mut pair.server);
    UdpFullStack::bind(&mut pair.server, &mut socket, PORT).unwrap();
    socket
}

fn connected(pair: &mut Pair) -> UdpSocket {
    let mut socket = socket(&mut pair.client);
    UdpClientStack::connect(&mut pair.client, &mut socket, server_at(PORT)).unwrap();
    socket
}

#[test]
fn a_question_and_an_answer() {
    let mut pair = Pair::new();
    let mut server = bound(&mut pair);
    let mut client = connected(&mut pair);
    assert_eq!(receive(&mut pair.server, &mut server, 9), Err(NOTHING));
    for question in [b"".as_slice(), b"one", &[7; 1472]] {
        UdpClientStack::send(&mut pair.client, &mut client, question).unwrap();
        pair.poll();
        let (got, from) = receive(&mut pair.server, &mut server, 1472).unwrap();
        assert_eq!(got, question);
        let port = pair.client.udp_port(&client).unwrap();
        assert_eq!(from, SocketAddr::new(CLIENT.into(), port));
        pair.server.send_to(&mut server, from, b"answer").unwrap();
        // From now on `send` goes there too.
        UdpClientStack::send(&mut pair.server, &mut server, b"more").unwrap();
        pair.poll();
        for answer in [b"answer".as_slice(), b"more"] {
            let (got, from) = receive(&mut pair.client, &mut client, 99).unwrap();
            assert_eq!((got.as_slice(), from), (answer, server_at(PORT)));
        }
        assert_eq!(receive(&mut pair.client, &mut client, 99), Err(NOTHING));
    }
}

#[test]
fn too_long() {
    let mut pair = Pair::new();
    let mut server = bound(&mut pair);
    let mut client = connected(&mut pair);
    let long = UdpClientStack::send(&mut pair.client, &mut client, &[0; 1473]);
    assert_eq!(long, Err(nb::Error::Other(Error::TooLong)));
    for datagram in [b"twelve octet".as_slice(), b"short"] {
        UdpClientStack::send(&mut pair.client, &mut client, datagram).unwrap();
    }
    pair.poll();
    let cut = receive(&mut pair.server, &mut server, 11);
    assert_eq!(cut, Err(nb::Error::Other(Error::Truncated)));
    assert_eq!(
        receive(&mut pair.server, &mut server, 11).unwrap().0,
        b"short"
    );
    assert_eq!(receive(&mut pair.server, &mut server, 11), Err(NOTHING));
}

#[test]
fn no_room_would_block() {
    let mut pair = Pair::new();
    let mut server = bound(&mut pair);
    let mut client = connected(&mut pair);
    for round in 0..100 {
        let mut sent = 0;
        while UdpClientStack::send(&mut pair.client, &mut client, &[round; 1000]).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, 4);
        assert_eq!(
            UdpClientStack::send(&mut pair.client, &mut client, &[1; 1000]),
            Err(NOTHING)
        );
        pair.poll();
        let mut got = 0;
        while let Ok((datagram, _)) = receive(&mut pair.server, &mut server, 1000) {
            assert_eq!(datagram, [round; 1000]);
            got += 1;
        }
        assert_eq!(got, 4);
    }
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    let mut pair = Pair::new();
    let mut server = bound(&mut pair);
    let mut stranger = socket(&mut pair.server);
    UdpFullStack::bind(&mut pair.server, &mut stranger, PORT + 1).unwrap();
    let mut client = connected(&mut pair);
    let port = pair.client.udp_port(&client).unwrap();
    let client_at = SocketAddr::new(CLIENT.into(), port);
    pair.server
        .send_to(&mut stranger, client_at, b"lies")
        .unwrap();
    pair.server
        .send_to(&mut server, client_at, b"truth")
        .unwrap();
    pair.server
        .send_to(&mut stranger, client_at, b"lies")
        .unwrap();
    pair.poll();
    assert_eq!(
        receive(&mut pair.client, &mut client, 99).unwrap().0,
        b"truth"
    );
    assert_eq!(receive(&mut pair.client, &mut client, 99), Err(NOTHING));
}

#[test]
fn ports_and_states() {
    let mut pair = Pair::new();
    let server = &mut pair.server;
    let mut one = socket(server);
    let error = nb::Error::Other(Error::InvalidState);
    let invalid = Err(error);
    assert_eq!(UdpClientStack::send(server, &mut one, b"x"), invalid);
    assert_eq!(server.send_to(&mut one, server_at(1), b"x"), invalid);
    assert_eq!(receive(server, &mut one, 9).unwrap_err(), error);
    UdpFullStack::bind(server, &mut one, PORT).unwrap();
    assert_eq!(
        UdpFullStack::bind(server, &mut one, 1),
        Err(Error::InvalidState)
    );
    assert_eq!(
        UdpClientStack::send(server, &mut one, b"x"),
        invalid,
        "to whom?"
    );
    let mut two = socket(server);
    assert_eq!(
        UdpFullStack::bind(server, &mut two, PORT),
        Err(Error::PortInUse)
    );
    UdpFullStack::bind(server, &mut two, 0).unwrap();
    assert_eq!(server.udp_port(&two), Some(49152));
    let mut three = socket(server);
    assert_eq!(
        UdpFullStack::bind(server, &mut three, 0),
        Err(Error::NoSocket)
    );
    for remote in ["192.0.2.2:0", "0.0.0.0:7", "[::]:7"] {
        let outcome = server.send_to(&mut one, remote.parse().unwrap(), b"x");
        assert_eq!(
            outcome,
            Err(nb::Error::Other(Error::Unaddressable)),
            "{remote}"
        );
        let outcome = UdpClientStack::connect(server, &mut one, remote.parse().unwrap());
        assert_eq!(outcome, Err(Error::Unaddressable), "{remote}");
    }
    UdpClientStack::close(server, one).unwrap();
    UdpFullStack::bind(server, &mut three, PORT).unwrap();
    UdpClientStack::close(server, two).unwrap();
    UdpClientStack::close(server, three).unwrap();
    assert_eq!(server.usage().udp_open, 0);
    // What came for the last owner of a port is not for the next.
    let mut server = bound(&mut pair);
    let mut client = connected(&mut pair);
    UdpClientStack::send(&mut pair.client, &mut client, b"old").unwrap();
    pair.poll();
    UdpClientStack::close(&mut pair.server, server).unwrap();
    server = bound(&mut pair);
    assert_eq!(receive(&mut pair.server, &mut server, 99), Err(NOTHING));
}

#[test]
fn a_neighbor_that_does_not_exist_holds_up_the_others_for_a_bounded_time() {
    let mut pair = Pair::new();
    let mut server = bound(&mut pair);
    let mut client = connected(&mut pair);
    UdpClientStack::send(&mut pair.client, &mut client, b"hello").unwrap();
    pair.poll();
    let (_, from) = receive(&mut pair.server, &mut server, 99).unwrap();
    for _ in 0..5 {
        let nobody = "192.0.2.200:9".parse().unwrap();
        pair.server
            .send_to(&mut server, nobody, b"anybody?")
            .unwrap();
        pair.server.send_to(&mut server, from, b"held up").unwrap();
        pair.wait(1_400);
        assert_eq!(receive(&mut pair.client, &mut client, 99), Err(NOTHING));
        pair.wait(200);
        pair.server.send_to(&mut server, from, b"at once").unwrap();
        pair.poll();
        assert_eq!(
            receive(&mut pair.client, &mut client, 99).unwrap().0,
            b"at once"
        );
        assert_eq!(receive(&mut pair.client, &mut client, 99), Err(NOTHING));
    }
    pair.wait(10_000);
    assert_eq!(pair.server.poll_delay(pair.now), None);
}

#[test]
fn nothing_is_invented_on_a_bad_wire() {
    for seed in 1..20 {
        let mut pair = Pair::with(Settings::default(), 64, seed);
        let mut server = bound(&mut pair);
        let mut client = connected(&mut pair);
        for nic in [pair.server.device_mut(), pair.client.device_mut()] {
            nic.set_drop_chance(10);
            nic.set_corrupt_chance(5);
        }
        let (mut asked, mut answered) = (0_u32, 0);
        while asked < 300 {
            let _ = UdpClientStack::send(&mut pair.client, &mut client, &asked.to_le_bytes());
            asked += 1;
            for _ in 0..4 {
                let polled = pair.server.poll(pair.now);
                if polled == PollResult::None {
                    break;
                }
            }
            pair.step();
            while let Ok((got, from)) = receive(&mut pair.server, &mut server, 99) {
                assert_eq!(from.ip(), std::net::IpAddr::V4(CLIENT));
                let _ = pair.server.send_to(&mut server, from, &got);
            }
            pair.now += Duration::from_millis(20);
            pair.poll();
            while let Ok((got, from)) = receive(&mut pair.client, &mut client, 99) {
                assert_eq!(from.ip(), std::net::IpAddr::V4(SERVER));
                let got = u32::from_le_bytes(got.try_into().unwrap());
                assert!(got < asked);
                answered += 1;
            }
        }
        assert!(answered > 0, "{answered} of {asked}");
    }
}

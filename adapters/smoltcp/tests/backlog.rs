//! The backlog: peers beyond the sockets wait for their turn, and none is reset.

mod common;

use std::net::{IpAddr, SocketAddr};

use common::faults::WIRES;
use common::raw::{Raw, Said};
use common::{PORT, Pair, Port, SERVER, close, leak_with, octets, receive, send, server_at, v6};
use embedded_nal::{TcpClientStack, TcpFullStack, nb};
use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::phy::Medium;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{Ipv4Address, Ipv4Packet, TcpControl, TcpPacket, TcpSeqNumber};
use unstick_smoltcp::{Pending, Settings, TcpSocket};

fn backlog(len: usize) -> &'static mut [Pending] {
    leak_with(len, || Pending::EMPTY)
}

/// A client of a burst: says its number, gets it back, and the end behind it.
struct Caller {
    socket: Option<TcpSocket>,
    said: bool,
    heard: Vec<u8>,
}

/// Who is being served: what it has said, and whether it was answered.
struct Served {
    socket: Option<TcpSocket>,
    heard: Vec<u8>,
}

/// So many at once, all of whom are served; in which order.
fn burst<const CLIENTS: usize>(
    pair: &mut Pair<CLIENTS>,
    count: usize,
    remote: SocketAddr,
    seconds: u64,
) -> Vec<u8> {
    let mut listener = pair.listen(PORT);
    let mut callers: Vec<_> = (0..count)
        .map(|_| Caller {
            socket: Some(TcpClientStack::socket(&mut pair.client).unwrap()),
            said: false,
            heard: vec![],
        })
        .collect();
    let mut served: Vec<Served> = vec![];
    let mut order = vec![];
    pair.until(seconds, |pair| {
        while let Ok((socket, _)) = pair.server.accept(&mut listener) {
            served.push(Served {
                socket: Some(socket),
                heard: vec![],
            });
        }
        for it in &mut served {
            let Some(mut socket) = it.socket.take() else {
                continue;
            };
            match receive(&mut pair.server, &mut socket, 9) {
                Ok(some) => it.heard.extend(some),
                Err(nb::Error::WouldBlock) => {}
                Err(error) => panic!("{error:?}"),
            }
            if it.heard.is_empty() {
                it.socket = Some(socket);
            } else {
                order.extend(&it.heard);
                assert_eq!(send(&mut pair.server, &mut socket, &it.heard), Ok(1));
                close(&mut pair.server, socket);
            }
        }
        let mut done = true;
        for (number, caller) in callers.iter_mut().enumerate() {
            let Some(mut socket) = caller.socket.take() else {
                continue;
            };
            match TcpClientStack::connect(&mut pair.client, &mut socket, remote) {
                Ok(()) => {}
                Err(nb::Error::WouldBlock) => {
                    caller.socket = Some(socket);
                    done = false;
                    continue;
                }
                Err(error) => panic!("{number}: {error:?}"),
            }
            if !caller.said {
                caller.said = true;
                assert_eq!(send(&mut pair.client, &mut socket, &[number as u8]), Ok(1));
            }
            match receive(&mut pair.client, &mut socket, 9) {
                Ok(some) if some.is_empty() => {
                    assert_eq!(caller.heard, [number as u8]);
                    close(&mut pair.client, socket);
                    continue;
                }
                Ok(some) => caller.heard.extend(some),
                Err(nb::Error::WouldBlock) => {}
                Err(error) => panic!("{number}: {error:?}"),
            }
            caller.socket = Some(socket);
            done = false;
        }
        done
    });
    assert_eq!(order.len(), count, "each once");
    close(&mut pair.server, listener);
    order
}

#[test]
fn a_burst_beyond_the_sockets_is_served_in_turn() {
    for count in [5, 16, 64] {
        let mut pair = Pair::<64, 4>::with_clients(Settings::default(), 512, 1);
        pair.server.add_backlog(backlog(60));
        // Nobody has to ask twice: a second is the first time that a SYN is sent again.
        let order = burst(&mut pair, count, server_at(PORT), 1);
        let expected: Vec<_> = (0..count as u8).collect();
        assert_eq!(order, expected);
        pair.assert_at_rest(0);
    }
}

#[test]
fn a_small_backlog_lets_the_others_ask_again() {
    let mut pair = Pair::new();
    pair.server.add_backlog(backlog(2));
    // All in step: 6 at once, after 1 s, after 2 s more, and after 4 s more.
    burst(&mut pair, 24, server_at(PORT), 8);
    pair.assert_at_rest(0);
}

#[test]
fn over_every_medium() {
    let addresses = [IpAddr::from(SERVER), IpAddr::from(v6(SERVER))];
    for medium in [Medium::Ethernet, Medium::Ip] {
        for address in addresses {
            let mut pair = Pair::<24, 4>::over(medium, Settings::default(), 512, 1);
            pair.server.add_backlog(backlog(20));
            let order = burst(&mut pair, 24, SocketAddr::new(address, PORT), 1);
            assert_eq!(order.len(), 24, "{medium:?} {address}");
        }
    }
}

#[test]
fn over_wires_with_faults() {
    for (wire, faults) in WIRES.into_iter().enumerate() {
        for (seed, count) in [(1, 16), (2, 64)] {
            let mut pair: Pair<64> = common::faults::pair(faults, seed + 10 * wire as u32);
            pair.server.add_backlog(backlog(64));
            burst(&mut pair, count, server_at(PORT), 3_000);
            pair.wait(3_000_000);
            pair.assert_at_rest(0);
        }
    }
}

/// A server whose four sockets are connected, and its backlog; with the numbers of the server.
fn full(len: usize) -> (Raw, TcpSocket, [(TcpSocket, TcpSeqNumber); 4]) {
    let mut raw = Raw::new();
    raw.server.add_backlog(backlog(len));
    let mut listener = common::listen(&mut raw.server, PORT);
    let sockets = [1, 2, 3, 4].map(|port| {
        let number = raw.shake(port);
        (raw.server.accept(&mut listener).unwrap().0, number)
    });
    (raw, listener, sockets)
}

fn syn(raw: &mut Raw, port: u16, seq: i32) -> Vec<Said> {
    raw.say(port, TcpControl::Syn, seq, None, &[]);
    raw.listen()
}

/// Ends a connection of the four, both sides of it.
fn end(raw: &mut Raw, port: u16, (socket, number): (TcpSocket, TcpSeqNumber)) -> Vec<Said> {
    close(&mut raw.server, socket);
    let mut said = raw.listen();
    raw.say(port, TcpControl::Fin, 101, Some(number + 2), &[]);
    said.extend(raw.listen());
    said
}

/// To whom, and with which number of theirs, the server has answered SYNs.
fn answered(said: &[Said]) -> Vec<(u16, i32)> {
    let answers = said
        .iter()
        .filter(|(_, control, ..)| *control == TcpControl::Syn);
    answers
        .map(|(port, _, _, ack, _)| (*port, ack.unwrap().0 - 1))
        .collect()
}

#[test]
fn a_repeated_syn_is_held_once_and_is_the_one_that_counts() {
    let (mut raw, _listener, [first, second, ..]) = full(3);
    for (port, seq) in [(10, 7), (11, 8), (10, 7), (10, 9), (11, 8)] {
        assert_eq!(syn(&mut raw, port, seq), []);
    }
    assert_eq!(raw.server.usage().backlog, 2);
    let said = end(&mut raw, 1, first);
    assert_eq!(answered(&said), [(10, 9)], "in its first place");
    assert_eq!(raw.server.usage().backlog, 1);
    // In the middle of its handshake it is not held again.
    syn(&mut raw, 10, 9);
    assert_eq!(raw.server.usage().backlog, 1);
    assert_eq!(answered(&end(&mut raw, 2, second)), [(11, 8)]);
    assert_eq!(raw.server.usage().backlog, 0);
}

#[test]
fn a_reset_takes_a_syn_back() {
    let (mut raw, _listener, [first, ..]) = full(3);
    for port in 10..13 {
        syn(&mut raw, port, 7);
    }
    // Of nobody, of the past, of a number that it cannot have.
    for (port, seq) in [(20, 8), (11, 6), (11, 9), (11, -8)] {
        raw.say(port, TcpControl::Rst, seq, None, &[]);
        assert_eq!(raw.listen(), []);
        assert_eq!(raw.server.usage().backlog, 3);
    }
    raw.say(10, TcpControl::Rst, 8, None, &[]);
    raw.say(12, TcpControl::Rst, 7, Some(TcpSeqNumber(5)), &[]);
    assert_eq!(raw.listen(), []);
    assert_eq!(raw.server.usage().backlog, 1);
    assert_eq!(answered(&end(&mut raw, 1, first)), [(11, 7)]);
}

#[test]
fn who_does_not_ask_again_is_dropped() {
    let (mut raw, _listener, [first, ..]) = full(3);
    syn(&mut raw, 10, 7);
    raw.wait(1000);
    syn(&mut raw, 11, 7);
    raw.wait(3000);
    syn(&mut raw, 10, 7);
    let at = |raw: &mut Raw| raw.server.poll_at(raw.now);
    assert_eq!(at(&mut raw), Some(Instant::from_secs(6)));
    raw.now = Instant::from_secs(6);
    raw.listen();
    assert_eq!(raw.server.usage().backlog, 1);
    assert_eq!(at(&mut raw), Some(Instant::from_secs(9)));
    raw.now = Instant::from_micros(8_999_999);
    raw.listen();
    assert_eq!(raw.server.usage().backlog, 1);
    raw.now = Instant::from_secs(9);
    raw.listen();
    assert_eq!(raw.server.usage().backlog, 0);
    assert_eq!(at(&mut raw), None);
    assert_eq!(answered(&end(&mut raw, 1, first)), [], "nobody is left");
}

#[test]
fn without_room_there_is_no_answer() {
    let (mut raw, _listener, [first, second, third, _]) = full(2);
    for port in 10..15 {
        assert_eq!(syn(&mut raw, port, 7), []);
    }
    assert_eq!(raw.server.usage().backlog, 2);
    assert_eq!(answered(&end(&mut raw, 1, first)), [(10, 7)]);
    assert_eq!(answered(&end(&mut raw, 2, second)), [(11, 7)]);
    // It asks again, and is served at once when there is a socket.
    assert_eq!(answered(&end(&mut raw, 3, third)), []);
    assert_eq!(answered(&syn(&mut raw, 12, 7)), [(12, 7)]);
}

#[test]
fn a_long_one_is_not_held() {
    let (mut raw, _listener, [first, ..]) = full(2);
    // 14 octets of Ethernet, 20 of IPv4, 24 of TCP.
    raw.say(10, TcpControl::Syn, 7, None, &[b'x'; 57]);
    assert_eq!(raw.listen(), []);
    assert_eq!(raw.server.usage().backlog, 0);
    raw.say(10, TcpControl::Syn, 7, None, &[b'x'; 56]);
    assert_eq!(raw.listen(), []);
    assert_eq!(raw.server.usage().backlog, 1);
    assert_eq!(answered(&end(&mut raw, 1, first)), [(10, 7)]);
}

#[test]
fn who_is_gone_when_its_turn_comes_holds_nothing_for_long() {
    let (mut raw, _listener, [first, ..]) = full(3);
    for port in 10..13 {
        syn(&mut raw, port, 7);
    }
    assert_eq!(answered(&end(&mut raw, 1, first)), [(10, 7)]);
    // Its host knows nothing of it any more, and the next has its turn.
    raw.say(10, TcpControl::Rst, 8, None, &[]);
    assert_eq!(answered(&raw.listen()), [(11, 7)]);
    // Its host is gone: the handshake ends, before the last one is dropped who asks again.
    raw.wait(3000);
    syn(&mut raw, 12, 7);
    let mut said = vec![];
    while said.is_empty() {
        assert!(raw.now < Instant::from_secs(6));
        raw.now += Duration::from_millis(100);
        said = answered(&raw.listen());
        said.retain(|(port, _)| *port == 12);
    }
    assert_eq!(raw.server.usage().handshake, 1);
}

#[test]
fn only_who_asks_for_a_port_that_is_listened_on_is_held() {
    let (mut raw, listener, sockets) = full(3);
    syn(&mut raw, 10, 7);
    assert_eq!(raw.server.usage().backlog, 1);
    close(&mut raw.server, listener);
    assert_eq!(raw.server.usage().backlog, 0);
    let said = syn(&mut raw, 10, 7);
    assert_eq!((said[0].0, said[0].1), (10, TcpControl::Rst));
    let _other = common::listen(&mut raw.server, PORT + 1);
    let said = syn(&mut raw, 10, 7);
    assert_eq!((said[0].0, said[0].1), (10, TcpControl::Rst));
    assert_eq!(raw.server.usage().backlog, 0);
    for (socket, _) in sockets {
        close(&mut raw.server, socket);
    }
}

#[test]
fn without_entries_there_is_no_backlog() {
    let (mut raw, _listener, _sockets) = full(0);
    let said = syn(&mut raw, 10, 7);
    assert_eq!((said[0].0, said[0].1), (10, TcpControl::Rst));
}

#[test]
fn a_connection_keeps_its_segments() {
    let (mut raw, _listener, mut sockets) = full(3);
    for (port, (socket, number)) in (1..).zip(&mut sockets) {
        syn(&mut raw, port, 100);
        assert_eq!(raw.server.usage().backlog, 0, "it is no new connection");
        raw.say(port, TcpControl::Psh, 101, Some(*number + 1), b"still here");
        raw.listen();
        assert_eq!(receive(&mut raw.server, socket, 99).unwrap(), b"still here");
    }
}

#[test]
fn a_free_socket_is_given_to_the_port_where_peers_wait() {
    let mut raw = Raw::new();
    raw.server.add_backlog(backlog(3));
    let _other = common::listen(&mut raw.server, PORT + 1);
    let mut listener = common::listen(&mut raw.server, PORT);
    // Three of one port: the fourth socket stays with the other.
    raw.shake(1);
    let (first, _) = raw.server.accept(&mut listener).unwrap();
    for port in 2..4 {
        assert_eq!(answered(&syn(&mut raw, port, 100)), [(port, 100)]);
    }
    assert_eq!(syn(&mut raw, 4, 100), []);
    let usage = raw.server.usage();
    assert_eq!((usage.handshake, usage.listening, usage.backlog), (2, 1, 1));
    // The other takes the last one. Then the next that is free could be either's.
    raw.port = PORT + 1;
    assert_eq!(answered(&syn(&mut raw, 20, 100)), [(20, 100)]);
    raw.port = PORT;
    raw.say(1, TcpControl::Rst, 101, None, &[]);
    raw.listen();
    close(&mut raw.server, first);
    assert_eq!(answered(&raw.listen()), [(4, 100)]);
    assert_eq!(raw.server.usage().backlog, 0);
}

#[test]
fn the_next_poll_is_due_when_a_peer_that_is_held_can_be_served() {
    let (mut raw, _listener, [first, ..]) = full(3);
    raw.wait(100);
    syn(&mut raw, 10, 7);
    let later = raw.server.poll_at(raw.now).unwrap();
    assert!(later > raw.now);
    raw.say(1, TcpControl::Rst, 101, None, &[]);
    raw.listen();
    assert_eq!(
        raw.server.usage().backlog,
        1,
        "the application has it still"
    );
    close(&mut raw.server, first.0);
    assert_eq!(raw.server.poll_at(raw.now), Some(raw.now));
    assert_eq!(answered(&raw.listen()), [(10, 7)]);
}

#[test]
fn a_device_that_cannot_send_holds_a_peer_up_not_more() {
    let (mut raw, _listener, [first, ..]) = full(3);
    syn(&mut raw, 10, 7);
    raw.say(1, TcpControl::Rst, 101, None, &[]);
    raw.listen();
    close(&mut raw.server, first.0);
    let junk = std::iter::repeat_n(vec![0; 14], Port::ROOM);
    raw.from_server.borrow_mut().extend(junk);
    raw.server.poll(raw.now);
    assert_eq!(raw.server.usage().backlog, 1);
    raw.from_server.borrow_mut().clear();
    assert_eq!(answered(&raw.listen()), [(10, 7)]);
}

/// The frame that says this.
fn frame(raw: &mut Raw, port: u16, control: TcpControl, ack: bool, payload: &[u8]) -> Vec<u8> {
    let ack = ack.then_some(TcpSeqNumber(1));
    raw.say(port, control, 7, ack, payload);
    raw.to_server.borrow_mut().pop_back().unwrap()
}

#[test]
fn what_is_no_segment_for_us_is_not_held() {
    let (mut raw, _listener, _sockets) = full(3);
    let whole = frame(&mut raw, 10, TcpControl::Syn, false, &[]);
    let with = |change: fn(&mut Ipv4Packet<&mut [u8]>)| {
        let mut frame = whole.clone();
        change(&mut Ipv4Packet::new_unchecked(&mut frame[14..]));
        fill_sums(&mut frame);
        frame
    };
    let mut sum = whole.clone();
    sum[14 + 20 + 4] ^= 1;
    let mut ip_sum = whole.clone();
    ip_sum[14 + 10] ^= 1;
    let frames = [
        with(|packet| packet.set_more_frags(true)),
        with(|packet| packet.set_frag_offset(8)),
        with(|packet| packet.set_dst_addr(Ipv4Address::new(192, 0, 2, 77))),
        with(|packet| packet.set_src_addr(Ipv4Address::new(224, 0, 0, 1))),
        sum,
        ip_sum,
        whole[..whole.len() - 1].to_vec(),
    ];
    for frame in frames {
        raw.to_server.borrow_mut().push_back(frame);
        raw.listen();
        assert_eq!(raw.server.usage().backlog, 0);
    }
    raw.to_server.borrow_mut().push_back(with(|_| {}));
    raw.listen();
    assert_eq!(raw.server.usage().backlog, 1);
}

#[test]
fn a_connection_that_is_over_does_not_turn_the_next_away() {
    let (mut raw, _listener, [(mut first, number), ..]) = full(3);
    raw.server.shutdown(&mut first).unwrap();
    raw.listen();
    raw.say(1, TcpControl::Fin, 101, Some(number + 2), &[]);
    raw.listen();
    // In TIME-WAIT, and in the hands of the application.
    assert_eq!(syn(&mut raw, 1, 500), []);
    assert_eq!(raw.server.usage().backlog, 1);
    close(&mut raw.server, first);
    // The goodbye has to be acknowledged first, which waits for a moment.
    assert_eq!(raw.listen(), []);
    raw.now += Duration::from_millis(1);
    assert_eq!(answered(&raw.listen()), [(1, 500)]);
}

/// A frame that may be a SYN: what it is made of, which octets are changed, and whether its sums are right again.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let mut raw = Raw::new();
    let controls = [
        TcpControl::None,
        TcpControl::Psh,
        TcpControl::Syn,
        TcpControl::Fin,
        TcpControl::Rst,
    ];
    let mut whole = vec![];
    for port in [1, 4, 10, 11] {
        for control in controls {
            for ack in [false, true] {
                whole.push(frame(&mut raw, port, control, ack, &[]));
                whole.push(frame(&mut raw, port, control, ack, &octets(80, 1)));
            }
        }
    }
    let changes = vec((0..60_usize, any::<u8>()), 0..4);
    let made = (
        prop::sample::select(whole),
        changes,
        any::<bool>(),
        0..100_usize,
    );
    let made = made.prop_map(|(mut frame, changes, sums, cut)| {
        for (at, octet) in changes {
            let at = at % frame.len();
            frame[at] = octet;
        }
        if cut < 20 {
            frame.truncate(frame.len() - cut);
        }
        if sums {
            fill_sums(&mut frame);
        }
        frame
    });
    prop_oneof![4 => made, 1 => vec(any::<u8>(), 0..200)]
}

/// Corrects the sums of a segment, if it is one.
fn fill_sums(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(14..) else {
        return;
    };
    if Ipv4Packet::new_checked(&*packet).is_err() {
        return;
    }
    let mut packet = Ipv4Packet::new_unchecked(packet);
    packet.fill_checksum();
    let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
    if TcpPacket::new_checked(packet.payload_mut()).is_ok() {
        TcpPacket::new_unchecked(packet.payload_mut()).fill_checksum(&from, &to);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Beside a stack without a backlog: the same answers to everything, but for what is held.
    #[test]
    fn all_other_frames_pass_unchanged(frames in vec(frames(), 1..6)) {
        let (mut with, _, _) = full(8);
        let (mut without, _, _) = full(0);
        let mut held = 0;
        for frame in frames {
            for raw in [&mut with, &mut without] {
                raw.to_server.borrow_mut().push_back(frame.clone());
                raw.server.poll(raw.now);
            }
            let [said, expected] = [&with, &without]
                .map(|raw| std::mem::take(&mut *raw.from_server.borrow_mut()));
            let is_held = with.server.usage().backlog > held;
            held = with.server.usage().backlog;
            if is_held {
                prop_assert!(said.is_empty());
                let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
                let segment = TcpPacket::new_checked(packet.payload()).unwrap();
                let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
                prop_assert!(segment.verify_checksum(&from, &to));
                prop_assert!(segment.syn() && !segment.ack() && segment.dst_port() == PORT);
                prop_assert!(frame.len() <= 114);
                // From here on the two know different neighbors.
                break;
            }
            if said != expected {
                // One that is too long to be held.
                prop_assert!(said.is_empty() && frame.len() > 114);
                break;
            }
        }
        prop_assert_eq!(with.server.usage().open, without.server.usage().open);
    }
}

#[test]
fn who_has_said_goodbye_is_acknowledged_before_another_has_the_socket() {
    let mut raw = Raw::new();
    raw.server.add_backlog(backlog(4));
    let mut listener = common::listen(&mut raw.server, PORT);
    let mut four: Vec<_> = (0..4)
        .map(|number| {
            let seq = raw.shake(1000 + number);
            (raw.server.accept(&mut listener).unwrap().0, seq)
        })
        .collect();
    assert_eq!(syn(&mut raw, 2000, 5), [], "it is held");

    // The first is told that it is over, and then says so too, with octets in front; at that moment it is closed.
    let (mut socket, number) = four.remove(0);
    raw.server.shutdown(&mut socket).unwrap();
    raw.listen();
    raw.say(1000, TcpControl::None, 101, Some(number + 2), b"hello");
    raw.say(1000, TcpControl::Fin, 106, Some(number + 2), &[]);
    let mut said = raw.poll();
    assert_eq!(
        receive(&mut raw.server, &mut socket, 9),
        Ok(b"hello".to_vec())
    );
    close(&mut raw.server, socket);
    said.extend(raw.listen());
    raw.now += Duration::from_millis(10);
    said.extend(raw.listen());
    let acknowledged = said
        .iter()
        .any(|(port, _, _, ack, _)| *port == 1000 && *ack == Some(TcpSeqNumber(107)));
    assert!(acknowledged, "{said:?}");
    assert!(
        !said
            .iter()
            .any(|(_, control, ..)| *control == TcpControl::Rst)
    );
    assert_eq!(answered(&said), [(2000, 5)]);
}

//! Listening: bursts, handshakes that are never completed, sockets that are used again.

mod common;

use common::{
    CLIENT, Client, Nic, PORT, Pair, Port, Queue, SERVER, Server, close, mac, octets, receive,
    send, server_at,
};
use embedded_nal::{TcpClientStack, TcpFullStack, nb};
use smoltcp::phy::{ChecksumCapabilities, FaultInjector};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol,
    Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use unstick_smoltcp::{Error, Settings, TcpSocket};

/// As many sockets as the client is to connect with, none of them connected yet.
fn connecting(client: &mut Client, count: usize) -> Vec<TcpSocket> {
    let mut sockets: Vec<_> = (0..count)
        .map(|_| TcpClientStack::socket(client).unwrap())
        .collect();
    for socket in &mut sockets {
        let outcome = TcpClientStack::connect(client, socket, server_at(PORT));
        assert_eq!(outcome, Err(nb::Error::WouldBlock));
    }
    sockets
}

/// Which of them are connected, and which were refused.
fn outcomes(client: &mut Client, sockets: Vec<TcpSocket>) -> (Vec<TcpSocket>, usize) {
    let mut refused = 0;
    let mut connected = vec![];
    for mut socket in sockets {
        match TcpClientStack::connect(client, &mut socket, server_at(PORT)) {
            Ok(()) => connected.push(socket),
            Err(nb::Error::Other(Error::Refused)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    (connected, refused)
}

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

/// A peer that writes its own segments.
struct Raw {
    server: Server,
    to_server: Queue,
    from_server: Queue,
    now: Instant,
    address: Ipv4Address,
}

/// What the server says: to which port, and control, sequence number, acknowledged number, length.
type Said = (u16, TcpControl, TcpSeqNumber, Option<TcpSeqNumber>, usize);

impl Raw {
    fn new() -> Self {
        let (to_server, from_server) = (Queue::default(), Queue::default());
        let nic: Nic = FaultInjector::new(Port::new(&to_server, &from_server, 1), 1);
        Self {
            server: common::stack(nic, SERVER, 2048, Settings::default()),
            to_server,
            from_server,
            now: Instant::ZERO,
            address: CLIENT,
        }
    }

    fn poll(&mut self) -> Vec<Said> {
        self.server.poll(self.now);
        let mut said = vec![];
        let frames: Vec<_> = self.from_server.borrow_mut().drain(..).collect();
        for frame in frames {
            let frame = EthernetFrame::new_checked(&frame).unwrap();
            match frame.ethertype() {
                EthernetProtocol::Arp => self.answer_arp(frame.payload()),
                _ => {
                    let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
                    let segment = TcpPacket::new_checked(packet.payload()).unwrap();
                    let repr = TcpRepr::parse(
                        &segment,
                        &packet.src_addr().into(),
                        &packet.dst_addr().into(),
                        &ChecksumCapabilities::default(),
                    );
                    let repr = repr.unwrap();
                    said.push((
                        repr.dst_port,
                        repr.control,
                        repr.seq_number,
                        repr.ack_number,
                        repr.payload.len(),
                    ));
                }
            }
        }
        said
    }

    /// Polls until the server has nothing more to say.
    fn listen(&mut self) -> Vec<Said> {
        let mut said = vec![];
        while self
            .server
            .poll_at(self.now)
            .is_some_and(|at| at <= self.now)
            || !self.to_server.borrow().is_empty()
        {
            said.extend(self.poll());
        }
        said
    }

    fn answer_arp(&mut self, request: &[u8]) {
        let request = ArpRepr::parse(&ArpPacket::new_checked(request).unwrap()).unwrap();
        let ArpRepr::EthernetIpv4 {
            target_protocol_addr,
            ..
        } = request
        else {
            return;
        };
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: mac(target_protocol_addr),
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: mac(SERVER),
            target_protocol_addr: SERVER,
        };
        self.frame(EthernetProtocol::Arp, reply.buffer_len(), |buffer| {
            reply.emit(&mut ArpPacket::new_unchecked(buffer));
        });
    }

    fn frame(&mut self, ethertype: EthernetProtocol, len: usize, emit: impl FnOnce(&mut [u8])) {
        let mut frame = EthernetFrame::new_unchecked(vec![0; 14 + len]);
        EthernetRepr {
            src_addr: mac(self.address),
            dst_addr: mac(SERVER),
            ethertype,
        }
        .emit(&mut frame);
        emit(frame.payload_mut());
        self.to_server.borrow_mut().push_back(frame.into_inner());
    }

    fn say(
        &mut self,
        port: u16,
        control: TcpControl,
        seq: i32,
        ack: Option<TcpSeqNumber>,
        payload: &[u8],
    ) {
        let repr = TcpRepr {
            src_port: port,
            dst_port: PORT,
            control,
            seq_number: TcpSeqNumber(seq),
            ack_number: ack,
            window_len: 4096,
            window_scale: None,
            max_seg_size: (control == TcpControl::Syn).then_some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        let ip = Ipv4Repr {
            src_addr: self.address,
            dst_addr: SERVER,
            next_header: IpProtocol::Tcp,
            payload_len: repr.buffer_len(),
            hop_limit: 64,
        };
        let sums = ChecksumCapabilities::default();
        let len = ip.buffer_len() + repr.buffer_len();
        let address = self.address;
        self.frame(EthernetProtocol::Ipv4, len, |buffer| {
            let mut packet = Ipv4Packet::new_unchecked(buffer);
            ip.emit(&mut packet, &sums);
            let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
            repr.emit(&mut segment, &address.into(), &SERVER.into(), &sums);
        });
    }

    /// Shakes hands from a port; the server's number.
    fn shake(&mut self, port: u16) -> TcpSeqNumber {
        self.say(port, TcpControl::Syn, 100, None, &[]);
        let said = self.listen();
        let &(to, control, seq, ack, _) = said.last().unwrap();
        assert_eq!(
            (to, control, ack),
            (port, TcpControl::Syn, Some(TcpSeqNumber(101)))
        );
        self.say(port, TcpControl::None, 101, Some(seq + 1), &[]);
        assert_eq!(self.listen(), []);
        seq
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.listen();
    }
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

//! The stack on a module made of software.

mod module;

use std::net::SocketAddr;
use std::time::Duration;

use embedded_nal::{TcpClientStack, TcpFullStack, UdpClientStack, UdpFullStack, nb};
use module::{ABORTED, Module, TIMEOUT};
use unstick_core::services::Echo;
use unstick_nal::{Entry, Limits, Slot, TcpServer, UdpServer, UdpSlot};
use winc1500::{Error, Inbox, Lock, Policy, Stack, TcpSocket, UdpSocket};

const PEER: &str = "10.0.0.9:12345";
/// The module's number of the stack's UDP socket.
const UDP: u8 = 7;

fn stack(module: &Module) -> Stack<'static, Module> {
    let lock = Box::leak(Box::new(Lock::new()));
    let tcp = Box::leak(Box::new([const { Inbox::FREE }; 3]));
    let udp = Box::leak(Box::new(Inbox::FREE));
    Stack::new(module.clone(), lock, tcp, udp)
}

fn listener(stack: &mut Stack<'_, Module>) -> TcpSocket {
    let mut listener = TcpClientStack::socket(stack).unwrap();
    TcpFullStack::bind(stack, &mut listener, 1).unwrap();
    stack.listen(&mut listener).unwrap();
    listener
}

fn udp(stack: &mut Stack<'_, Module>) -> UdpSocket {
    let mut socket = UdpClientStack::socket(stack).unwrap();
    UdpFullStack::bind(stack, &mut socket, 1).unwrap();
    socket
}

/// Has the module's events taken, as many as there may be.
fn settle(stack: &mut Stack<'_, Module>) {
    for _ in 0..10 {
        stack.poll().unwrap();
    }
}

fn accept(stack: &mut Stack<'_, Module>, listener: &mut TcpSocket) -> TcpSocket {
    for _ in 0..3 {
        if let Ok((socket, peer)) = stack.accept(listener) {
            assert_eq!(peer, PEER.parse().unwrap());
            return socket;
        }
        settle(stack);
    }
    panic!("nobody to accept");
}

/// The connections of these sockets of the module.
fn connections<const N: usize>(
    module: &Module,
    stack: &mut Stack<'_, Module>,
    sockets: [u8; N],
) -> (TcpSocket, [TcpSocket; N]) {
    let mut listener = listener(stack);
    let connections = sockets.map(|socket| {
        module.connect(socket);
        accept(stack, &mut listener)
    });
    (listener, connections)
}

fn receive(
    stack: &mut Stack<'_, Module>,
    socket: &mut TcpSocket,
    most: usize,
) -> nb::Result<Vec<u8>, Error> {
    let mut octets = vec![0; most];
    let len = TcpClientStack::receive(stack, socket, &mut octets)?;
    octets.truncate(len);
    Ok(octets)
}

#[test]
fn peers_are_accepted_in_any_order() {
    let module = Module::default();
    let stack = &mut stack(&module);
    let mut listener = listener(stack);
    assert_eq!(stack.accept(&mut listener), Err(nb::Error::WouldBlock));
    // All before anybody looks.
    for socket in [1, 2, 3, 4] {
        module.connect(socket);
    }
    settle(stack);
    let mut all: Vec<_> = (0..3).map(|_| accept(stack, &mut listener)).collect();
    // There are three inboxes: the fourth peer waits.
    assert_eq!(stack.accept(&mut listener), Err(nb::Error::WouldBlock));
    TcpClientStack::close(stack, all.pop().unwrap()).unwrap();
    accept(stack, &mut listener);
    assert_eq!(module.closed().len(), 1);
}

#[test]
fn what_arrives_at_once_is_kept_apart() {
    let module = Module::default();
    let mut stack = stack(&module);
    let mut datagrams = udp(&mut stack);
    let (_, [mut one, mut two]) = connections(&module, &mut stack, [1, 2]);
    assert_eq!(receive(&mut stack, &mut one, 9), Err(nb::Error::WouldBlock));
    assert_eq!(receive(&mut stack, &mut two, 9), Err(nb::Error::WouldBlock));
    let mut room = [0; 9];
    let nothing = UdpClientStack::receive(&mut stack, &mut datagrams, &mut room);
    assert_eq!(nothing, Err(nb::Error::WouldBlock));
    module.deliver(1, b"one");
    module.deliver(2, b"second");
    module.deliver(UDP, b"datagram");
    settle(&mut stack);
    assert_eq!(receive(&mut stack, &mut two, 9).unwrap(), b"second");
    let (len, peer) = UdpClientStack::receive(&mut stack, &mut datagrams, &mut room).unwrap();
    assert_eq!(
        (&room[..len], peer),
        (&b"datagram"[..], PEER.parse().unwrap())
    );
    assert_eq!(receive(&mut stack, &mut one, 9).unwrap(), b"one");
}

#[test]
fn the_rest_is_kept_while_something_is_sent() {
    let module = Module::default();
    let mut stack = stack(&module);
    let (_, [mut socket]) = connections(&module, &mut stack, [1]);
    let _ = receive(&mut stack, &mut socket, 4);
    module.deliver(1, &[7; 1460]);
    settle(&mut stack);
    assert_eq!(receive(&mut stack, &mut socket, 1000).unwrap(), [7; 1000]);
    let sent = TcpClientStack::send(&mut stack, &mut socket, b"reply");
    assert_eq!(sent, Err(nb::Error::WouldBlock));
    assert_eq!(
        TcpClientStack::send(&mut stack, &mut socket, b"reply"),
        Ok(5)
    );
    assert_eq!(module.sent(), [(1, b"reply".to_vec())]);
    assert_eq!(receive(&mut stack, &mut socket, 1000).unwrap(), [7; 460]);
    assert!(!module.is_asked(1));
}

#[test]
fn a_send_waits_for_the_receive_to_end() {
    let module = Module::default();
    let mut stack = stack(&module);
    let (_, [mut socket]) = connections(&module, &mut stack, [1]);
    let _ = receive(&mut stack, &mut socket, 9);
    for _ in 0..5 {
        let sent = TcpClientStack::send(&mut stack, &mut socket, b"x");
        assert_eq!(sent, Err(nb::Error::WouldBlock));
        settle(&mut stack);
    }
    assert!(module.sent().is_empty());
    module.end(1, TIMEOUT);
    settle(&mut stack);
    // The module is not asked again before somebody wants to receive.
    assert!(!module.is_asked(1));
    let _ = TcpClientStack::send(&mut stack, &mut socket, b"x");
    // Nor while it sends.
    assert_eq!(
        receive(&mut stack, &mut socket, 9),
        Err(nb::Error::WouldBlock)
    );
    assert!(!module.is_asked(1));
    assert_eq!(TcpClientStack::send(&mut stack, &mut socket, b"x"), Ok(1));
    let _ = receive(&mut stack, &mut socket, 9);
    module.deliver(1, b"later");
    settle(&mut stack);
    assert_eq!(receive(&mut stack, &mut socket, 9).unwrap(), b"later");
}

#[test]
fn the_end_is_told_as_often_as_asked() {
    let module = Module::default();
    let mut stack = stack(&module);
    let (_, [mut socket, mut other]) = connections(&module, &mut stack, [1, 2]);
    let _ = receive(&mut stack, &mut socket, 9);
    let _ = receive(&mut stack, &mut other, 9);
    module.end(1, ABORTED);
    // Not a status that wincwifi knows.
    module.end(2, -99);
    settle(&mut stack);
    for _ in 0..3 {
        assert_eq!(receive(&mut stack, &mut socket, 9), Ok(vec![]));
        let gone = Err(nb::Error::Other(Error::Gone));
        assert_eq!(TcpClientStack::send(&mut stack, &mut socket, b"x"), gone);
        assert_eq!(
            receive(&mut stack, &mut other, 9),
            Err(nb::Error::Other(Error::Gone))
        );
    }
}

#[test]
fn long_sends_go_in_pieces() {
    let module = Module::default();
    let mut stack = stack(&module);
    let (_, [mut socket]) = connections(&module, &mut stack, [1]);
    let _ = TcpClientStack::send(&mut stack, &mut socket, &[1; 3000]);
    assert_eq!(
        TcpClientStack::send(&mut stack, &mut socket, &[1; 3000]),
        Ok(1400)
    );
    assert_eq!(module.sent(), [(1, vec![1; 1400])]);
}

#[test]
fn datagrams_are_cut_and_never_sent_in_pieces() {
    let module = Module::default();
    let mut stack = stack(&module);
    let mut socket = udp(&mut stack);
    let peer: SocketAddr = PEER.parse().unwrap();
    let mut room = [0; 4];
    let _ = UdpClientStack::receive(&mut stack, &mut socket, &mut room);
    module.deliver(UDP, b"longer");
    settle(&mut stack);
    let cut = UdpClientStack::receive(&mut stack, &mut socket, &mut room);
    assert_eq!((cut, &room), (Ok((4, peer)), b"long"));
    // One behind the other, as repeats are.
    for datagram in [&b"first"[..], b"second"] {
        assert_eq!(stack.send_to(&mut socket, peer, datagram), Ok(()));
        assert_eq!(module.sent(), [(UDP, datagram.to_vec())]);
    }
    let long = stack.send_to(&mut socket, peer, &[0; 1401]);
    assert_eq!(long, Err(nb::Error::Other(Error::TooLong)));
    for asks in [false, true] {
        let nothing = UdpClientStack::receive(&mut stack, &mut socket, &mut room);
        assert_eq!(nothing, Err(nb::Error::WouldBlock));
        assert_eq!(module.is_asked(UDP), asks);
    }
    let busy = stack.send_to(&mut socket, peer, b"third");
    assert_eq!(busy, Err(nb::Error::WouldBlock));
    module.end(UDP, TIMEOUT);
    settle(&mut stack);
    assert_eq!(stack.send_to(&mut socket, peer, b"third"), Ok(()));
}

#[test]
fn servers_answer() {
    let module = Module::default();
    let mut stack = stack(&module);
    let mut slots: [Slot<_, Echo<64>, 128, 64, 128>; 2] = [const { Slot::FREE }; 2];
    let mut entries = [const { Entry::<512>::EMPTY }; 1];
    let limits = Limits::default();
    let mut tcp = TcpServer::bind(&mut stack, 1, Policy, limits, &mut slots).unwrap();
    let mut place: UdpSlot<Echo<64>, 128, 257, 512> = UdpSlot::free();
    let mut udp = UdpServer::bind(&mut stack, 1, Policy, limits, &mut place, &mut entries).unwrap();
    let mut pass = |passes: u64| {
        for now in 0..passes {
            let now = Duration::from_millis(now);
            stack.poll().unwrap();
            let _ = tcp.poll(&mut stack, now, |_| Echo::new());
            let _ = udp.poll(&mut stack, now, |_| Echo::new());
        }
    };
    module.connect(1);
    module.connect(2);
    pass(20);
    let request = b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}hello";
    let reply = b"\x10\0\0\0{\"total_size\":5}hello";
    // Two requests and the start of a third in one segment, which is longer than the server's buffer.
    let [start, rest] = [&request[..20], &request[20..]];
    module.deliver(1, &[request, &request[..], start].concat());
    module.deliver(2, request);
    module.deliver(UDP, request);
    pass(60);
    module.deliver(1, rest);
    pass(60);
    let sent = module.sent();
    let by = |socket| {
        let sent = sent.iter().filter(move |sent| sent.0 == socket);
        sent.flat_map(|sent| sent.1.clone()).collect::<Vec<_>>()
    };
    assert_eq!(by(1), reply.repeat(3));
    assert_eq!(by(2), reply);
    assert_eq!(by(UDP), reply);
    module.end(1, ABORTED);
    pass(20);
    assert_eq!(module.closed(), [1]);
}

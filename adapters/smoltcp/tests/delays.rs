//! What small writes and acknowledgements cost.

mod common;

use common::{CLIENT, PORT, Pair, Port, Queue, SERVER, close, receive, send};
use embedded_nal::TcpFullStack;
use smoltcp::iface::{SocketSet, SocketStorage};
use smoltcp::phy::FaultInjector;
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use unstick_smoltcp::{Settings, Stack};

/// How long 20 requests of three small writes take with a peer that has Nagle's algorithm on, and that delays its
/// acknowledgements by 40 ms; in ms.
fn three_small_writes(ack_delay: Option<Duration>) -> i64 {
    let (to_server, to_client) = (Queue::default(), Queue::default());
    let nic = FaultInjector::new(Port::new(&to_server, &to_client, 1), 1);
    let settings = Settings {
        ack_delay,
        ..Settings::default()
    };
    let mut server: Stack<'_, _, 4, 0> = common::stack(nic, SERVER, 2048, settings);
    let mut listener = common::listen(&mut server, PORT);
    let mut device = Port::new(&to_client, &to_server, 2);
    let mut interface = common::interface(&mut device, CLIENT, 9);
    let mut storage = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let mut socket = common::tcp_socket(2048);
    socket.set_ack_delay(Some(Duration::from_millis(40)));
    let remote = (smoltcp::wire::IpAddress::from(SERVER), PORT);
    socket.connect(interface.context(), remote, 5000).unwrap();
    let client = sockets.add(socket);

    let mut now = Instant::ZERO;
    let mut accepted = None;
    let (mut requests, mut begun, mut asked, mut got, mut answered) = (0, None, false, 0, 0);
    while requests < 20 {
        for _ in 0..4 {
            server.poll(now);
            interface.poll(now, &mut device, &mut sockets);
        }
        let socket = sockets.get_mut::<tcp::Socket<'_>>(client);
        if socket.may_send() && !asked {
            begun.get_or_insert(now);
            for write in [4, 30, 100] {
                let socket = sockets.get_mut::<tcp::Socket<'_>>(client);
                assert_eq!(socket.send_slice(&vec![1; write]), Ok(write));
                interface.poll(now, &mut device, &mut sockets);
            }
            asked = true;
            continue;
        }
        if socket.can_recv() {
            answered += socket.recv(|octets| (octets.len(), octets.len())).unwrap();
            if answered == 134 {
                (requests, asked, answered) = (requests + 1, false, 0);
            }
            continue;
        }
        if accepted.is_none() {
            accepted = server.accept(&mut listener).ok();
        }
        if let Some((socket, _)) = &mut accepted
            && let Ok(some) = receive(&mut server, socket, 999)
        {
            got += some.len();
            if got == 134 {
                got = 0;
                send(&mut server, socket, &[2; 134]).unwrap();
            }
            continue;
        }
        now += Duration::from_millis(1);
        assert!(now < Instant::from_secs(60));
    }
    (now - begun.unwrap()).total_millis() as i64
}

/// How many frames a request of 100 octets and its answer of 100 take.
fn frames(ack_delay: Option<Duration>) -> usize {
    let mut pair = Pair::with(
        Settings {
            ack_delay,
            ..Settings::default()
        },
        2048,
        1,
    );
    let mut listener = pair.listen(PORT);
    let (mut client, mut server) = pair.connected(&mut listener);
    let before = pair.frames.get();
    for _ in 0..100 {
        send(&mut pair.client, &mut client, &[1; 100]).unwrap();
        pair.client.poll(pair.now);
        pair.server.poll(pair.now);
        let asked = receive(&mut pair.server, &mut server, 999).unwrap();
        send(&mut pair.server, &mut server, &asked).unwrap();
        pair.server.poll(pair.now);
        pair.client.poll(pair.now);
        assert_eq!(receive(&mut pair.client, &mut client, 999).unwrap(), asked);
    }
    let frames = pair.frames.get() - before;
    close(&mut pair.client, client);
    close(&mut pair.server, server);
    frames
}

#[test]
fn small_writes_do_not_wait_for_acknowledgements() {
    let delays = [None, Some(1), Some(10)].map(|delay| delay.map(Duration::from_millis));
    for delay in delays {
        let (time, frames) = (three_small_writes(delay), frames(delay));
        println!(
            "{delay:?}: {time} ms for 20 requests in three writes, {frames} frames for 100 round trips"
        );
    }
    let default = Settings::default().ack_delay;
    assert!(three_small_writes(default) <= 20, "1 ms a request");
    assert!(frames(default) <= 201, "a request and its reply");
}

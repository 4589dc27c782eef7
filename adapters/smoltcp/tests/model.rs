//! Any order of calls: nothing panics, no octet is wrong, `Ok(0)` is the end and nothing else, no socket is lost.

mod common;

use common::{PORT, Pair, close, server_at};
use embedded_nal::{TcpClientStack, TcpFullStack, nb};
use proptest::prelude::*;
use smoltcp::time::Duration;
use unstick_smoltcp::{Error, TcpSocket};

#[derive(Debug, Clone)]
enum Call {
    Connect,
    Accept,
    Listen,
    Unlisten,
    /// On the end of this number, of a client or a server.
    Send(bool, usize, usize),
    Receive(bool, usize, usize),
    Shutdown(bool, usize),
    Close(bool, usize),
    Poll,
    Wait(u64),
    /// What is on the wire is lost.
    Lose,
}

fn call() -> impl Strategy<Value = Call> {
    let end = || (any::<bool>(), 0..6_usize);
    prop_oneof![
        3 => Just(Call::Connect),
        4 => Just(Call::Accept),
        1 => Just(Call::Listen),
        1 => Just(Call::Unlisten),
        4 => (end(), 0..3000_usize).prop_map(|((side, end), len)| Call::Send(side, end, len)),
        4 => (end(), 0..3000_usize).prop_map(|((side, end), len)| Call::Receive(side, end, len)),
        1 => end().prop_map(|(side, end)| Call::Shutdown(side, end)),
        2 => end().prop_map(|(side, end)| Call::Close(side, end)),
        8 => Just(Call::Poll),
        3 => (0..3000_u64).prop_map(Call::Wait),
        1 => Just(Call::Lose),
    ]
}

/// One end of a connection, and what is known of its streams.
struct End {
    socket: Option<TcpSocket>,
    /// The client's port names the connection.
    port: u16,
    sent: usize,
    got: usize,
    ended: bool,
}

/// What stands where in a stream.
fn octet(server: bool, port: u16, at: usize) -> u8 {
    (at * 31 + at / 256 + usize::from(port) + usize::from(server)) as u8
}

#[derive(Default)]
struct Model {
    ends: [Vec<End>; 2],
    listener: Option<TcpSocket>,
}

impl Model {
    fn find(&mut self, server: bool, number: usize) -> Option<&mut End> {
        let open = self.ends[usize::from(server)]
            .iter_mut()
            .filter(|end| end.socket.is_some());
        open.into_iter().nth(number)
    }

    fn other(&self, server: bool, port: u16) -> Option<&End> {
        self.ends[usize::from(!server)]
            .iter()
            .find(|end| end.port == port)
    }

    fn run(&mut self, pair: &mut Pair, call: Call) {
        match call {
            Call::Connect => {
                let mut socket = TcpClientStack::socket(&mut pair.client).unwrap();
                match TcpClientStack::connect(&mut pair.client, &mut socket, server_at(PORT)) {
                    Err(nb::Error::WouldBlock) => {
                        let port = pair.client.tcp_port(&socket).unwrap();
                        assert!(
                            self.ends[0].iter().all(|end| end.port != port),
                            "used twice"
                        );
                        self.ends[0].push(End {
                            socket: Some(socket),
                            port,
                            sent: 0,
                            got: 0,
                            ended: false,
                        });
                    }
                    Err(nb::Error::Other(Error::NoSocket)) => {
                        assert_eq!(pair.client.usage().open, 24)
                    }
                    other => panic!("{other:?}"),
                }
            }
            Call::Accept => {
                let Some(listener) = &mut self.listener else {
                    return;
                };
                let waiting = pair.server.usage().waiting;
                match pair.server.accept(listener) {
                    Ok((socket, peer)) => {
                        assert!(waiting > 0);
                        self.ends[1].push(End {
                            socket: Some(socket),
                            port: peer.port(),
                            sent: 0,
                            got: 0,
                            ended: false,
                        });
                    }
                    Err(error) => {
                        assert_eq!(error, nb::Error::WouldBlock);
                        assert_eq!(waiting, 0);
                    }
                }
            }
            Call::Listen if self.listener.is_none() => self.listener = Some(pair.listen(PORT)),
            Call::Listen => {}
            Call::Unlisten => {
                if let Some(listener) = self.listener.take() {
                    close(&mut pair.server, listener);
                }
            }
            Call::Send(server, number, len) => {
                let Some(end) = self.find(server, number) else {
                    return;
                };
                let octets: Vec<u8> = (0..len)
                    .map(|at| octet(server, end.port, end.sent + at))
                    .collect();
                let socket = end.socket.as_mut().unwrap();
                let outcome = if server {
                    common::send(&mut pair.server, socket, &octets)
                } else {
                    common::send(&mut pair.client, socket, &octets)
                };
                match outcome {
                    Ok(taken) => {
                        assert!(taken <= len && (taken > 0 || len == 0));
                        end.sent += taken;
                    }
                    Err(nb::Error::WouldBlock) => {}
                    Err(nb::Error::Other(error)) => assert_eq!(error, Error::Closed),
                }
            }
            Call::Receive(server, number, room) => self.receive(pair, server, number, room),
            Call::Shutdown(server, number) => {
                let Some(end) = self.find(server, number) else {
                    return;
                };
                let socket = end.socket.as_mut().unwrap();
                let outcome = if server {
                    pair.server.shutdown(socket)
                } else {
                    pair.client.shutdown(socket)
                };
                match outcome {
                    Ok(()) => end.ended = true,
                    Err(error) => assert_eq!((error, server), (Error::InvalidState, false)),
                }
            }
            Call::Close(server, number) => {
                let Some(end) = self.find(server, number) else {
                    return;
                };
                end.ended = true;
                let socket = end.socket.take().unwrap();
                if server {
                    close(&mut pair.server, socket)
                } else {
                    close(&mut pair.client, socket)
                }
            }
            Call::Poll => {
                pair.server.poll(pair.now);
                pair.client.poll(pair.now);
            }
            Call::Wait(millis) => pair.wait(millis),
            Call::Lose => {
                pair.to_server.borrow_mut().clear();
                pair.to_client.borrow_mut().clear();
            }
        }
        let usage = pair.server.usage();
        let tcp = usage.free
            + usage.listening
            + usage.handshake
            + usage.waiting
            + usage.open
            + usage.closing
            + usage.time_wait;
        assert_eq!(tcp, 4, "{usage:?}");
        let open = self.ends[1]
            .iter()
            .filter(|end| end.socket.is_some())
            .count();
        assert_eq!(usage.open, open);
        if self.listener.is_some() {
            assert_eq!(usage.free, 0, "what is free listens");
        } else {
            assert_eq!(usage.listening + usage.handshake + usage.waiting, 0);
        }
    }

    fn receive(&mut self, pair: &mut Pair, server: bool, number: usize, room: usize) {
        let Some(end) = self.find(server, number) else {
            return;
        };
        let socket = end.socket.as_mut().unwrap();
        let outcome = if server {
            common::receive(&mut pair.server, socket, room)
        } else {
            common::receive(&mut pair.client, socket, room)
        };
        let port = end.port;
        match outcome {
            Ok(some) if some.is_empty() && room > 0 => {
                let got = end.got;
                let other = self.other(server, port);
                // A connection that was never accepted, and whose listener is gone, is reset; it does not end.
                let other = other.expect("nobody can have ended it");
                assert!(other.ended, "the end of a stream that goes on");
                assert_eq!(got, other.sent, "the end of a stream that is not complete");
            }
            Ok(some) => {
                for (at, got) in some.iter().enumerate() {
                    assert_eq!(*got, octet(!server, port, end.got + at));
                }
                end.got += some.len();
                let got = end.got;
                assert!(got == 0 || got <= self.other(server, port).unwrap().sent);
            }
            Err(nb::Error::WouldBlock) => {}
            Err(nb::Error::Other(error)) => assert_eq!(error, Error::Closed),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_calls(calls in proptest::collection::vec(call(), 1..200)) {
        let mut pair = Pair::with(Default::default(), 1024, 5);
        let mut model = Model { listener: Some(pair.listen(PORT)), ..Model::default() };
        for call in calls {
            model.run(&mut pair, call);
        }
        for server in [false, true] {
            while model.find(server, 0).is_some() {
                model.run(&mut pair, Call::Close(server, 0));
            }
        }
        // Those that nobody has accepted wait until somebody does.
        while let Some((socket, _)) = model.listener.as_mut().and_then(|it| {
            pair.poll();
            pair.server.accept(it).ok()
        }) {
            close(&mut pair.server, socket);
        }
        pair.now += Duration::from_millis(1);
        let listening = if let Some(listener) = model.listener.take() {
            close(&mut pair.server, listener);
            pair.wait(25_000);
            model.listener = Some(pair.listen(PORT));
            4
        } else {
            0
        };
        pair.assert_at_rest(listening);
    }
}

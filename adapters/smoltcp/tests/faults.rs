//! Streams over a wire that loses, corrupts, repeats and reorders frames; and core's echo server behind the traits.

mod common;

use std::task::{Context, Waker};

use common::faults::{Faults, WIRES, pair};
use common::{PORT, Pair, Server, clock, close, octets, receive, send};
use embedded_nal::{TcpClientStack, TcpFullStack, nb};
use smoltcp::time::Instant;
use unstick_core::services::Echo;
use unstick_core::{Connection, Needs, Session};
use unstick_smoltcp::{Error, TcpSocket};

/// One end of a stream: sends all of it, reads to the end, closes.
struct End {
    socket: Option<TcpSocket>,
    unsent: Vec<u8>,
    got: Vec<u8>,
}

impl End {
    fn new(socket: TcpSocket, unsent: Vec<u8>) -> Self {
        Self {
            socket: Some(socket),
            unsent,
            got: vec![],
        }
    }

    /// One bounded step; whether it is over.
    fn step<T>(&mut self, stack: &mut T, shutdown: impl FnOnce(&mut T, &mut TcpSocket)) -> bool
    where
        T: TcpClientStack<TcpSocket = TcpSocket, Error = Error>,
    {
        let Some(socket) = &mut self.socket else {
            return true;
        };
        if !self.unsent.is_empty() {
            match send(stack, socket, &self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(nb::Error::WouldBlock) => {}
                Err(error) => panic!("{error:?}"),
            }
            if self.unsent.is_empty() {
                shutdown(stack, socket);
            }
        }
        match receive(stack, socket, 1000) {
            Ok(some) if some.is_empty() => {
                if self.unsent.is_empty() {
                    close(stack, self.socket.take().unwrap());
                }
            }
            Ok(some) => self.got.extend(some),
            Err(nb::Error::WouldBlock) => {}
            Err(error) => panic!("{error:?}"),
        }
        false
    }
}

#[test]
fn streams_are_exact() {
    for (wire, faults) in WIRES.into_iter().enumerate() {
        for seed in 1..4 {
            let mut pair: Pair = pair(faults, seed + 10 * wire as u32);
            let mut listener = pair.listen(PORT);
            let mut ends = vec![];
            let mut expected = vec![];
            for connection in 0..3 {
                let up = octets(9_000, seed + connection);
                let down = octets(12_000, seed + 100 + connection);
                let (client, server) = pair.connected(&mut listener);
                ends.push((End::new(client, up.clone()), End::new(server, down.clone())));
                expected.push((up, down));
            }
            pair.until(20_000, |pair| {
                let mut over = true;
                for (client, server) in &mut ends {
                    over &=
                        client.step(&mut pair.client, |it, socket| it.shutdown(socket).unwrap());
                    over &=
                        server.step(&mut pair.server, |it, socket| it.shutdown(socket).unwrap());
                }
                over
            });
            for ((client, server), (up, down)) in ends.iter().zip(&expected) {
                assert!(
                    &server.got == up && &client.got == down,
                    "{faults:?} {seed}"
                );
            }
            pair.wait(3_000_000);
            pair.assert_at_rest(4);
        }
    }
}

/// core's server for one connection, over nothing but the traits.
struct Echoing {
    session: Session<Echo<256>, 256, [u8; 300], [u8; 400]>,
    socket: Option<TcpSocket>,
}

impl Echoing {
    fn new(socket: TcpSocket, now: Instant) -> Self {
        let connection = Connection::new(Echo::new());
        Self {
            session: Session::new(connection, [0; 300], [0; 400], clock(now)),
            socket: Some(socket),
        }
    }

    fn step(&mut self, stack: &mut Server, now: Instant) {
        let now = clock(now);
        let Some(socket) = &mut self.socket else {
            return;
        };
        match self
            .session
            .advance(&mut Context::from_waker(Waker::noop()), now)
        {
            Needs::Read => match TcpClientStack::receive(stack, socket, self.session.room()) {
                Ok(len) => self.session.received(len, now),
                Err(nb::Error::WouldBlock) => {}
                Err(error) => panic!("{error:?}"),
            },
            Needs::Write => match TcpClientStack::send(stack, socket, self.session.unsent()) {
                Ok(len) => self.session.sent(len, now),
                Err(nb::Error::WouldBlock) => {}
                Err(error) => panic!("{error:?}"),
            },
            Needs::Close => close(stack, self.socket.take().unwrap()),
            _ => {}
        }
    }
}

#[test]
fn cores_echo() {
    for (wire, faults) in [Faults::default()].into_iter().chain(WIRES).enumerate() {
        let mut pair: Pair = pair(faults, 77 + wire as u32);
        let mut listener = pair.listen(PORT);
        let body = octets(100_000, 5);
        let header = br#"{"op":"echo","total_size":100000}"#;
        let mut request = (header.len() as i32).to_le_bytes().to_vec();
        request.extend(header);
        request.extend(&body);
        let (client, server) = pair.connected(&mut listener);
        let mut server = Echoing::new(server, pair.now);
        let mut client = End::new(client, request);
        pair.until(20_000, |pair| {
            for _ in 0..20 {
                server.step(&mut pair.server, pair.now);
            }
            client.step(&mut pair.client, |it, socket| it.shutdown(socket).unwrap())
        });
        let header = br#"{"total_size":100000}"#;
        assert_eq!(client.got[..4], (header.len() as i32).to_le_bytes());
        assert_eq!(&client.got[4..4 + header.len()], header);
        assert!(client.got[4 + header.len()..] == body, "{faults:?}");
        pair.until(3_000, |pair| {
            server.step(&mut pair.server, pair.now);
            server.socket.is_none()
        });
        pair.wait(3_000_000);
        pair.assert_at_rest(4);
        assert_eq!(
            pair.server.accept(&mut listener).unwrap_err(),
            nb::Error::WouldBlock
        );
    }
}

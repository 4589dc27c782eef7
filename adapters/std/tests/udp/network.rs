//! A network that loses, doubles and reorders changes no answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use unstick_core::services::Echo;

use super::*;

/// Chance, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // Xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A network between clients and a server: loses 30 % in either direction, doubles 30 %, holds 30 % back so
/// that others overtake them, and repeats old ones.
struct Network {
    front: UdpSocket,
    server: SocketAddr,
    /// A client, the socket that the server sees instead, and what was sent of late.
    paths: Vec<Path>,
    dice: Dice,
    held: Vec<(Instant, Datagram)>,
    passed: u64,
    lost: u64,
}

struct Path {
    client: SocketAddr,
    back: UdpSocket,
    past: VecDeque<(Instant, Datagram)>,
}

#[derive(Clone)]
struct Datagram {
    path: usize,
    to_server: bool,
    octets: Vec<u8>,
}

impl Network {
    fn before(server: SocketAddr, seed: u64) -> Self {
        let front = UdpSocket::bind(LOOPBACK).unwrap();
        front.set_nonblocking(true).unwrap();
        Self {
            front,
            server,
            paths: Vec::new(),
            dice: Dice(seed),
            held: Vec::new(),
            passed: 0,
            lost: 0,
        }
    }

    fn run(&mut self, over: &AtomicBool) {
        let millisecond = Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        while !over.load(Ordering::SeqCst) {
            let backs = self.paths.iter().map(|path| &path.back);
            let mut sockets: Vec<_> = std::iter::once(&self.front)
                .chain(backs)
                .map(|socket| PollFd::new(socket, PollFlags::IN))
                .collect();
            let _ = poll(&mut sockets, Some(&millisecond));
            drop(sockets);
            self.receive();
            let now = Instant::now();
            let held = std::mem::take(&mut self.held);
            let (due, held) = held.into_iter().partition(|(at, _)| *at <= now);
            self.held = held;
            for (_, datagram) in due {
                self.pass(&datagram);
            }
        }
    }

    fn receive(&mut self) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((len, client)) = self.front.recv_from(&mut buffer) {
            let known = self.paths.iter().position(|path| path.client == client);
            let path = known.unwrap_or_else(|| {
                let back = UdpSocket::bind(LOOPBACK).unwrap();
                back.connect(self.server).unwrap();
                back.set_nonblocking(true).unwrap();
                let past = VecDeque::new();
                self.paths.push(Path { client, back, past });
                self.paths.len() - 1
            });
            self.take(path, true, &buffer[..len]);
        }
        for path in 0..self.paths.len() {
            while let Ok(len) = self.paths[path].back.recv(&mut buffer) {
                self.take(path, false, &buffer[..len]);
            }
        }
    }

    fn take(&mut self, path: usize, to_server: bool, octets: &[u8]) {
        let datagram = Datagram {
            path,
            to_server,
            octets: octets.to_vec(),
        };
        let now = Instant::now();
        if self.dice.percent(10) {
            // Younger than what the server forgets.
            let past = &self.paths[path].past;
            let any = past.get(self.dice.below(1 + past.len() as u64) as usize);
            if let Some((at, old)) = any
                && now.duration_since(*at) < Duration::from_secs(10)
            {
                self.pass(&old.clone());
            }
        }
        let past = &mut self.paths[path].past;
        past.push_back((now, datagram.clone()));
        if past.len() > 64 {
            past.pop_front();
        }
        if self.dice.percent(30) {
            self.lost += 1;
            return;
        }
        for _ in 0..1 + u32::from(self.dice.percent(30)) {
            if self.dice.percent(30) {
                let pause = Duration::from_millis(self.dice.below(30));
                self.held.push((now + pause, datagram.clone()));
            } else {
                self.pass(&datagram);
            }
        }
    }

    fn pass(&mut self, datagram: &Datagram) {
        self.passed += 1;
        let Path { client, back, .. } = &self.paths[datagram.path];
        // What does not get through is lost.
        let _ = match datagram.to_server {
            true => back.send(&datagram.octets),
            false => self.front.send_to(&datagram.octets, client),
        };
    }
}

/// Runs `client` in eight threads, through such a network.
fn through_network(server: SocketAddr, seed: u64, client: impl Fn(usize, &mut Client) + Sync) {
    let mut network = Network::before(server, seed);
    let address = network.front.local_addr().unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let network = scope.spawn(|| {
            network.run(&over);
            network
        });
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let client = &client;
                scope.spawn(move || {
                    let mut socket = Client::connect(address)
                        .unwrap()
                        .with_first_pause(Duration::from_millis(10));
                    client(number, &mut socket);
                })
            })
            .collect();
        let outcomes: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        over.store(true, Ordering::SeqCst);
        let network = network.join().unwrap();
        assert!(network.lost > 0 && network.passed > 0);
        outcomes.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn a_bad_network_changes_no_answer() {
    let server = Server::bind(LOOPBACK, Limits::default()).unwrap();
    let factory = |_| Echo::<256>::new();
    serving(&server, factory, |address, _| {
        through_network(address, 1, |number, client| {
            for request in 0..125 {
                let body = format!("{number}.{request} ").repeat(1 + request % 100);
                let (answer, last) = ask(client, "echo", body.as_bytes());
                assert_eq!(answer, body.as_bytes());
                assert_eq!(last.error, None);
            }
        });
    });
}

#[test]
fn a_bad_network_does_nothing_twice() {
    const OPS: [&str; 4] = ["once", "many", "later", "later-many"];
    serving_effects(Limits::default(), |address, ran, _| {
        through_network(address, 2, |number, client| {
            for request in 0..40 {
                let op = OPS[request % 4];
                let body = format!("{number}.{request}.").repeat(1 + request / 2);
                let (answer, last) = ask(client, op, body.as_bytes());
                assert_eq!(answer, body.as_bytes());
                assert_eq!(last.exit, op.ends_with("many").then_some(1));
            }
        });
        let counts = ran.counts.lock().unwrap();
        assert_eq!(counts.len(), 8 * 40);
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    });
}

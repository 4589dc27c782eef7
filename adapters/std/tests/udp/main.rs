//! UDP over real sockets: what arrives late, twice, in disorder or not at all changes no answer, and does
//! nothing twice.

mod client;
mod network;
mod server;

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use unstick_core::{Code, Refusal, Reply, Request, Service};
use unstick_std::udp::{Client, Server};
use unstick_std::{Limits, Shutdown};

/// No test waits longer for anything; none should get near it.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOPBACK: &str = "127.0.0.1:0";

/// How often the request with this body was carried out, and how often one was given up.
#[derive(Default)]
struct Ran {
    counts: Mutex<HashMap<Vec<u8>, u32>>,
    cancelled: Mutex<u32>,
}

impl Ran {
    fn count(&self, body: &[u8]) -> u32 {
        *self.counts.lock().unwrap().get(body).unwrap_or(&0)
    }

    fn cancelled(&self) -> u32 {
        *self.cancelled.lock().unwrap()
    }
}

/// What a service waits for.
#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    fn opened_after(pause: Duration) -> Arc<Self> {
        let gate = Arc::new(Self::default());
        let theirs = Arc::clone(&gate);
        thread::spawn(move || {
            thread::sleep(pause);
            let mut state = theirs.0.lock().unwrap();
            state.0 = true;
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        });
        gate
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Counts what it carries out. The `op` says how the body comes back:
/// `once` in one frame, `many` in frames of ten octets and a last one with `exit`, `later` and `later-many`
/// the same after a while and with pauses, `endless` again and again, `never`, `panic`, `cut`.
struct Effects {
    ran: Arc<Ran>,
    op: String,
    body: Vec<u8>,
    whole: bool,
    frames: VecDeque<Vec<u8>>,
    frame: VecDeque<u8>,
    gate: Option<Arc<Gate>>,
}

impl Effects {
    fn new(ran: &Arc<Ran>) -> Self {
        Self {
            ran: Arc::clone(ran),
            op: String::new(),
            body: Vec::new(),
            whole: false,
            frames: VecDeque::new(),
            frame: VecDeque::new(),
            gate: None,
        }
    }
}

impl Service for Effects {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        self.op = request.op.as_ref().unwrap().as_str().to_owned();
        Ok(())
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        // Not all at once.
        let taken = octets.len().min(1000);
        self.body.extend_from_slice(&octets[..taken]);
        Ok(taken)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.whole = true;
        let mut counts = self.ran.counts.lock().unwrap();
        *counts.entry(self.body.clone()).or_default() += 1;
        drop(counts);
        if self.op.ends_with("many") {
            self.frames = self.body.chunks(10).map(<[u8]>::to_vec).collect();
        } else {
            self.frames = VecDeque::from([self.body.clone()]);
        }
        if self.op.starts_with("later") {
            self.gate = Some(Gate::opened_after(Duration::from_millis(5)));
        }
        assert_ne!(self.op, "panic", "as it was asked to");
        Ok(())
    }

    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        if !self.whole {
            return Poll::Pending;
        }
        if self.op == "never" {
            return Gate::default().poll(cx).map(|()| unreachable!());
        }
        if let Some(gate) = &self.gate
            && gate.poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        let Some(frame) = self.frames.pop_front() else {
            let mut head = Reply::new(0);
            head.exit = Some(i32::try_from(self.ran.count(&self.body)).unwrap());
            return Poll::Ready(Ok(head));
        };
        if self.op == "later-many" {
            self.gate = Some(Gate::opened_after(Duration::from_millis(1)));
        }
        if self.op == "endless" {
            self.frames.push_back(self.body.clone());
        }
        let mut head = Reply::new(frame.len() as u64);
        head.more = self.op.ends_with("many") || self.op == "endless";
        self.frame = frame.into();
        Poll::Ready(Ok(head))
    }

    fn fill(&mut self, _: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        if self.op == "cut" && self.frame.len() < self.body.len() {
            return Poll::Ready(Err(Refusal::new(Code::Internal, "as it was asked to")));
        }
        // Not all at once.
        let len = out.len().min(999).min(self.frame.len());
        let len = if self.op == "cut" { 1 } else { len };
        out[..len]
            .iter_mut()
            .for_each(|octet| *octet = self.frame.pop_front().unwrap());
        Poll::Ready(Ok(len))
    }

    fn cancel(&mut self) {
        *self.ran.cancelled.lock().unwrap() += 1;
    }
}

/// Ends the server also when the test has failed.
struct End<'a>(&'a Shutdown);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

fn serving<S: Service + Send>(
    server: &Server,
    factory: impl Fn(SocketAddr) -> S + Sync,
    test: impl FnOnce(SocketAddr, &Shutdown),
) {
    let shutdown = Shutdown::new().unwrap();
    thread::scope(|scope| {
        let served = scope.spawn(|| server.serve_forever(&shutdown, &factory));
        {
            let _end = End(&shutdown);
            test(server.local_addr().unwrap(), &shutdown);
        }
        served.join().unwrap().unwrap();
    });
}

fn serving_effects(limits: Limits, test: impl FnOnce(SocketAddr, &Ran, &Shutdown)) {
    let ran = Arc::new(Ran::default());
    let server = Server::bind(LOOPBACK, limits).unwrap();
    let factory = |_| Effects::new(&ran);
    serving(&server, factory, |address, shutdown| {
        test(address, &ran, shutdown)
    });
}

/// A peer that sends what it is told to.
struct Peer(UdpSocket);

impl Peer {
    fn of(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(LOOPBACK).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn send(&self, datagram: &[u8]) {
        self.0.send(datagram).unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        let mut datagram = vec![0; 1 << 16];
        let len = self.0.recv(&mut datagram).unwrap();
        datagram.truncate(len);
        datagram
    }

    fn ask(&self, datagram: &[u8]) -> Vec<u8> {
        self.send(datagram);
        self.receive()
    }

    /// Nothing is on its way to this peer: what the server answers is the answer to this.
    fn assert_quiet(&self) {
        let probe = frame(json!({"op": "once", "total_size": 5}), b"probe");
        assert_eq!(open(&self.ask(&probe)).1, b"probe");
    }
}

fn frame(header: Value, body: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    let prefix = i32::try_from(header.len()).unwrap().to_le_bytes();
    [&prefix, header.as_bytes(), body].concat()
}

fn open(datagram: &[u8]) -> (Value, &[u8]) {
    let (prefix, rest) = datagram.split_first_chunk().unwrap();
    let (header, body) = rest.split_at(i32::from_le_bytes(*prefix) as usize);
    let header: Value = serde_json::from_slice(header).unwrap();
    assert_eq!(header["total_size"], body.len());
    (header, body)
}

fn asked(op: &str, id: u32, body: &[u8]) -> Vec<u8> {
    frame(json!({"op": op, "id": id, "total_size": body.len()}), body)
}

/// The bodies of a reply, one after another, and the header of its last frame.
fn ask(client: &mut Client, op: &str, body: &[u8]) -> (Vec<u8>, Reply) {
    let (mut whole, mut last) = (Vec::new(), None);
    let request = Request::new(op, 0);
    let outcome = client.request(request, body, PATIENCE, |reply, body| {
        assert!(last.is_none(), "a frame behind the last");
        whole.extend_from_slice(body);
        if !reply.more {
            last = Some(reply.clone());
        }
    });
    outcome.unwrap();
    (whole, last.unwrap())
}

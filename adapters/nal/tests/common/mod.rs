//! A server over std-embedded-nal in a thread, and frames.
#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use std_embedded_nal::Stack;
use unstick_core::Route;
use unstick_core::services::{Echo, Info};
use unstick_nal::{Limits, Slot, TcpServer, TcpStats, std_stack};

/// What never takes this long.
pub const SOON: Duration = Duration::from_secs(5);
/// What may take this long on a machine that has much else to do.
pub const LONG: Duration = Duration::from_secs(20);

/// The defaults, with deadlines that no test reaches.
pub fn limits() -> Limits {
    Limits::default()
}

/// A service for a board.
pub fn service() -> impl Route + Send {
    let info = Info {
        name: "test",
        version: "0",
        max_header: 256,
        max_body: u64::MAX,
        max_datagram: 0,
        ops: &["echo", "info"],
    };
    Echo::<64>::new().or(info.into_service())
}

/// A server that runs until it is stopped.
pub struct Served {
    pub port: u16,
    stop: Arc<AtomicBool>,
    idle: Arc<AtomicBool>,
    thread: Option<JoinHandle<TcpStats>>,
}

/// Serves on `SLOTS` small slots.
pub fn serve<const SLOTS: usize>(limits: Limits) -> Served {
    let (stop, idle) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (stopped, is_idle) = (Arc::clone(&stop), Arc::clone(&idle));
    let (sender, port) = channel();
    let thread = thread::spawn(move || {
        let mut stack = Stack;
        let mut slots: [Slot<_, _, 256, 128, 256>; SLOTS] = [const { Slot::FREE }; SLOTS];
        let policy = std_stack::Policy {
            loopback_only: true,
        };
        let mut server = TcpServer::bind(&mut stack, 0, policy, limits, &mut slots).unwrap();
        sender
            .send(std_stack::local_port(server.listener()).unwrap())
            .unwrap();
        let start = Instant::now();
        let mut stopping = false;
        loop {
            if stopped.load(Ordering::SeqCst) && !stopping {
                server.stop(start.elapsed() + Duration::from_millis(300));
                stopping = true;
            }
            match server.poll(&mut stack, start.elapsed(), |peer| {
                assert!(peer.ip().is_loopback(), "canonical");
                service()
            }) {
                Ok(()) => {}
                Err(nb::Error::WouldBlock) => {
                    is_idle.store(server.is_idle(), Ordering::SeqCst);
                    if stopping && server.is_idle() {
                        break;
                    }
                    thread::sleep(Duration::from_micros(100));
                }
                Err(nb::Error::Other(error)) => panic!("{error:?}"),
            }
        }
        let stats = server.stats();
        server.close(&mut stack);
        stats
    });
    Served {
        port: port.recv().unwrap(),
        stop,
        idle,
        thread: Some(thread),
    }
}

impl Served {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Asks for an echo until there is a slot for it.
    pub fn echoes_again(&self) {
        let deadline = Instant::now() + SOON;
        loop {
            let mut peer = self.connect();
            let _ = peer.write_all(&frame(&json!({"op": "echo"}), b"again"));
            let (header, body) = answer(&mut peer);
            if header["error"] != "busy" {
                assert_eq!(body, b"again");
                return;
            }
            assert!(Instant::now() < deadline, "busy for ever");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until nobody is connected.
    pub fn is_idle_soon(&self) {
        let deadline = Instant::now() + SOON;
        self.idle.store(false, Ordering::SeqCst);
        while !self.idle.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "a slot is lost");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn stop(mut self) -> TcpStats {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A frame with `header`, to which the length of `body` is added.
pub fn frame(header: &Value, body: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    header["total_size"] = body.len().into();
    let header = header.to_string();
    let prefix = i32::try_from(header.len()).unwrap().to_le_bytes();
    [&prefix, header.as_bytes(), body].concat()
}

/// Reads a frame.
pub fn answer(stream: &mut impl Read) -> (Value, Vec<u8>) {
    try_answer(stream).expect("a frame")
}

/// Reads a frame, if it comes whole.
pub fn try_answer(stream: &mut impl Read) -> Option<(Value, Vec<u8>)> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).ok()?;
    let mut header = vec![0; u32::from_le_bytes(prefix) as usize];
    stream.read_exact(&mut header).ok()?;
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    let len = usize::try_from(header["total_size"].as_u64().expect("a length")).unwrap();
    let mut body = vec![0; len];
    stream.read_exact(&mut body).ok()?;
    Some((header, body))
}

pub fn assert_ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .expect("the end, and no reset");
    assert_eq!(rest, b"");
}

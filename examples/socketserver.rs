//! Python's `socketserver`, in Rust: `cargo run --example socketserver [-- ADDR]`.
//!
//! Lines and datagrams come back in capitals. Talk to it with `nc 127.0.0.1 8896` and `nc -u 127.0.0.1 8896`, several at
//! once; Enter or Ctrl-D here is `shutdown()`. `unstick_std::bare` has the Python beside it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::thread;

use unstick_std::bare::{Handler, Stream, TcpServer, UdpServer};
use unstick_std::{Limits, Shutdown};

/// `class Upper(socketserver.StreamRequestHandler)`
struct Upper(SocketAddr);

impl Upper {
    /// `def setup(self)`
    fn new(peer: SocketAddr) -> Self {
        println!("{peer} is here");
        Self(peer)
    }
}

impl Handler for Upper {
    /// `def handle(self)`
    fn handle(&mut self, stream: &mut Stream<'_>, _peer: SocketAddr) -> io::Result<()> {
        for line in BufReader::new(&*stream).lines() {
            let reply = line?.to_uppercase() + "\n";
            (&*stream).write_all(reply.as_bytes())?;
        }
        Ok(())
    }
}

impl Drop for Upper {
    /// `def finish(self)`
    fn drop(&mut self) {
        println!("{} is gone", self.0);
    }
}

/// `socketserver.UDPServer`: a datagram in, a datagram out. A function will do.
fn upper(datagram: &[u8], _peer: SocketAddr) -> Option<Vec<u8>> {
    Some(String::from_utf8_lossy(datagram).to_uppercase().into())
}

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8896".into());
    let tcp = TcpServer::bind(&addr, Limits::default())?;
    let udp = UdpServer::bind(&addr, Limits::default())?;
    println!("listening tcp {}", tcp.local_addr()?);
    println!("listening udp {}", udp.local_addr()?);

    let shutdown = Shutdown::new()?;
    thread::scope(|scope| {
        scope.spawn(|| tcp.serve_forever(&shutdown, Upper::new));
        scope.spawn(|| udp.serve_forever(&shutdown, |_peer| upper));
        let read = io::stdin().read_line(&mut String::new());
        shutdown.request();
        read.map(|_| ())
    })
}

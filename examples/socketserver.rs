//! Python's `socketserver`, in Rust, without frames: `cargo run --example socketserver`.
//!
//! One will see two peers at once come, have their lines turned into capitals and go; and a datagram. With an address,
//! `-- 127.0.0.1:8896`, it serves until Enter or Ctrl-D, which is `shutdown()`: talk to it with `nc 127.0.0.1 8896` and
//! `nc -u 127.0.0.1 8896`. `unstick_std::bare` has the Python beside it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use unstick_std::bare::{Handler, Stream, TcpServer, UdpServer};
use unstick_std::{Limits, Shutdown, udp};

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
        // Without frames it is for the handler to know where a message ends: here at the end of a line.
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

/// Two peers at once, and a datagram.
fn talk(tcp: SocketAddr, udp: SocketAddr) -> io::Result<()> {
    let peers = [TcpStream::connect(tcp)?, TcpStream::connect(tcp)?];
    for (mut peer, line) in peers.iter().zip(["hello", "straße"]) {
        writeln!(peer, "{line}")?;
        let mut reply = String::new();
        BufReader::new(peer).read_line(&mut reply)?;
        println!("tcp {line} -> {}", reply.trim_end());
    }
    let socket = udp::connect(udp)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send(b"datagram")?;
    let mut reply = [0; 64];
    let len = socket.recv(&mut reply)?;
    println!("udp datagram -> {}", String::from_utf8_lossy(&reply[..len]));
    Ok(())
}

fn main() -> io::Result<()> {
    let given = std::env::args().nth(1);
    let addr = given.as_deref().unwrap_or("127.0.0.1:0");
    let tcp = TcpServer::bind(addr, Limits::default())?;
    let udp = UdpServer::bind(addr, Limits::default())?;
    let (tcp_addr, udp_addr) = (tcp.local_addr()?, udp.local_addr()?);
    println!("listening tcp {tcp_addr}\nlistening udp {udp_addr}");

    let shutdown = Shutdown::new()?;
    thread::scope(|scope| {
        scope.spawn(|| tcp.serve_forever(&shutdown, Upper::new));
        scope.spawn(|| udp.serve_forever(&shutdown, |_peer| upper));
        let done = match given {
            Some(_) => io::stdin().read_line(&mut String::new()).map(|_| ()),
            None => talk(tcp_addr, udp_addr),
        };
        shutdown.request();
        done
    })
}

//! Servers without frames, as short to write as Python's `socketserver`: a type with one method, an address,
//! `serve_forever`.
//!
//! A stream is then what TCP makes of it: one send may arrive in pieces, and several stuck together. Where one message
//! ends is the handler's to know. A server that would rather be told is [`tcp::Server`](crate::tcp::Server).
//!
//! | `socketserver` | here |
//! |---|---|
//! | `ThreadingTCPServer(addr, Handler)` | [`TcpServer::bind`]`(addr, limits)`: one thread a connection, [`Limits::max_connections`] of them |
//! | `TCPServer(addr, Handler)` | the same with `max_connections: 1`; but the next is not made to wait, it is closed at once |
//! | `ThreadingUDPServer`, `UDPServer` | [`UdpServer`]; with `max_connections: 1` one datagram after the other |
//! | `setup()` | the handler's constructor, in the factory that [`TcpServer::serve_forever`] takes |
//! | `handle()` | [`Handler::handle`], [`DatagramHandler::handle`] |
//! | `finish()` | `Drop` |
//! | `self.request`, `rfile`, `wfile` | [`Stream`], with `BufReader` and `BufWriter` where they help |
//! | `timeout` | [`Limits::idle_timeout`], [`Stream::set_deadline`] |
//! | `shutdown()` | [`Shutdown::request`], which streams heed too: no handler waits for its peer any longer |
//! | `handle_error()` | what `handle` returns, or panics with, goes to the log (`tracing`) |
//!
//! [`Limits::max_connections`]: crate::Limits::max_connections
//! [`Limits::idle_timeout`]: crate::Limits::idle_timeout
//! [`Shutdown::request`]: crate::Shutdown::request
//!
//! # A TCP server
//!
//! ```python
//! class Upper(socketserver.StreamRequestHandler):
//!     def handle(self):
//!         for line in self.rfile:
//!             self.wfile.write(line.upper())
//!
//! with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Upper) as server:
//!     server.serve_forever()
//! ```
//!
//! ```
//! use std::io::{self, BufRead, BufReader, Read, Write};
//! use std::net::{Shutdown as Direction, SocketAddr, TcpStream};
//! use unstick_std::bare::{Handler, Stream, TcpServer};
//! use unstick_std::{Limits, Shutdown};
//!
//! struct Upper;
//!
//! impl Handler for Upper {
//!     fn handle(&mut self, stream: &mut Stream<'_>, _peer: SocketAddr) -> io::Result<()> {
//!         for line in BufReader::new(&*stream).lines() {
//!             let reply = line?.to_uppercase() + "\n";
//!             (&*stream).write_all(reply.as_bytes())?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let server = TcpServer::bind("127.0.0.1:0", Limits::default())?;
//! let (address, shutdown) = (server.local_addr()?, Shutdown::new()?);
//! std::thread::scope(|scope| {
//!     scope.spawn(|| server.serve_forever(&shutdown, |_peer| Upper));
//!
//!     let mut peer = TcpStream::connect(address)?;
//!     peer.write_all(b"hello\nworld\n")?;
//!     peer.shutdown(Direction::Write)?;
//!     let mut reply = String::new();
//!     peer.read_to_string(&mut reply)?;
//!     assert_eq!(reply, "HELLO\nWORLD\n");
//!
//!     shutdown.request();
//!     Ok::<(), io::Error>(())
//! })?;
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # setup, handle, finish
//!
//! ```python
//! class Session(socketserver.BaseRequestHandler):
//!     def setup(self):
//!         print("hello", self.client_address)
//!
//!     def handle(self):
//!         while data := self.request.recv(1024):
//!             self.request.sendall(data)
//!
//!     def finish(self):
//!         print("goodbye", self.client_address)
//! ```
//!
//! ```
//! # use std::io::{self, Read, Write};
//! # use std::net::SocketAddr;
//! # use unstick_std::bare::{Handler, Stream};
//! struct Session {
//!     peer: SocketAddr,
//! }
//!
//! impl Session {
//!     fn new(peer: SocketAddr) -> Self {
//!         println!("hello {peer}");
//!         Self { peer }
//!     }
//! }
//!
//! impl Handler for Session {
//!     fn handle(&mut self, stream: &mut Stream<'_>, _peer: SocketAddr) -> io::Result<()> {
//!         let mut data = [0; 1024];
//!         loop {
//!             match stream.read(&mut data)? {
//!                 0 => return Ok(()),
//!                 len => stream.write_all(&data[..len])?,
//!             }
//!         }
//!     }
//! }
//!
//! impl Drop for Session {
//!     fn drop(&mut self) {
//!         println!("goodbye {}", self.peer);
//!     }
//! }
//!
//! # let server = unstick_std::bare::TcpServer::bind("127.0.0.1:0", unstick_std::Limits::default())?;
//! # let shutdown = unstick_std::Shutdown::new()?;
//! # shutdown.request();
//! server.serve_forever(&shutdown, Session::new)?;
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # A UDP server
//!
//! ```python
//! class Upper(socketserver.BaseRequestHandler):
//!     def handle(self):
//!         data, sock = self.request
//!         sock.sendto(data.upper(), self.client_address)
//!
//! with socketserver.UDPServer(("127.0.0.1", 0), Upper) as server:
//!     server.serve_forever()
//! ```
//!
//! ```
//! use std::net::{SocketAddr, UdpSocket};
//! use unstick_std::bare::{DatagramHandler, UdpServer};
//! use unstick_std::{Limits, Shutdown};
//!
//! struct Upper;
//!
//! impl DatagramHandler for Upper {
//!     fn handle(&mut self, datagram: &[u8], _peer: SocketAddr) -> Option<Vec<u8>> {
//!         Some(datagram.to_ascii_uppercase())
//!     }
//! }
//!
//! let one_by_one = Limits { max_connections: 1, ..Limits::default() };
//! let server = UdpServer::bind("127.0.0.1:0", one_by_one)?;
//! let (address, shutdown) = (server.local_addr()?, Shutdown::new()?);
//! std::thread::scope(|scope| {
//!     scope.spawn(|| server.serve_forever(&shutdown, |_peer| Upper));
//!
//!     let peer = UdpSocket::bind("127.0.0.1:0")?;
//!     peer.send_to(b"hello", address)?;
//!     let mut reply = [0; 1024];
//!     let (len, _) = peer.recv_from(&mut reply)?;
//!     assert_eq!(&reply[..len], b"HELLO");
//!
//!     shutdown.request();
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # The same with frames
//!
//! No line of Python, since `socketserver` has none: the method gets a whole body and writes a whole reply, and nothing
//! sticks together.
//!
//! ```no_run
//! use unstick_core::services::{Output, Responder};
//! use unstick_std::{Limits, Shutdown, tcp};
//!
//! let upper = |body: &[u8], out: &mut Output<'_>| {
//!     out.write(&body.to_ascii_uppercase());
//!     Ok(())
//! };
//! let server = tcp::Server::bind("127.0.0.1:8896", Limits::default())?;
//! server.serve_forever(&Shutdown::new()?, |_peer| Responder::<_, 1024, 1024>::new("upper", upper))?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod stream;
mod tcp;
mod udp;

pub use stream::Stream;
pub use tcp::{Handler, TcpServer};
pub use udp::{DatagramHandler, UdpServer};

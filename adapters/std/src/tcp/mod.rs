//! The threaded TCP server: one thread a connection, as many as [`Limits::max_connections`] allows.

mod connection;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};

use unstick_core::{Refusal, Reply, Service, encode};

use crate::accept::Listener;
use crate::limits::Limits;
use crate::shutdown::Shutdown;
use crate::stats::TcpStats;
use connection::{Peer, RETRY_AFTER_MS};

/// A TCP server: the role of Python's `ThreadingTCPServer`.
///
/// ```no_run
/// use unstick_core::services::Echo;
/// use unstick_std::{Limits, Shutdown, tcp};
///
/// let server = tcp::Server::bind("127.0.0.1:0", Limits::default())?;
/// println!("listening tcp {}", server.local_addr()?);
/// server.serve_forever(&Shutdown::new()?, |_peer| Echo::<4096>::new())?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Server(Listener);

impl Server {
    /// A server that listens on `addr`; connections wait until it serves.
    ///
    /// # Errors
    /// If `addr` names no address, or none that can be listened on.
    pub fn bind(addr: impl ToSocketAddrs, limits: Limits) -> io::Result<Self> {
        Listener::bind(addr, limits).map(Self)
    }

    /// The same on a socket that listens already: one that another process has handed over, say.
    ///
    /// # Errors
    /// If it does not listen, or the system fails.
    pub fn from_listener(listener: TcpListener, limits: Limits) -> io::Result<Self> {
        Listener::from_listener(listener, limits).map(Self)
    }

    /// What was done so far.
    pub fn stats(&self) -> TcpStats {
        self.0.stats()
    }

    /// The address that the server listens on, with the port that it was given for port 0.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until `shutdown` is requested, each peer with a service of its own from `factory`.
    ///
    /// Returns when the last connection has ended, at most [`Limits::grace`] and a second after the request. Who
    /// connects in the meantime is told `busy`.
    ///
    /// # Errors
    /// If waiting for connections fails. What fails on one connection ends that one alone.
    pub fn serve_forever<S: Service>(
        &self,
        shutdown: &Shutdown,
        factory: impl Fn(SocketAddr) -> S + Sync,
    ) -> io::Result<()> {
        let serve = |stream: &TcpStream, peer| {
            Peer::new(stream, &self.0.limits, shutdown, factory(peer)).serve()
        };
        self.0.serve_forever(shutdown, tell_busy, serve)
    }
}

/// Tells a new peer `busy`, with this sentence.
fn tell_busy(mut stream: &TcpStream, sentence: &str) -> io::Result<()> {
    let refusal = Refusal::busy(sentence, RETRY_AFTER_MS);
    let mut frame = [0; 256];
    let len = encode(&Reply::from(refusal), &mut frame).map_err(io::Error::other)?;
    // A new connection has room for so little.
    stream.write_all(&frame[..len])
}

//! The TCP server: one handler a connection, each on a thread of its own.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};

use super::Stream;
use crate::accept::{Listener, close};
use crate::limits::Limits;
use crate::shutdown::Shutdown;
use crate::stats::TcpStats;

/// What is done with a connection. A closure of the same arguments is one too.
pub trait Handler {
    /// Talks with the peer; when this returns, the connection is closed, so that the peer gets what was sent last.
    ///
    /// # Errors
    /// What ends the connection early: it goes to the log.
    fn handle(&mut self, stream: &mut Stream<'_>, peer: SocketAddr) -> io::Result<()>;
}

impl<F: FnMut(&mut Stream<'_>, SocketAddr) -> io::Result<()>> Handler for F {
    fn handle(&mut self, stream: &mut Stream<'_>, peer: SocketAddr) -> io::Result<()> {
        self(stream, peer)
    }
}

/// A TCP server without frames: see [the module](super).
///
/// Of its [`Limits`], the number of connections, the idle timeout and the grace count. A connection too many is
/// closed without a word: there is nothing to say that every peer would understand.
#[derive(Debug)]
pub struct TcpServer(Listener);

impl TcpServer {
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

    /// Serves until `shutdown` is requested, each connection with a handler of its own from `factory`, made on the
    /// connection's thread.
    ///
    /// Returns when the last connection has ended, at most [`Limits::grace`] and a second after the request, if
    /// handlers heed what their streams say. A handler that panics ends its own connection alone.
    ///
    /// # Errors
    /// If waiting for connections fails. What fails on one connection ends that one alone.
    pub fn serve_forever<H: Handler>(
        &self,
        shutdown: &Shutdown,
        factory: impl Fn(SocketAddr) -> H + Sync,
    ) -> io::Result<()> {
        let serve = |socket: &TcpStream, peer| {
            let mut stream = Stream::new(socket, &self.0.limits, shutdown);
            // The handler is dropped before the connection is closed.
            let handled = factory(peer).handle(&mut stream, peer);
            let closed = close(socket, stream.has_ended());
            handled.and(closed)
        };
        self.0.serve_forever(shutdown, |_, _| Ok(()), serve)
    }
}

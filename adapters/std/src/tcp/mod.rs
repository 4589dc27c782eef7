//! The threaded TCP server: one thread a connection, as many as [`Limits::max_connections`] allows.

mod connection;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown as Direction, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::{Domain, Protocol, Socket, Type};
use unstick_core::{Refusal, Reply, Service, encode};

use crate::limits::Limits;
use crate::poll::{is_ready, wait_until};
use crate::shutdown::Shutdown;
use connection::{LINGER, Peer, RETRY_AFTER_MS};

/// Connections that may wait to be accepted. With std's 128 a burst of a thousand waits for whole seconds.
const BACKLOG: i32 = 4096;
/// How long not to accept after accepting has failed, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often to look whether the last connection has ended, after a shutdown was requested.
const LAST_PAUSE: Duration = Duration::from_millis(20);
/// Peers that were told `busy` and have not closed yet; the oldest is let go when there are more.
const MAX_REFUSED: usize = 256;

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
pub struct Server {
    listener: TcpListener,
    limits: Limits,
}

impl Server {
    /// A server that listens on `addr`; connections wait until it serves.
    ///
    /// # Errors
    /// If `addr` names no address, or none that can be listened on.
    pub fn bind(addr: impl ToSocketAddrs, limits: Limits) -> io::Result<Self> {
        let mut failure = io::Error::new(ErrorKind::InvalidInput, "no address to listen on");
        for addr in addr.to_socket_addrs()? {
            match listen(addr) {
                Ok(listener) => return Ok(Self { listener, limits }),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The address that the server listens on, with the port that it was given for port 0.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
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
        let factory = &factory;
        let active = AtomicUsize::new(0);
        let mut refused = Refused::default();
        thread::scope(|scope| {
            while !shutdown.is_requested() || active.load(Ordering::Relaxed) > 0 {
                refused.wait(&self.listener, shutdown)?;
                let (places, sentence) = match shutdown.is_requested() {
                    true => (0, "the server is shutting down"),
                    false => (
                        self.limits.max_connections,
                        "too many connections; try again later",
                    ),
                };
                match self.listener.accept() {
                    Ok((stream, peer)) => match Place::take(&active, places) {
                        Some(place) => {
                            let serve = move || self.serve(stream, peer, place, shutdown, factory);
                            spawn(scope, peer, serve);
                        }
                        None => {
                            tracing::info!(%peer, "busy");
                            refused.add(stream, sentence);
                        }
                    },
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}");
                        thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
            Ok(())
        })
    }

    /// Serves one connection, on its own thread.
    fn serve<S: Service>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        _place: Place<'_>,
        shutdown: &Shutdown,
        factory: impl Fn(SocketAddr) -> S,
    ) {
        let _span = tracing::info_span!("tcp", %peer).entered();
        tracing::debug!("connected");
        let serve = || {
            stream.set_nonblocking(true)?;
            // Replies leave in as few writes as there can be; holding them back gains nothing.
            stream.set_nodelay(true)?;
            Peer::new(&stream, &self.limits, shutdown, factory(peer)).serve()
        };
        match catch_unwind(AssertUnwindSafe(serve)) {
            Ok(Ok(())) => tracing::debug!("closed"),
            Ok(Err(error)) => tracing::info!("closed: {error}"),
            Err(_) => tracing::error!("the service panicked: this is a bug in it"),
        }
    }
}

/// A socket that listens on `addr`.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A server that is started again need not wait for the connections of the one before to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether an error of accept(2) says nothing of the listener: nobody there, or nobody any more.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}

fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    peer: SocketAddr,
    serve: impl FnOnce() + Send + 'scope,
) {
    let thread = thread::Builder::new().name(peer.to_string());
    if let Err(error) = thread.spawn_scoped(scope, serve) {
        tracing::warn!(%peer, "no thread for a connection: {error}");
    }
}

/// One of the connections that are allowed at once.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(active: &'a AtomicUsize, max: usize) -> Option<Self> {
        // Only one thread takes places, so none is taken between these two lines.
        (active.load(Ordering::Relaxed) < max).then(|| {
            active.fetch_add(1, Ordering::Relaxed);
            Self(active)
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Peers that were told `busy`, until they close: see [`LINGER`].
#[derive(Default)]
struct Refused(VecDeque<(TcpStream, Instant)>);

impl Refused {
    /// Tells a peer `busy`.
    fn add(&mut self, stream: TcpStream, sentence: &str) {
        let refusal = Refusal::busy(sentence, RETRY_AFTER_MS);
        let mut frame = [0; 256];
        let told = encode(&Reply::from(refusal), &mut frame)
            .map_err(io::Error::other)
            .and_then(|len| {
                stream.set_nonblocking(true)?;
                // A new connection has room for so little.
                (&stream).write_all(&frame[..len])?;
                stream.shutdown(Direction::Write)
            });
        if let Err(error) = told {
            tracing::debug!("a peer was not told that the server is busy: {error}");
            return;
        }
        if self.0.len() == MAX_REFUSED {
            self.0.pop_front();
        }
        self.0.push_back((stream, Instant::now() + LINGER));
    }

    /// Waits for a connection or a shutdown, and takes in what refused peers send. Once the shutdown is
    /// requested, not for long: there is no telling here when the last connection ends.
    fn wait(&mut self, listener: &TcpListener, shutdown: &Shutdown) -> io::Result<()> {
        let oldest = self.0.front().map(|(_, until)| *until);
        let (deadline, of_shutdown) = match shutdown.is_requested() {
            false => (oldest, PollFlags::IN),
            true => (Some(Instant::now() + LAST_PAUSE), PollFlags::empty()),
        };
        let mut fds = vec![
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(shutdown.as_fd(), of_shutdown),
        ];
        let streams = self.0.iter().map(|(stream, _)| stream.as_fd());
        fds.extend(streams.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        wait_until(&mut fds, deadline)?;
        let ready: Vec<bool> = fds[2..].iter().map(is_ready).collect();
        let mut ready = ready.into_iter();
        let now = Instant::now();
        self.0.retain(|(stream, until)| {
            let has_closed = ready.next() == Some(true) && has_closed(stream);
            !has_closed && now < *until
        });
        Ok(())
    }
}

/// Takes in some of what a peer sends; whether it has closed.
fn has_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 4096]) {
        Ok(octets) => octets == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}

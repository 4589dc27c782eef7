//! Accepting connections: a thread for each, a bound on their number, and a polite end for all of them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown as Direction, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::limits::Limits;
use crate::poll::{is_ready, wait_until};
use crate::shutdown::Shutdown;
use crate::stats::{Counter, TcpStats};

/// How long a closed connection takes in what its peer still sends: closing with octets unread would reset
/// the connection, and the reset would overtake what was sent last.
const LINGER: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted. With std's 128 a burst of a thousand waits for whole seconds.
const BACKLOG: i32 = 4096;
/// How long not to accept after accepting has failed, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often to look whether the last connection has ended, after a shutdown was requested.
const LAST_PAUSE: Duration = Duration::from_millis(20);
/// Peers that were turned away and have not closed yet; the oldest is let go when there are more.
const MAX_REFUSED: usize = 256;

/// What listens, and what every server on TCP does with who comes.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    pub(crate) limits: Limits,
    accepted: Counter,
    refused: Counter,
    active: AtomicUsize,
}

impl Listener {
    /// Listens on the first address of `addr` that can be had.
    pub(crate) fn bind(addr: impl ToSocketAddrs, limits: Limits) -> io::Result<Self> {
        let mut failure = io::Error::new(ErrorKind::InvalidInput, "no address to listen on");
        for addr in addr.to_socket_addrs()? {
            match listen(addr) {
                Ok(listener) => return Ok(Self::new(listener, limits)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// On a socket that listens already.
    pub(crate) fn from_listener(listener: TcpListener, limits: Limits) -> io::Result<Self> {
        if !SockRef::from(&listener).is_listener()? {
            let message = "the socket does not listen: it is one connection";
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        listener.set_nonblocking(true)?;
        Ok(Self::new(listener, limits))
    }

    fn new(listener: TcpListener, limits: Limits) -> Self {
        Self {
            listener,
            limits,
            accepted: Counter::default(),
            refused: Counter::default(),
            active: AtomicUsize::new(0),
        }
    }

    pub(crate) fn stats(&self) -> TcpStats {
        TcpStats {
            accepted: self.accepted.get(),
            refused: self.refused.get(),
            open: self.active.load(Ordering::Relaxed) as u64,
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is requested and the last connection has ended: each on a thread of its own, where
    /// `serve` gets it non-blocking. Who comes when there is no place gets from `turn_away` what there is to say, the
    /// reason is a sentence, and the connection is closed.
    pub(crate) fn serve_forever(
        &self,
        shutdown: &Shutdown,
        turn_away: impl Fn(&TcpStream, &str) -> io::Result<()>,
        serve: impl Fn(&TcpStream, SocketAddr) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        let serve = &serve;
        let active = &self.active;
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
                    Ok((stream, peer)) => match Place::take(active, places) {
                        Some(place) => {
                            self.accepted.add_one();
                            spawn(scope, peer, move || serve_one(&stream, peer, place, serve));
                        }
                        None => {
                            self.refused.add_one();
                            tracing::info!(%peer, "busy");
                            refused.add(stream, |stream| turn_away(stream, sentence));
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
}

/// Serves one connection, on its own thread.
fn serve_one(
    stream: &TcpStream,
    peer: SocketAddr,
    _place: Place<'_>,
    serve: impl Fn(&TcpStream, SocketAddr) -> io::Result<()>,
) {
    let _span = tracing::info_span!("tcp", %peer).entered();
    tracing::debug!("connected");
    let serve = || {
        stream.set_nonblocking(true)?;
        // Replies leave in as few writes as there can be; holding them back gains nothing.
        stream.set_nodelay(true)?;
        serve(stream, peer)
    };
    match catch_unwind(AssertUnwindSafe(serve)) {
        Ok(Ok(())) => tracing::debug!("closed"),
        Ok(Err(error)) => tracing::info!("closed: {error}"),
        Err(_) => tracing::error!("the service panicked: this is a bug in it"),
    }
}

/// Closes a non-blocking connection so that the peer gets what was sent last. Of a peer that has `ended` its
/// sending side there is nothing to wait for.
pub(crate) fn close(stream: &TcpStream, mut ended: bool) -> io::Result<()> {
    stream.shutdown(Direction::Write)?;
    let end = Instant::now() + LINGER;
    while !ended && Instant::now() < end {
        match (&mut &*stream).read(&mut [0; 4096]) {
            Ok(octets) => ended = octets == 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let stream = PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN);
                wait_until(&mut [stream], Some(end))?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

/// One of those that are allowed at once.
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    pub(crate) fn take(active: &'a AtomicUsize, max: usize) -> Option<Self> {
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

/// Peers that were turned away, until they close: see [`LINGER`].
#[derive(Default)]
struct Refused(VecDeque<(TcpStream, Instant)>);

impl Refused {
    /// Turns a peer away.
    fn add(&mut self, stream: TcpStream, say: impl FnOnce(&TcpStream) -> io::Result<()>) {
        let told = stream
            .set_nonblocking(true)
            .and_then(|()| say(&stream))
            .and_then(|()| stream.shutdown(Direction::Write));
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

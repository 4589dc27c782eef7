//! The UDP server: a datagram in, at most one out.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use tracing::{debug, error, warn};

use crate::accept::Place;
use crate::limits::Limits;
use crate::poll::{is_ready, wait};
use crate::shutdown::Shutdown;
use crate::stats::{UdpCounters, UdpStats};
use crate::udp::{adopt, bind, send};
use crate::wake::WakePipe;

/// How long not to receive after receiving has failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// What is done with a datagram. A closure of the same arguments is one too.
pub trait DatagramHandler {
    /// The answer to a datagram, if there is one: up to [`udp::MAX_DATAGRAM`](crate::udp::MAX_DATAGRAM) octets.
    fn handle(&mut self, datagram: &[u8], peer: SocketAddr) -> Option<Vec<u8>>;
}

impl<F: FnMut(&[u8], SocketAddr) -> Option<Vec<u8>>> DatagramHandler for F {
    fn handle(&mut self, datagram: &[u8], peer: SocketAddr) -> Option<Vec<u8>> {
        self(datagram, peer)
    }
}

/// A UDP server without frames: see [the module](super).
///
/// Datagrams get lost, and arrive twice: one that does is handled twice. At most [`Limits::max_connections`] are handled
/// at once, each on a thread of its own; the next wait in the system's queue, which drops those it has no room for.
#[derive(Debug)]
pub struct UdpServer {
    socket: UdpSocket,
    limits: Limits,
    counters: UdpCounters,
}

impl UdpServer {
    /// A server on this address; port 0 lets the system choose one.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn bind(addr: impl ToSocketAddrs, limits: Limits) -> io::Result<Self> {
        Ok(Self::new(bind(addr)?, limits))
    }

    /// The same on a socket that is bound already: one that another process has handed over, say.
    ///
    /// # Errors
    /// If the system fails.
    pub fn from_socket(socket: UdpSocket, limits: Limits) -> io::Result<Self> {
        Ok(Self::new(adopt(socket)?, limits))
    }

    fn new(socket: UdpSocket, limits: Limits) -> Self {
        Self {
            socket,
            limits,
            counters: UdpCounters::default(),
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> UdpStats {
        self.counters.read()
    }

    /// The address that the server listens on.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown` is requested, each datagram with a handler of its own from `factory`, made on the
    /// thread that uses it.
    ///
    /// Returns when the last handler has. One that panics answers nothing, and the server goes on.
    ///
    /// # Errors
    /// If the system lacks what it takes to wait for datagrams.
    pub fn serve_forever<H: DatagramHandler>(
        &self,
        shutdown: &Shutdown,
        factory: impl Fn(SocketAddr) -> H + Sync,
    ) -> io::Result<()> {
        let (active, factory) = (AtomicUsize::new(0), &factory);
        let mut freed = WakePipe::new()?;
        // One octet more than any datagram has, so that none is cut unnoticed.
        let mut buffer = vec![0; usize::from(u16::MAX) + 1];
        thread::scope(|scope| {
            while !shutdown.is_requested() {
                let place = Place::take(&active, self.limits.max_connections);
                if !self.wait(place.is_some(), &mut freed, shutdown)? {
                    continue;
                }
                let Some(place) = place else { continue };
                let (len, peer) = match self.socket.recv_from(&mut buffer) {
                    Ok(received) => received,
                    Err(error) if is_passing(&error) => continue,
                    Err(error) => {
                        debug!(%error, "a receive failed");
                        thread::sleep(FAILURE_PAUSE);
                        continue;
                    }
                };
                self.counters.received.add_one();
                let (datagram, waker) = (buffer[..len].to_vec(), freed.waker());
                let handle = move || {
                    let handled = catch_unwind(AssertUnwindSafe(|| {
                        let reply = factory(peer).handle(&datagram, peer);
                        if let Some(reply) = reply {
                            send(&self.socket, &reply, peer, &self.counters);
                        }
                    }));
                    if handled.is_err() {
                        error!(%peer, "the handler panicked: this is a bug in it");
                    }
                    drop(place);
                    waker.wake();
                };
                let thread = thread::Builder::new().name(peer.to_string());
                if let Err(error) = thread.spawn_scoped(scope, handle) {
                    warn!(%peer, "no thread for a datagram: {error}");
                }
            }
            Ok(())
        })
    }

    /// Waits for a datagram if there is a place for it, for a place, or for a shutdown; whether there is a datagram.
    fn wait(&self, has_place: bool, freed: &mut WakePipe, shutdown: &Shutdown) -> io::Result<bool> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, has_place);
        let mut fds = [
            PollFd::new(&self.socket, events),
            PollFd::from_borrowed_fd(freed.as_fd(), PollFlags::IN),
            PollFd::new(shutdown, PollFlags::IN),
        ];
        wait(&mut fds, None)?;
        let (received, woken) = (is_ready(&fds[0]), is_ready(&fds[1]));
        if woken {
            freed.take()?;
        }
        Ok(received)
    }
}

/// Whether a receive that failed says only that there is nothing.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

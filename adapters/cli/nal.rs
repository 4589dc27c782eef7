//! `unstick serve --engine nal`: the engine for microcontrollers, on this machine's sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std_embedded_nal::Stack;
use tracing::{debug, warn};
use unstick_core::{Service, Timeouts};
use unstick_nal::{Entry, Slot, TcpServer, UdpServer, UdpSlot, Waits, std_stack};
use unstick_std::udp::MAX_DATAGRAM;
use unstick_std::{HEADER_CAPACITY, Shutdown, TcpStats, UdpStats, WakePipe};

use crate::failure::Failure;
use crate::listen::{Listen, announce, cannot_listen};
use crate::metrics::Stats;
use crate::serve::{Serving, Setting, side_by_side};
use crate::services::Services;

/// Octets that are read, and written, at a time.
const BUFFER_LEN: usize = 16 * 1024;
/// The longest datagram, and one octet more, so that none is cut unnoticed.
const DATAGRAM_LEN: usize = MAX_DATAGRAM + 1;
/// How many octets of a file are in a datagram. A reply is remembered if it has up to 8 frames, in [`MAX_DATAGRAM`] in all.
const DATAGRAM_FRAME_LEN: u64 = 8 * 1024;
/// How many replies over UDP are remembered.
const REPLIES: usize = 64;

type Tcp<'m, S> =
    TcpServer<'m, Stack, S, std_stack::Policy, HEADER_CAPACITY, BUFFER_LEN, BUFFER_LEN>;
type Udp<'m, S> =
    UdpServer<'m, Stack, S, std_stack::Policy, HEADER_CAPACITY, DATAGRAM_LEN, MAX_DATAGRAM>;

/// Serves until the shutdown.
pub fn serve(setting: Setting, services: &Services) -> Result<(), Failure> {
    let Setting {
        places,
        limits,
        shutdown,
        page,
    } = setting;
    let nal_limits = unstick_nal::Limits {
        max_header: limits.max_header,
        max_body: limits.max_body,
        timeouts: Timeouts {
            header: limits.header_timeout,
            idle: limits.idle_timeout,
        },
    };
    let mut slots = Vec::new();
    let mut slot = Box::new(UdpSlot::free());
    let mut entries = Vec::new();
    let mut addresses = [None, None];
    let mut tcp_server = None;
    if let Some(listen) = places.tcp {
        let (policy, mut address) = policy(&listen)?;
        let failure = |error: &_| cannot_listen("tcp", address, error);
        let port = address.port();
        slots.resize_with(limits.max_connections, || Slot::FREE);
        let server: Tcp<'_, _> = TcpServer::bind(&mut Stack, port, policy, nal_limits, &mut slots)
            .map_err(|error| failure(&error.0))?;
        let port = std_stack::local_port(server.listener());
        address.set_port(port.map_err(|error| failure(&error))?);
        addresses[0] = Some(address);
        tcp_server = Some(server);
    }
    let mut udp_server = None;
    if let Some(listen) = places.udp {
        let (policy, mut address) = policy(&listen)?;
        let failure = |error: &_| cannot_listen("udp", address, error);
        let port = address.port();
        entries.resize_with(REPLIES, || Entry::EMPTY);
        let server: Udp<'_, _> = UdpServer::bind(
            &mut Stack,
            port,
            policy,
            nal_limits,
            &mut slot,
            &mut entries,
        )
        .map_err(|error| failure(&error))?;
        let port = std_stack::udp_local_port(server.socket());
        address.set_port(port.map_err(|error| failure(&error))?);
        addresses[1] = Some(address);
        udp_server = Some(server);
    }
    announce(addresses[0].map(Ok), addresses[1].map(Ok), page.as_ref())?;
    let counted = Mutex::new(Stats::default());
    let engine = Engine {
        tcp: tcp_server,
        udp: udp_server,
        start: Instant::now(),
        counted: page.is_some().then_some(&counted),
    };
    let shutdown = &shutdown;
    let engine = || {
        engine.run(
            shutdown,
            limits.grace,
            || services.stream(),
            || services.datagram(DATAGRAM_FRAME_LEN),
        )
    };
    let mut servers: Vec<Serving<'_>> = vec![Box::new(engine)];
    if let Some(page) = &page {
        servers.push(Box::new(|| page.serve(shutdown, || *lock(&counted))));
    }
    side_by_side(shutdown, servers)
}

/// Who is served where every address is listened on, and what to print.
fn policy<S>(listen: &Listen<S>) -> Result<(std_stack::Policy, SocketAddr), Failure> {
    let Listen::At { address, addresses } = listen else {
        let sentence =
            "--engine nal opens its own sockets, and takes none of LISTEN_FDS: leave --engine out";
        return Err(Failure::Usage(sentence.to_owned()));
    };
    let loopback_only = listen.is_loopback();
    let every = addresses
        .iter()
        .all(|address| address.ip().is_unspecified());
    match addresses.first() {
        Some(first) if loopback_only || every => Ok((std_stack::Policy { loopback_only }, *first)),
        _ => Err(Failure::Usage(format!(
            "--engine nal listens on every address: instead of {address}, ask for a loopback address, 0.0.0.0 or [::]"
        ))),
    }
}

fn lock(counted: &Mutex<Stats>) -> MutexGuard<'_, Stats> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Engine<'m, S, D> {
    tcp: Option<Tcp<'m, S>>,
    udp: Option<Udp<'m, D>>,
    /// The servers' clock counts from here.
    start: Instant,
    /// For the page of metrics.
    counted: Option<&'m Mutex<Stats>>,
}

impl<S: Service, D: Service> Engine<'_, S, D> {
    /// Passes, one after the other; sleeps when there is nothing to do.
    fn run(
        mut self,
        shutdown: &Shutdown,
        grace: Duration,
        stream: impl Fn() -> S,
        datagram: impl Fn() -> D,
    ) -> io::Result<()> {
        let mut wake = WakePipe::new()?;
        let waker = wake.waker();
        let mut cx = Context::from_waker(&waker);
        let mut stopping = false;
        loop {
            let now = self.start.elapsed();
            if shutdown.is_requested() && !stopping {
                stopping = true;
                let at = now.saturating_add(grace);
                self.tcp.iter_mut().for_each(|tcp| tcp.stop(at));
                self.udp.iter_mut().for_each(|udp| udp.stop(at));
            }
            let mut moved = false;
            let connected = |peer| {
                debug!(%peer, "connected");
                stream()
            };
            if let Some(tcp) = &mut self.tcp {
                match tcp.poll_with(&mut cx, &mut Stack, now, connected) {
                    Ok(()) => moved = true,
                    Err(nb::Error::WouldBlock) => {}
                    Err(nb::Error::Other(error)) => {
                        warn!("cannot accept a connection: {}", error.0);
                        moved = true;
                    }
                }
            }
            if let Some(udp) = &mut self.udp {
                // Nothing else is said: datagrams get lost.
                moved |= udp
                    .poll_with(&mut cx, &mut Stack, now, |_| datagram())
                    .is_ok();
            }
            if moved {
                self.count();
                continue;
            }
            let tcp_idle = self.tcp.as_ref().is_none_or(|tcp| tcp.is_idle());
            let udp_idle = self.udp.as_ref().is_none_or(|udp| udp.is_idle());
            if stopping && tcp_idle && udp_idle {
                return Ok(());
            }
            self.sleep(&mut wake, (!stopping).then_some(shutdown))?;
        }
    }

    /// Says what was done so far.
    fn count(&self) {
        let Some(counted) = self.counted else { return };
        let tcp = self.tcp.as_ref().map(|server| {
            let stats = server.stats();
            TcpStats {
                accepted: stats.accepted.into(),
                refused: stats.refused.into(),
                open: server.taken() as u64,
            }
        });
        let udp = self.udp.as_ref().map(|server| {
            let stats = server.stats();
            UdpStats {
                received: stats.received.into(),
                sent: stats.sent.into(),
                repeats: stats.repeats.into(),
            }
        });
        *lock(counted) = Stats { tcp, udp };
    }

    /// Until a socket is ready, a service wakes us, something is due or a shutdown is requested.
    fn sleep(&self, wake: &mut WakePipe, shutdown: Option<&Shutdown>) -> io::Result<()> {
        let now = self.start.elapsed();
        let mut fds = vec![PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
        fds.extend(shutdown.map(|shutdown| PollFd::new(shutdown, PollFlags::IN)));
        if let Some(tcp) = &self.tcp {
            let listener = std_stack::tcp_fd(tcp.listener()).filter(|_| tcp.has_place(now));
            fds.extend(listener.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            fds.extend(tcp.waits().filter_map(|(socket, waits)| {
                let events = match waits {
                    Waits::Read | Waits::Service { reads: true } => PollFlags::IN,
                    Waits::Write => PollFlags::OUT,
                    // It would tell of an end that is known, again and again.
                    Waits::Service { reads: false } => return None,
                };
                let fd = std_stack::tcp_fd(socket)?;
                Some(PollFd::from_borrowed_fd(fd, events))
            }));
        }
        if let Some(udp) = &self.udp {
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, udp.is_receiving());
            events.set(PollFlags::OUT, udp.is_sending());
            let fd = std_stack::udp_fd(udp.socket());
            fds.extend(fd.map(|fd| PollFd::from_borrowed_fd(fd, events)));
        }
        let tcp = self.tcp.as_ref().and_then(|tcp| tcp.next_deadline(now));
        let udp = self.udp.as_ref().and_then(UdpServer::next_deadline);
        let until = tcp.into_iter().chain(udp).min();
        let left = until.map(|at| at.saturating_sub(now));
        // What is too long for the system is for ever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            ready => ready?,
        };
        let woken = !fds[0].revents().is_empty();
        drop(fds);
        if woken {
            wake.take()?;
        }
        Ok(())
    }
}

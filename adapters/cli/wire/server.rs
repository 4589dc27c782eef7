//! `unstick serve` on the wires of older peers.

use std::cell::Cell;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::info;
use unstick_std::bare::{DatagramHandler, Handler, Stream, TcpServer, UdpServer};
use unstick_std::udp::MAX_DATAGRAM;
use unstick_std::{Limits, Shutdown, WakePipe};

use super::answer::Answerer;
use super::command::Asker;
use super::{CHUNK_LEN, Dialect, MAX_BODY_LEN, Wire, is_browser, is_goodbye, reply};
use crate::failure::Failure;
use crate::serve::{Listen, announce, side_by_side};

/// Serves until the shutdown.
pub fn serve(
    dialect: Dialect,
    allow_exec: bool,
    tcp: Option<Listen>,
    udp: Option<Listen>,
    limits: Limits,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    let tcp = tcp.map(|listen| listen.bind("tcp", |addr| TcpServer::bind(addr, limits)));
    let tcp = tcp.transpose()?;
    let udp = udp.map(|listen| listen.bind("udp", |addr| UdpServer::bind(addr, limits)));
    let udp = udp.transpose()?;
    announce(
        tcp.as_ref().map(TcpServer::local_addr),
        udp.as_ref().map(UdpServer::local_addr),
    )?;
    let answerer = |max_len| Answerer {
        text: dialect.text(),
        allow_exec,
        max_len,
    };
    let session = |_peer| Session {
        answerer: answerer(MAX_BODY_LEN),
        wire: dialect.wire,
    };
    let datagram = |_peer| Datagram {
        answerer: answerer(MAX_DATAGRAM as u64),
        limits,
        shutdown,
    };
    side_by_side(
        shutdown,
        tcp.map(|server| move || server.serve_forever(shutdown, session)),
        udp.map(|server| move || server.serve_forever(shutdown, datagram)),
    )
}

/// What our replies call their bodies.
const FILENAME: &str = "output.txt";

/// One connection.
struct Session {
    answerer: Answerer,
    wire: Wire,
}

impl Handler for Session {
    fn handle(&mut self, stream: &mut Stream<'_>, peer: SocketAddr) -> io::Result<()> {
        let mut chunk = [0; CHUNK_LEN];
        let mut first = true;
        loop {
            // What one receive returns is one request, whatever was sent: there is nothing else to go by.
            let len = stream.read(&mut chunk)?;
            let chunk = &chunk[..len];
            if len == 0 || is_goodbye(chunk) {
                return Ok(());
            }
            if first && is_browser(chunk) {
                info!(%peer, "closed: it speaks like a browser");
                return Ok(());
            }
            first = false;
            let body = self.answerer.answer(chunk, stream)?;
            reply::send(self.wire, FILENAME, body, &*stream)?;
        }
    }
}

impl Asker for Stream<'_> {
    fn check(&self) -> io::Result<()> {
        Stream::check(self)
    }

    fn wait_for(&self, wake: &mut WakePipe) -> io::Result<()> {
        Stream::wait_for(self, wake)
    }
}

/// One datagram.
struct Datagram<'s> {
    answerer: Answerer,
    limits: Limits,
    shutdown: &'s Shutdown,
}

impl DatagramHandler for Datagram<'_> {
    fn handle(&mut self, datagram: &[u8], peer: SocketAddr) -> Option<Vec<u8>> {
        // There is no connection that a goodbye would end.
        if datagram.is_empty() || is_goodbye(datagram) {
            return None;
        }
        self.answer(datagram)
            .inspect_err(|error| info!(%peer, "not answered: {error}"))
            .ok()
    }
}

impl Datagram<'_> {
    fn answer(&self, datagram: &[u8]) -> io::Result<Vec<u8>> {
        let patience = Patience {
            deadline: Instant::now().checked_add(self.limits.idle_timeout),
            stop: Cell::new(None),
            datagram: self,
        };
        let body = match self.answerer.answer(datagram, &patience) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.answerer.sentence(error)?
            }
            body => body?,
        };
        let mut reply = Vec::new();
        reply::send(Wire::Raw, FILENAME, body, &mut reply)?;
        Ok(reply)
    }
}

/// How long the answer to a datagram may take: nobody would notice that its peer is gone.
struct Patience<'a> {
    deadline: Option<Instant>,
    /// When the grace of a shutdown is over: known once that was requested.
    stop: Cell<Option<Instant>>,
    datagram: &'a Datagram<'a>,
}

impl Asker for Patience<'_> {
    fn check(&self) -> io::Result<()> {
        let now = Instant::now();
        let Limits {
            grace,
            idle_timeout,
            ..
        } = self.datagram.limits;
        if self.datagram.shutdown.is_requested() {
            let stop = self.stop.get().unwrap_or(now + grace);
            self.stop.set(Some(stop));
            if stop <= now {
                let message = "the server is shutting down";
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, message));
            }
        }
        match self.deadline {
            Some(deadline) if deadline <= now => {
                let message = format!("the command took longer than {idle_timeout:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, message))
            }
            _ => Ok(()),
        }
    }

    fn wait_for(&self, wake: &mut WakePipe) -> io::Result<()> {
        loop {
            self.check()?;
            let stop = self.stop.get();
            let until = stop.into_iter().chain(self.deadline).min();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            // What is too long for the system is for ever.
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let shutdown = self.datagram.shutdown;
            let mut fds = vec![PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
            // A shutdown that is known already would be told of again and again.
            let shutdown = Some(shutdown).filter(|_| stop.is_none());
            fds.extend(shutdown.map(|shutdown| PollFd::new(shutdown, PollFlags::IN)));
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let woken = !fds[0].revents().is_empty();
            drop(fds);
            if woken {
                return wake.take();
            }
        }
    }
}

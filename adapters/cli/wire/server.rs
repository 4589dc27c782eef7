//! `unstick serve` on the wires of older peers.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::info;
use unstick_std::bare::{DatagramHandler, Handler, Stream, TcpServer, UdpServer};
use unstick_std::udp::MAX_DATAGRAM;
use unstick_std::{Limits, Shutdown, WakePipe};

use super::answer::Answerer;
use super::command::Asker;
use super::spool::Spool;
use super::{CHUNK_LEN, Dialect, MAX_BODY_LEN, Wire, is_goodbye, reply};
use crate::failure::Failure;
use crate::listen::announce;
use crate::metrics::{OK, Requests, Running, Stats};
use crate::serve::{Serving, Setting, side_by_side};

/// Serves until the shutdown.
pub fn serve(dialect: Dialect, allow_exec: bool, setting: Setting) -> Result<(), Failure> {
    let Setting {
        places,
        limits,
        shutdown,
        page,
    } = setting;
    let tcp = places.tcp.map(|listen| {
        let bind = |addresses: &[_]| TcpServer::bind(addresses, limits);
        listen.open("tcp", bind, |socket| {
            TcpServer::from_listener(socket, limits)
        })
    });
    let udp = places.udp.map(|listen| {
        let bind = |addresses: &[_]| UdpServer::bind(addresses, limits);
        listen.open("udp", bind, |socket| UdpServer::from_socket(socket, limits))
    });
    let (tcp, udp) = (tcp.transpose()?, udp.transpose()?);
    announce(
        tcp.as_ref().map(TcpServer::local_addr),
        udp.as_ref().map(UdpServer::local_addr),
        page.as_ref(),
    )?;
    let shutdown = &shutdown;
    let requests = page.as_ref().map(|page| page.metrics().requests());
    let op = if allow_exec { "exec" } else { "echo" };
    let counting = Counting { requests, op };
    let answerer = |max_len| Answerer {
        text: dialect.text(),
        allow_exec,
        max_len,
    };
    let session = |_peer| Session {
        answerer: answerer(MAX_BODY_LEN),
        wire: dialect.wire,
        counting,
    };
    let datagram = |_peer| Datagram {
        answerer: answerer(MAX_DATAGRAM as u64),
        counting,
        limits,
        shutdown,
    };
    let stats = || Stats {
        tcp: tcp.as_ref().map(TcpServer::stats),
        udp: udp.as_ref().map(UdpServer::stats),
    };
    let mut servers: Vec<Serving<'_>> = Vec::new();
    if let Some(server) = &tcp {
        servers.push(Box::new(move || server.serve_forever(shutdown, session)));
    }
    if let Some(server) = &udp {
        servers.push(Box::new(move || server.serve_forever(shutdown, datagram)));
    }
    if let Some(page) = &page {
        servers.push(Box::new(move || page.serve(shutdown, stats)));
    }
    side_by_side(shutdown, servers)
}

/// Where chunks are counted, if they are: as requests for `op`.
#[derive(Clone, Copy)]
struct Counting<'s> {
    requests: Option<&'s Arc<Requests>>,
    op: &'static str,
}

impl Counting<'_> {
    fn begin(self, chunk: &[u8]) -> Option<Running> {
        let running = self.requests?.begin(self.op);
        running.taken(chunk.len());
        Some(running)
    }
}

/// What our replies call their bodies.
const FILENAME: &str = "output.txt";

/// Sends what is counted as the reply to a request.
fn reply_to(running: Option<Running>, wire: Wire, body: Spool, out: impl Write) -> io::Result<()> {
    let len = body.len();
    reply::send(wire, FILENAME, body, out)?;
    if let Some(running) = running {
        running.sent(len);
        running.finish(OK);
    }
    Ok(())
}

/// One connection.
struct Session<'s> {
    answerer: Answerer,
    wire: Wire,
    counting: Counting<'s>,
}

/// How a browser begins: HTTP, and TLS. Any page can have one send what it likes to a loopback address, line by line, and where
/// commands are run these would be.
const BROWSER: [&[u8]; 8] = [
    b"GET /",
    b"HEAD /",
    b"POST /",
    b"OPTIONS /",
    b"PUT /",
    b"DELETE /",
    b"PATCH /",
    b"\x16\x03",
];

/// Whether a connection that begins like this is a browser's.
fn is_browser(chunk: &[u8]) -> bool {
    BROWSER.iter().any(|begin| chunk.starts_with(begin))
}

impl Handler for Session<'_> {
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
            let running = self.counting.begin(chunk);
            let body = self.answerer.answer(chunk, stream)?;
            reply_to(running, self.wire, body, &*stream)?;
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
    counting: Counting<'s>,
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
        let running = self.counting.begin(datagram);
        let body = match self.answerer.answer(datagram, &patience) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.answerer.sentence(error)?
            }
            body => body?,
        };
        let mut reply = Vec::new();
        reply_to(running, Wire::Raw, body, &mut reply)?;
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

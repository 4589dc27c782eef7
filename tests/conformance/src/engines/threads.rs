//! unstick-std: one thread a connection.

use std::io;
use std::thread::JoinHandle;

use anyhow::{Result, ensure};
use unstick_std::udp::MAX_DATAGRAM;
use unstick_std::{Limits, Shutdown, tcp, udp};

use super::{HEADER_TIMEOUT, IDLE_TIMEOUT, Running, Server, loopback, target};
use crate::service::{Board, info};

/// How many connections it serves at once.
const SLOTS: usize = 64;

struct Threads {
    shutdown: Shutdown,
    servers: Vec<JoinHandle<io::Result<()>>>,
}

impl Server for Threads {
    fn check(&mut self) -> Result<()> {
        ensure!(
            self.servers.iter().all(|server| !server.is_finished()),
            "a server has ended"
        );
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shutdown.request();
        for server in self.servers.drain(..) {
            let _ = server.join();
        }
    }
}

pub(super) fn start() -> Result<Running> {
    let limits = Limits {
        max_connections: SLOTS,
        header_timeout: HEADER_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        ..Limits::default()
    };
    let info = info("threads", limits.max_header, MAX_DATAGRAM);
    let board = Board::new("threads", SLOTS);
    let shutdown = Shutdown::new()?;

    let tcp = tcp::Server::bind(loopback(0), limits)?;
    let udp = udp::Server::bind(loopback(0), limits)?;
    let target = target(tcp.local_addr()?, udp.local_addr()?, SLOTS);
    let (until, of_tcp) = (shutdown.clone(), board.clone());
    let tcp = move || tcp.serve_forever(&until, |_| of_tcp.for_connection(info));
    let until = shutdown.clone();
    let udp = move || udp.serve_forever(&until, |_| board.for_datagram(info));
    let servers = vec![std::thread::spawn(tcp), std::thread::spawn(udp)];
    Ok(Running {
        target,
        server: Box::new(Threads { shutdown, servers }),
    })
}

//! What every engine serves: the services of the boards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use responder::memory::{FILES_FRAME_LEN, INFO_LEN};
use responder::{Load, Services, Shared, StackUse};
use unstick_core::services::{Info, Responder};
use unstick_core::{Refusal, Reply, Request, Service};

/// What all connections of a server have in common: a board's memory, and what it is told of the server.
#[derive(Debug)]
pub struct Board {
    shared: &'static Shared,
    start: Instant,
    load: Mutex<Load>,
}

impl Board {
    /// One that was just started, for a server with so many slots.
    pub fn new(name: &'static str, slots: usize) -> Arc<Self> {
        let shared = Box::leak(Box::new(Shared::new(name, StackUse::default)));
        let load = Load {
            slots,
            ..Load::default()
        };
        Arc::new(Self {
            shared,
            start: Instant::now(),
            load: Mutex::new(load),
        })
    }

    /// The services for a client over TCP.
    pub fn for_connection(self: &Arc<Self>, info: Info) -> impl Service + Send + use<> {
        self.load().taken += 1;
        self.services(info, true)
    }

    /// The services for a request over UDP.
    pub fn for_datagram(self: &Arc<Self>, info: Info) -> impl Service + Send + use<> {
        self.services(info, false)
    }

    fn services(self: &Arc<Self>, info: Info, is_connection: bool) -> impl Service + Send + use<> {
        let frame_len = match is_connection {
            true => u64::MAX,
            false => FILES_FRAME_LEN,
        };
        Counted {
            info: info.into_service(),
            rest: Services::new(self.shared, frame_len),
            is_info: false,
            board: self.clone(),
            is_connection,
        }
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a server with these limits says of itself.
pub fn info(name: &'static str, max_header: usize, max_datagram: usize) -> Info {
    Info {
        name,
        version: env!("CARGO_PKG_VERSION"),
        max_header: max_header as u64,
        max_body: u64::MAX,
        max_datagram: max_datagram as u64,
        ops: &["echo", "info", "exec", "get", "put", "list", "stat"],
    }
}

/// A board's services, which counts requests, and the connections that there are.
struct Counted {
    /// In front of the board's own: the limits are those of the engine.
    info: Responder<Info, 0, INFO_LEN>,
    rest: Services,
    is_info: bool,
    board: Arc<Board>,
    is_connection: bool,
}

impl Counted {
    /// The service of the request at hand.
    fn service(&mut self) -> &mut dyn Service {
        match self.is_info {
            true => &mut self.info,
            false => &mut self.rest,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.is_connection {
            self.board.load().taken -= 1;
        }
    }
}

impl Service for Counted {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        let mut load = self.board.load();
        load.uptime = self.board.start.elapsed();
        match self.is_connection {
            true => load.tcp.requests += 1,
            false => load.udp.requests += 1,
        }
        self.board.shared.report(*load);
        drop(load);
        self.is_info = request.op.as_ref().is_some_and(|op| op.as_str() == "info");
        self.service().begin(request)
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        self.service().body(octets)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.service().end()
    }

    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        self.service().reply(cx)
    }

    fn fill(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        self.service().fill(cx, out)
    }

    fn cancel(&mut self) {
        self.service().cancel();
    }
}

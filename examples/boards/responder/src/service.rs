//! What the responder carries out for each peer.

use core::task::{Context, Poll};

use unstick_core::services::{Commands, Echo, Files, Info, Responder};
use unstick_core::{Code, Refusal, Reply, Request, Service};

use crate::commands::COMMANDS;
use crate::files::BoardFiles;
use crate::memory::{
    COMMAND_LEN, COMMAND_OUTPUT_LEN, DATAGRAM_LEN, ECHO_LEN, FILES_BUFFER_LEN, HEADER_LEN, INFO_LEN,
};
use crate::shared::Shared;

/// The operations that the responder carries out.
const OPS: &[&str] = &["echo", "info", "exec", "get", "put", "list", "stat"];

/// The services for one peer.
///
/// One request is carried out at a time, so there is room for one service: side by side, by way of
/// [`Route::or`](unstick_core::Route::or), they would need the memory of all of them for each peer.
#[derive(Debug)]
pub struct Services {
    shared: &'static Shared,
    frame_len: u64,
    service: One,
}

#[derive(Debug)]
enum One {
    Echo(Echo<ECHO_LEN>),
    Info(Responder<Info, 0, INFO_LEN>),
    Exec(Responder<Commands<&'static Shared>, COMMAND_LEN, COMMAND_OUTPUT_LEN>),
    Files(Files<BoardFiles, FILES_BUFFER_LEN>),
}

impl Services {
    /// The services for a new peer, with contents of files in frames of at most `frame_len` octets.
    pub const fn new(shared: &'static Shared, frame_len: u64) -> Self {
        Self {
            shared,
            frame_len,
            // Nothing is asked of it before the first request.
            service: One::Echo(Echo::new()),
        }
    }

    /// The service of the request at hand.
    fn service(&mut self) -> &mut dyn Service {
        match &mut self.service {
            One::Echo(echo) => echo,
            One::Info(info) => info,
            One::Exec(exec) => exec,
            One::Files(files) => files,
        }
    }

    fn info(&self) -> Info {
        Info {
            name: self.shared.name(),
            version: env!("CARGO_PKG_VERSION"),
            max_header: HEADER_LEN as u64,
            max_body: u64::MAX,
            max_datagram: DATAGRAM_LEN as u64,
            ops: OPS,
        }
    }
}

impl Service for Services {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        let op = request.op.as_ref().map_or("", |op| op.as_str());
        self.service = match op {
            "echo" => One::Echo(Echo::new()),
            "info" => One::Info(self.info().into_service()),
            "exec" => One::Exec(Commands::new(self.shared, COMMANDS).into_service()),
            "get" | "put" | "list" | "stat" => {
                let files = Files::new(BoardFiles(self.shared));
                One::Files(files.with_frame_len(self.frame_len))
            }
            _ => {
                return Err(Refusal::new(
                    Code::UnknownOp,
                    format_args!("there is no op `{op}` here; `info` lists those there are"),
                ));
            }
        };
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

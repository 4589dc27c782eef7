//! `get`, `put`, `list` and `stat`: files, wherever a [`Storage`] has them.

mod get;
mod lines;
mod list;
mod name;
mod put;
mod stat;
mod storage;
mod sum;

use core::task::{Context, Poll};

use crate::head::{Code, Refusal, Reply, Request};
use crate::service::{Route, Service};
use get::Get;
use lines::Lines;
use list::List;
use put::Put;
use stat::Look;

pub use name::Name;
pub use storage::{Attributes, Entry, Kind, Stat, Storage, Upload};

/// The operations `get`, `put`, `list` and `stat` (PROTOCOL.md) over a storage.
///
/// Contents go from the storage to the connection and back without a stop. The buffer of `B` octets, at least 1, is
/// for the lines of `stat` and `list`, of which each has to fit, and for reading what is digested but not sent, where
/// longer is faster. A line has at most 656 octets.
///
/// A content is one frame, so that a file of any size costs one header. Over UDP, where a frame has to fit a datagram, give
/// it a [`with_frame_len`](Self::with_frame_len).
#[derive(Debug)]
pub struct Files<S: Storage, const B: usize> {
    storage: S,
    frame_len: u64,
    lines: Lines<B>,
    turn: Turn<S::Reader, S::Writer, S::Listing>,
}

/// What the service is at.
#[derive(Debug)]
enum Turn<R, W, L> {
    Idle,
    Get(Get<R>),
    Put(Put<W>),
    Look(Look<R>),
    List(List<L>),
}

impl<S: Storage, const B: usize> Files<S, B> {
    /// The service, over this storage.
    pub const fn new(storage: S) -> Self {
        const { assert!(B > 0, "files need a buffer") };
        Self {
            storage,
            frame_len: u64::MAX,
            lines: Lines::new(),
            turn: Turn::Idle,
        }
    }

    /// The same with contents in frames of at most `frame_len` octets, at least 1, instead of in one. With `B`, which
    /// bounds the other frames, it has to leave room for a prefix and a header of 128 octets in a datagram.
    #[must_use]
    pub const fn with_frame_len(mut self, frame_len: u64) -> Self {
        self.frame_len = if frame_len == 0 { 1 } else { frame_len };
        self
    }

    /// Lets go of all that is open, if it is over.
    fn end_turn(&mut self, over: bool) {
        if over {
            self.turn = Turn::Idle;
        }
    }
}

impl<S: Storage, const B: usize> Service for Files<S, B> {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        self.cancel();
        let op = request.op.as_ref().map_or("", |op| op.as_str());
        let name = request.filename.as_deref().unwrap_or_default();
        if op != "put" && request.total_size > 0 {
            return Err(Refusal::new(
                Code::TooLarge,
                format_args!("`{op}` takes a body of at most 0 octets"),
            ));
        }
        let (storage, lines) = (&mut self.storage, &mut self.lines);
        self.turn = match op {
            "get" => Turn::Get(Get::begin(storage, Name::new(name)?, request)?),
            "put" => Turn::Put(Put::begin(storage, Name::new(name)?, request)?),
            "list" => Turn::List(List::begin(storage, name)?),
            "stat" => Turn::Look(Look::begin(storage, lines, Name::new(name)?, request)?),
            _ => return Err(Refusal::new(Code::UnknownOp, "files have no such op")),
        };
        Ok(())
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        let mut taken = Ok(octets.len());
        if let Turn::Put(put) = &mut self.turn {
            taken = put.body(&mut self.storage, octets);
        }
        self.end_turn(taken.is_err());
        taken
    }

    fn end(&mut self) -> Result<(), Refusal> {
        if let Turn::Put(put) = &mut self.turn {
            put.end();
        }
        Ok(())
    }

    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        let (storage, lines) = (&mut self.storage, &mut self.lines);
        let reply = match &mut self.turn {
            Turn::Idle => Poll::Pending,
            Turn::Get(get) => get.reply(storage, lines.room(), self.frame_len, cx),
            Turn::Put(put) => put.reply(storage, lines.room(), cx),
            Turn::Look(look) => look.reply(storage, lines, cx),
            Turn::List(list) => list.reply(storage, lines, cx),
        };
        // What is left to be sent after the last header waits in the lines.
        self.end_turn(match &reply {
            Poll::Ready(Ok(head)) => !head.more,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        });
        reply
    }

    fn fill(&mut self, _: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        let filled = match &mut self.turn {
            Turn::Get(get) => get.fill(&mut self.storage, out),
            _ => Ok(self.lines.send(out)),
        };
        self.end_turn(filled.is_err());
        Poll::Ready(filled)
    }

    fn cancel(&mut self) {
        self.end_turn(true);
        self.lines.clear();
    }
}

impl<S: Storage, const B: usize> Route for Files<S, B> {
    fn serves(&self, op: &str) -> bool {
        matches!(op, "get" | "put" | "list" | "stat")
    }
}

/// The refusal of an entry whose line has more than `most` octets.
fn line_too_long(most: usize) -> Refusal {
    Refusal::new(
        Code::TooLarge,
        format_args!("the line of an entry is longer than {most} octets"),
    )
}

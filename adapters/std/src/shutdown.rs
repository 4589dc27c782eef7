//! Stopping a server from another thread.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks servers to stop: to take nothing new, finish what is in flight, and return.
///
/// Clones are handles to the same request, and any number of servers can heed one.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<State>);

#[derive(Debug)]
struct State {
    requested: AtomicBool,
    /// Becomes readable with the request and stays so: what waits in poll(2) sees it.
    reader: PipeReader,
    writer: PipeWriter,
}

impl Shutdown {
    /// A request that was not made yet.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self(Arc::new(State {
            requested: AtomicBool::new(false),
            reader,
            writer,
        })))
    }

    /// Makes the request; again is as good as once.
    pub fn request(&self) {
        if !self.0.requested.swap(true, Ordering::SeqCst) {
            // One octet in an empty pipe: this neither waits nor fails while the reader is alive.
            let _ = (&self.0.writer).write(&[0]);
        }
    }

    /// Whether the request was made.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }
}

impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.reader.as_fd()
    }
}

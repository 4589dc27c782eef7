//! A service's wake, for a thread that waits in poll(2).

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use rustix::event::{PollFd, PollFlags};

/// Turns a service's wake into a descriptor that poll(2) can wait for.
pub(super) struct WakePipe {
    reader: PipeReader,
    signal: Arc<Signal>,
}

struct Signal {
    woken: AtomicBool,
    writer: PipeWriter,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            // One octet in an empty pipe does not wait; with the reader gone there is nobody to wake.
            let _ = (&self.writer).write(&[0]);
        }
    }
}

impl WakePipe {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let woken = AtomicBool::new(false);
        Ok(Self {
            reader,
            signal: Arc::new(Signal { woken, writer }),
        })
    }

    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.signal))
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.reader.as_fd(), PollFlags::IN)
    }

    /// Takes the wake that [`poll_fd`](Self::poll_fd) told of. The service is asked after this, so that a
    /// wake in between is at worst one too many.
    pub(super) fn take(&mut self) -> io::Result<()> {
        self.reader.read_exact(&mut [0])?;
        // Not a store: whoever found it set was heard here, and what they did before is to be seen by the service.
        self.signal.woken.swap(false, Ordering::SeqCst);
        Ok(())
    }
}

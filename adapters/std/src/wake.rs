//! A service's wake, for a thread that waits in poll(2).

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// Turns a service's wake into a descriptor that poll(2) can wait for: readable once the waker was woken, until the
/// wake is [taken](Self::take).
#[derive(Debug)]
pub struct WakePipe {
    reader: PipeReader,
    signal: Arc<Signal>,
}

#[derive(Debug)]
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
    /// A pipe that nobody has woken.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let woken = AtomicBool::new(false);
        Ok(Self {
            reader,
            signal: Arc::new(Signal { woken, writer }),
        })
    }

    /// A waker that makes the descriptor readable.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.signal))
    }

    /// Takes the wake that the descriptor told of; waits for one if it has told of none. The service is to be asked
    /// after this, so that a wake in between is at worst one too many.
    ///
    /// # Errors
    /// If the system cannot read from its own pipe.
    pub fn take(&mut self) -> io::Result<()> {
        self.reader.read_exact(&mut [0])?;
        // Not a store: whoever found it set was heard here, and what they did before is to be seen by the service.
        self.signal.woken.swap(false, Ordering::SeqCst);
        Ok(())
    }
}

impl AsFd for WakePipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

//! What the engines that go on in passes have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use unstick_core::Timeouts;

use super::{HEADER_TIMEOUT, IDLE_TIMEOUT, Server};

/// How long one sleeps that had nothing to do.
pub(super) const PAUSE: Duration = Duration::from_micros(100);
/// The stack of the thread: the buffers of all slots are moved around on it while they are made.
const STACK_LEN: usize = 16 * 1024 * 1024;

/// The deadlines of the engines here.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    header: HEADER_TIMEOUT,
    idle: IDLE_TIMEOUT,
};

/// A thread that goes on until it is told to stop.
pub(super) struct Passes {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Passes {
    /// Starts `run`, which is given what tells it to stop and where to say that it listens; waits for what it says.
    pub(super) fn start<T: Send + 'static>(
        run: impl FnOnce(&AtomicBool, Sender<T>) -> Result<()> + Send + 'static,
    ) -> Result<(Self, T)> {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = channel();
        let until = stop.clone();
        let thread = thread::Builder::new()
            .stack_size(STACK_LEN)
            .spawn(move || run(&until, sender))?;
        let mut server = Self {
            stop,
            thread: Some(thread),
        };
        match receiver.recv() {
            Ok(said) => Ok((server, said)),
            Err(_) => Err(server.end().err().context("it ended at once")?),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let end = thread.join();
        end.map_err(|_| anyhow!("the server panicked"))?
    }
}

impl Server for Passes {
    fn check(&mut self) -> Result<()> {
        let ended = self
            .thread
            .as_ref()
            .is_none_or(|thread| thread.is_finished());
        if ended {
            self.end()?;
        }
        ensure!(!ended, "the server has ended");
        Ok(())
    }
}

impl Drop for Passes {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

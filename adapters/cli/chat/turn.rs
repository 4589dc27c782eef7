//! Whose turn it is, as far as lines that nobody types can know.

use std::time::{Duration, Instant};

/// How long something is waited for to come back.
const SILENCE: Duration = Duration::from_secs(1);
/// How long something that has come back is taken to go on.
const PAUSE: Duration = Duration::from_millis(50);

/// The turn of who has said something: it begins anew when something has come back, or nothing for a while.
#[derive(Debug)]
pub struct Turn {
    said: Instant,
    begins: Instant,
}

impl Turn {
    /// The first, at once.
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            said: now,
            begins: now,
        }
    }

    /// Something was said.
    pub fn said(&mut self) {
        self.said = Instant::now();
        self.begins = self.said + SILENCE;
    }

    /// Something has come back.
    pub fn heard(&mut self) {
        self.begins = (Instant::now() + PAUSE).min(self.said + SILENCE);
    }

    /// When the next turn begins, or has begun.
    pub fn begins(&self) -> Instant {
        self.begins
    }
}

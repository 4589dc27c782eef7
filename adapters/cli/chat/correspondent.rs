//! A peer of a chat over UDP: what it was sent and has not answered, and how long ago it was heard.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::Peer;

/// The pause before a message is first repeated; each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long a message may go without an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many messages may wait for those before them to be answered.
const MAX_WAITING: usize = 64;
/// A peer that answers, and of whom nothing was heard for this long, is asked whether it is there.
const PROBE: Duration = Duration::from_secs(10);
/// A peer of whom nothing was heard for this long is not counted any more.
const SILENCE: Duration = Duration::from_secs(600);

/// A peer, and what it has not answered.
pub struct Correspondent {
    /// Who.
    pub peer: Peer,
    /// When it was.
    pub heard: Instant,
    /// It knows of answers.
    pub answers: bool,
    /// Datagrams, by `id`.
    waiting: VecDeque<(u32, Vec<u8>)>,
    /// Of the first that waits.
    sending: Option<Sending>,
}

struct Sending {
    begun: Instant,
    again: Instant,
    pause: Duration,
}

impl Correspondent {
    /// One that is heard now.
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            heard: Instant::now(),
            answers: false,
            waiting: VecDeque::new(),
            sending: None,
        }
    }

    /// Has a datagram sent when those before it are answered.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn send(&mut self, id: u32, datagram: Vec<u8>) -> Result<(), String> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(format!(
                "{} does not answer: {MAX_WAITING} messages wait; not sent",
                self.peer
            ));
        }
        self.waiting.push_back((id, datagram));
        Ok(())
    }

    /// Hears an answer.
    pub fn answer(&mut self, id: Option<u32>) {
        self.heard = Instant::now();
        self.answers = true;
        if self.waiting.front().map(|(id, _)| *id) == id {
            self.waiting.pop_front();
            self.sending = None;
        }
    }

    /// The datagram that is to be sent now, if one is.
    ///
    /// # Errors
    /// Why the peer is gone.
    pub fn due(&mut self) -> Result<Option<&[u8]>, String> {
        let Some((_, datagram)) = self.waiting.front() else {
            return Ok(None);
        };
        let now = Instant::now();
        let sending = self.sending.get_or_insert(Sending {
            begun: now,
            again: now,
            pause: FIRST_PAUSE,
        });
        if now.duration_since(sending.begun) >= PATIENCE {
            return Err(format!("no answer for {} seconds", PATIENCE.as_secs()));
        }
        if sending.again > now {
            return Ok(None);
        }
        sending.again = now + sending.pause;
        sending.pause = MAX_PAUSE.min(sending.pause * 2);
        Ok(Some(datagram))
    }

    /// Whether it has answered everything.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether it is to be asked if it is there.
    pub fn is_silent(&self) -> bool {
        self.answers && self.is_done() && self.heard.elapsed() >= PROBE
    }

    /// Whether it is not to be counted any more.
    pub fn is_forgotten(&self) -> bool {
        self.heard.elapsed() >= SILENCE
    }

    /// When there is something to do; it may be to forget it.
    pub fn deadline(&self, forgets: bool) -> Option<Instant> {
        match &self.sending {
            Some(sending) => Some(sending.again.min(sending.begun + PATIENCE)),
            None if !self.is_done() => Some(Instant::now()),
            None if self.answers => Some(self.heard + PROBE),
            None => forgets.then(|| self.heard + SILENCE),
        }
    }

    /// Until when to wait for its answer; `None` if there is nothing to answer.
    pub fn patience(&self) -> Option<Instant> {
        let begun = self.sending.as_ref().map(|sending| sending.begun);
        (!self.is_done()).then(|| begun.unwrap_or_else(Instant::now) + PATIENCE)
    }
}

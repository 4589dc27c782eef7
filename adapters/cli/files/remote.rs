//! The server that files are moved from and to.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use unstick_core::Code;
use unstick_std::transfer::Error;
use unstick_std::{Client, Error as PeerError};

use crate::address::Address;
use crate::failure::Failure;
use crate::printable::Printable;

/// How long a transfer that is to resume waits for the one that was interrupted: the server may not know yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, and a connection to it that is made anew when one was of no more use.
pub struct Remote<'a> {
    address: &'a Address,
    client: Option<Client>,
}

/// Why something did not come about.
pub enum Trouble {
    /// The others can be tried all the same.
    One(Failure),
    /// So would all others.
    All(Failure),
}

impl<'a> Remote<'a> {
    /// Connects.
    pub fn connect(address: &'a Address) -> Result<Self, Failure> {
        let mut remote = Self {
            address,
            client: None,
        };
        remote.client()?;
        Ok(remote)
    }

    fn client(&mut self) -> Result<&mut Client, Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(self.address)
                .map_err(|error| Failure::peer(self.address, &error))?,
        };
        Ok(self.client.insert(client))
    }

    /// Does this with a connection, about `subject` here, to write what is called `target`; as long as somebody else is
    /// at it, again and again if it is to `resume`.
    pub fn with<T>(
        &mut self,
        subject: &str,
        target: impl fmt::Display,
        resume: bool,
        mut act: impl FnMut(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let client = self.client().map_err(Trouble::All)?;
            let error = match act(client) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            // It may be inside a request.
            self.client = None;
            match again_after(&error) {
                Some(time) if resume && Instant::now() + time < deadline => thread::sleep(time),
                _ => return Err(self.trouble(subject, target, error)),
            }
        }
    }

    fn trouble(&self, subject: &str, target: impl fmt::Display, error: Error) -> Trouble {
        let subject = Printable(subject);
        let sentence = match error {
            Error::Peer(error @ PeerError::Refused { .. }) => {
                let failure = Failure::peer(self.address, &error);
                return Trouble::One(failure.map(|sentence| format!("{subject}: {sentence}")));
            }
            Error::Peer(error @ (PeerError::Transport(_) | PeerError::Closed)) => {
                let failure = Failure::peer(self.address, &error);
                return Trouble::All(failure.map(|sentence| {
                    format!("{sentence}; --resume goes on from what has arrived")
                }));
            }
            Error::Peer(PeerError::Body(error)) => {
                return Trouble::One(Failure::io(subject, &error));
            }
            Error::Peer(PeerError::BodyLength { .. }) => {
                format!("{subject}: the file has become shorter while it was sent")
            }
            Error::Peer(error) => return Trouble::All(Failure::peer(self.address, &error)),
            Error::Local(error) => return Trouble::One(Failure::io(subject, &error)),
            Error::Exists => format!("{target}: there already; --force replaces it"),
            error => format!("{subject}: {}", Printable(&error.to_string())),
        };
        Trouble::One(Failure::Told(sentence))
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::One(failure) | Trouble::All(failure) => failure,
        }
    }
}

/// When to try again what another transfer is in the way of.
fn again_after(error: &Error) -> Option<Duration> {
    match error {
        Error::Peer(PeerError::Refused {
            code: Code::Busy,
            retry_after_ms,
            ..
        }) => retry_after_ms.map(|time| Duration::from_millis(time.into())),
        _ => None,
    }
}

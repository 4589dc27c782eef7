//! The client's side of files: [`get`] and [`put`] move one, [`stat`] and [`list`] say what there is.
//!
//! Contents are streamed, in constant memory. What arrives is compared by its digest before it is a file, here as at the
//! server: until then it is a partial beside it (`NAME:part`), which is kept when the transfer is interrupted, whatever
//! interrupts it, and which a transfer that is to [resume](Options::resume) goes on from, if its octets are still the
//! right ones.

mod get;
mod look;
mod put;

use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use unstick_core::{Digest, Hasher};

use crate::client::{self, Client};

pub use get::get;
pub use look::{Entry, list, stat};
pub use put::put;

/// How many octets are read at a time to be digested.
const BUFFER_LEN: usize = 64 * 1024;
/// Less than the patience of any server, and more than connecting takes.
const IDLE: Duration = Duration::from_millis(100);

/// How a file is moved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Go on from what an interrupted transfer has left, rather than begin anew. A file that is there already, with the same
    /// content, is what was wanted.
    pub resume: bool,
    /// Replace a file that is there.
    pub overwrite: bool,
    /// Give the file the permissions and the time that it has where it comes from, as far as both ends have any.
    pub preserve: bool,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What is going on.
    pub phase: Phase,
    /// Octets that are done.
    pub done: u64,
    /// Octets in all.
    pub total: u64,
}

/// What a transfer is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Digests what is there.
    Digest,
    /// Moves what is not.
    Move,
}

/// What a transfer has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The length of the file, in octets.
    pub len: u64,
    /// How many of them were there before.
    pub kept: u64,
    /// The digest of the file.
    pub sha256: Digest,
}

/// Why a file was not moved. A file of its name is as it was before.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server, or the way to it.
    Peer(client::Error),
    /// The file here.
    Local(io::Error),
    /// There is a file of this name already, which is not to be overwritten.
    Exists,
    /// What stands here under this name is no file, but a directory, a symbolic link or something else.
    NotAFile,
    /// Another process here writes the same file.
    Busy,
    /// What arrived is not what was sent.
    Digest {
        /// The digest that the sender says.
        said: Digest,
        /// The digest of what arrived.
        arrived: Digest,
    },
    /// The file on the server has changed while it was got: what arrived is not of the time that it has by now.
    Changed,
    /// The server's reply is none to this request, for this reason.
    Reply(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(error) => error.fmt(f),
            Self::Local(error) => error.fmt(f),
            Self::Exists => f.write_str("there is a file of this name already"),
            Self::NotAFile => f.write_str("what stands here under this name is no file"),
            Self::Busy => f.write_str("another process is writing this file"),
            Self::Digest { said, arrived } => {
                write!(f, "what arrived has the sha256 {arrived} instead of {said}")
            }
            Self::Changed => f.write_str(
                "the file on the server has changed meanwhile; --resume goes on from what has arrived",
            ),
            Self::Reply(reason) => write!(f, "the server's reply is wrong: {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Peer(error) => Some(error),
            Self::Local(error) => Some(error),
            _ => None,
        }
    }
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        Self::Peer(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}

impl From<Errno> for Error {
    fn from(error: Errno) -> Self {
        match error {
            Errno::EXIST => Self::Exists,
            Errno::AGAIN => Self::Busy,
            error => Self::Local(error.into()),
        }
    }
}

/// Connects anew if the connection has been idle since then: to digest much takes a while, and servers close what is idle.
fn refresh(client: &mut Client, since: Instant) -> Result<(), Error> {
    if since.elapsed() > IDLE {
        client.reconnect()?;
    }
    Ok(())
}

/// Digests these octets of a file, as `read` brings them.
fn digest(
    hasher: &mut Hasher,
    octets: Range<u64>,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, Errno>,
    on_progress: &mut impl FnMut(Progress),
) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER_LEN];
    let mut at = octets.start;
    while at < octets.end {
        let left = octets.end - at;
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let len = read(at, &mut buffer[..most])?;
        if len == 0 {
            let error = io::Error::new(ErrorKind::UnexpectedEof, "the file has become shorter");
            return Err(Error::Local(error));
        }
        hasher.update(&buffer[..len]);
        at += len as u64;
        on_progress(Progress {
            phase: Phase::Digest,
            done: at,
            total: octets.end,
        });
    }
    Ok(())
}

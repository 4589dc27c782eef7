//! What is answered to a chunk of text.

use std::env;
use std::fmt::Display;
use std::io;

use unstick_core::Stream;

use super::command::{self, Asker};
use super::spool::Spool;
use super::text::{Text, Transcoder};

/// How a server answers.
#[derive(Debug, Clone, Copy)]
pub struct Answerer {
    /// How text is encoded.
    pub text: Text,
    /// Whether chunks are commands; they come back as they are if not.
    pub allow_exec: bool,
    /// The longest answer, in octets.
    pub max_len: u64,
}

impl Answerer {
    /// The answer to a chunk. What keeps a command from running, or its output from being sent, is said in the
    /// answer's own text: there is no other place.
    pub fn answer(&self, chunk: &[u8], asker: &impl Asker) -> io::Result<Spool> {
        if !self.allow_exec {
            return Spool::of(chunk);
        }
        let mut line = Vec::new();
        self.text.decoder().push(chunk, true, &mut line);
        let (mut stdout, mut stderr) = (Output::new(self.text), Output::new(self.text));
        let mut room = self.max_len;
        let ran = command::run(&line, asker, |stream, octets| {
            let output = match stream {
                Stream::Stdout => &mut stdout,
                Stream::Stderr => &mut stderr,
            };
            output.push(octets, false, &mut room)
        });
        let ended = ran.and_then(|ran| {
            stdout.push(b"", true, &mut room)?;
            stderr.push(b"", true, &mut room)?;
            stdout.spool.append(&mut stderr.spool)?;
            Ok(ran)
        });
        match ended {
            Ok(Ok(())) => Ok(stdout.spool),
            Ok(Err(refusal)) => self.sentence(refusal.message),
            Err(error) if is_of_disk(&error) => {
                let directory = env::temp_dir();
                self.sentence(format_args!(
                    "what the command has written cannot be kept in {} until it is over: {error}",
                    directory.display()
                ))
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let most = self.max_len;
                self.sentence(format_args!(
                    "the command has written more than the {most} octets that a reply can have"
                ))
            }
            Err(error) => Err(error),
        }
    }

    /// A line of our own.
    pub fn sentence(&self, sentence: impl Display) -> io::Result<Spool> {
        let mut octets = Vec::new();
        let line = format!("unstick: {sentence}\n");
        self.text.encoder().push(line.as_bytes(), true, &mut octets);
        Spool::of(&octets)
    }
}

/// Whether this is what a spool fails with, and no connection does.
fn is_of_disk(error: &io::Error) -> bool {
    // Without a number it is ours: a reply that is too long.
    let is_too_large =
        error.kind() == io::ErrorKind::FileTooLarge && error.raw_os_error().is_some();
    let is_no_room = matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
    );
    is_too_large || is_no_room
}

/// What a command has written to one of its streams, as it goes on the wire.
struct Output {
    transcoder: Transcoder,
    spool: Spool,
}

impl Output {
    fn new(text: Text) -> Self {
        Self {
            transcoder: text.encoder(),
            spool: Spool::new(),
        }
    }

    /// Takes more, `last` if it is the end; fails as [`FileTooLarge`](io::ErrorKind::FileTooLarge) if there is no `room`.
    fn push(&mut self, octets: &[u8], last: bool, room: &mut u64) -> io::Result<()> {
        let mut encoded = Vec::new();
        self.transcoder.push(octets, last, &mut encoded);
        let left = room.checked_sub(encoded.len() as u64);
        *room = left.ok_or(io::ErrorKind::FileTooLarge)?;
        self.spool.push(&encoded)
    }
}

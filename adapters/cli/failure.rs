//! How the command fails: one sentence on standard error, and an exit code.

use std::fmt;
use std::io::{self, Write};
use std::process::{ExitCode, exit};

use unstick_std::{Error, udp};

use crate::address::Address;
use crate::printable::Printable;

/// Why the command ends early.
#[derive(Debug)]
pub enum Failure {
    /// With this sentence, and the code 1.
    Told(String),
    /// With this sentence, and the code 2: the command line asks for what cannot be.
    Usage(String),
    /// Without a word, since nobody reads what is printed any more; the code is the one of SIGPIPE.
    Unread,
}

/// The code that a shell gives a program that dies of SIGPIPE.
const UNREAD: u8 = 128 + 13;

impl Failure {
    /// Says it, and returns the exit code.
    pub fn report(&self) -> ExitCode {
        ExitCode::from(self.say())
    }

    /// Says it, and exits.
    pub fn exit(&self) -> ! {
        exit(self.say().into())
    }

    /// Writes it to the log, and returns the exit code; says it if the log leaves it out, as RUST_LOG may have it.
    pub fn log(&self) -> ExitCode {
        if !tracing::enabled!(tracing::Level::ERROR) {
            return self.report();
        }
        let (sentence, code) = self.parts();
        if let Some(sentence) = sentence {
            tracing::error!("{sentence}");
        }
        ExitCode::from(code)
    }

    fn say(&self) -> u8 {
        let (sentence, code) = self.parts();
        if let Some(sentence) = sentence {
            // If nobody reads this either, the exit code has to do.
            let _ = writeln!(io::stderr(), "unstick: {sentence}");
        }
        code
    }

    /// What is said; nothing where nobody listens.
    pub fn sentence(&self) -> &str {
        self.parts().0.unwrap_or_default()
    }

    fn parts(&self) -> (Option<&str>, u8) {
        match self {
            Self::Told(sentence) => (Some(sentence), 1),
            Self::Usage(sentence) => (Some(sentence), 2),
            Self::Unread => (None, UNREAD),
        }
    }

    /// The same with another sentence, if there is one.
    pub fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Told(sentence) => Self::Told(change(sentence)),
            Self::Usage(sentence) => Self::Usage(change(sentence)),
            Self::Unread => Self::Unread,
        }
    }

    /// What `doing` something failed with.
    pub fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        Self::Told(format!("{doing}: {}", plain(error)))
    }

    /// What printing failed with.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::io("cannot write the output", error),
        }
    }

    /// What connecting to `address` failed with.
    pub fn connect(address: &Address, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::ConnectionRefused => "; is a server running there? (unstick serve)",
            _ => "",
        };
        Self::Told(format!(
            "cannot connect to {address}: {}{hint}",
            plain(error)
        ))
    }

    /// What asking the server at `address` over UDP failed with.
    pub fn datagrams(address: &Address, error: &udp::Error) -> Self {
        match error {
            udp::Error::Refused(_, error) => Self::connect(address, error),
            udp::Error::Io(error) => Self::io(format_args!("cannot ask {address}"), error),
            error => Self::Told(format!("{address}: {}", Printable(&error.to_string()))),
        }
    }

    /// What asking the server at `address` failed with.
    pub fn peer(address: &Address, error: &Error) -> Self {
        let sentence = match error {
            Error::Connect { source, .. } => return Self::connect(address, source),
            Error::Transport(error) => {
                format!("the connection to {address} failed: {}", plain(error))
            }
            Error::Body(error) => format!("cannot read what is to be sent: {}", plain(error)),
            Error::Refused {
                code,
                message,
                retry_after_ms,
            } => {
                let message = match message.as_str() {
                    "" => "no reason given",
                    message => message,
                };
                let again = match retry_after_ms {
                    Some(time) => format!("; try again in {time} ms"),
                    None => String::new(),
                };
                format!("{address} refuses: {} ({code}){again}", Printable(message))
            }
            error => format!("{address}: {error}"),
        };
        Self::Told(sentence)
    }
}

/// The error without its number, and as the end of a sentence rather than the start of one.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    // Not abbreviations.
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            let rest = &text[first.len_utf8()..];
            format!("{}{rest}", first.to_lowercase())
        }
        _ => text.to_owned(),
    }
}

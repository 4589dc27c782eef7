//! `unstick get`, `put`, `ls` and `stat`: files of a server.

pub mod args;
pub mod get;
pub mod look;
mod meter;
pub mod put;
mod remote;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use unstick_core::services::Name;
use unstick_std::transfer::{Options, Outcome};

use crate::failure::Failure;
use crate::printable::Printable;
use args::How;

impl How {
    fn options(self) -> Options {
        Options {
            resume: self.resume,
            overwrite: self.force,
            preserve: self.preserve,
        }
    }

    /// Says what a transfer has come to.
    fn print(self, name: &str, outcome: &Outcome) -> Result<(), Failure> {
        let Outcome { len, kept, sha256 } = outcome;
        let name = Printable(name);
        let line = if self.json {
            let line = json!({"name": name.0, "size": len, "kept": kept, "sha256": sha256});
            Printable(&line.to_string()).to_string()
        } else if self.quiet {
            return Ok(());
        } else {
            let kept = match kept {
                0 => String::new(),
                kept => format!(", {kept} of them there already"),
            };
            format!("{name}: {len} octets{kept}, sha256 {sha256}")
        };
        print(&format!("{line}\n"))
    }
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    let written = written.and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))
}

/// The name of a file on a server, as it is on the command line.
fn name(text: &str) -> Result<Name<'_>, Failure> {
    Name::new(text).map_err(|refusal| {
        let text = Printable(text);
        Failure::Usage(format!("`{text}`: {}", refusal.message))
    })
}

/// A directory on a server; `.` and nothing is the root.
fn directory(text: &str) -> Result<Option<Name<'_>>, Failure> {
    match text.trim_end_matches('/') {
        "" | "." if !text.starts_with('/') => Ok(None),
        text => name(text).map(Some),
    }
}

/// The name of what is in a directory.
fn inside(directory: Option<&str>, name: &str) -> String {
    match directory {
        Some(directory) => format!("{directory}/{name}"),
        None => name.to_owned(),
    }
}

/// Says something that is no failure.
fn note(sentence: &str) {
    // Whoever does not read it does not need it.
    let _ = writeln!(io::stderr(), "unstick: {sentence}");
}

/// How the transfer of many files goes.
#[derive(Default)]
struct Tally {
    done: u64,
    failed: u64,
    passed_over: u64,
}

impl Tally {
    /// Goes on behind a file that could not be transferred, having said why.
    fn add(&mut self, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.done += 1,
            Err(failure) => {
                failure.report();
                self.failed += 1;
            }
        }
    }

    /// Passes over what is not transferred by design, and says so.
    fn pass_over(&mut self, path: &Path, what: &str) {
        let path = path.display().to_string();
        note(&format!("{}: {what} is passed over", Printable(&path)));
        self.passed_over += 1;
    }

    fn end(self) -> Result<ExitCode, Failure> {
        let Self {
            done,
            failed,
            passed_over,
        } = self;
        if passed_over > 0 {
            note(&format!("{passed_over} passed over"));
        }
        match failed {
            0 => Ok(ExitCode::SUCCESS),
            failed => Err(Failure::Told(format!(
                "{failed} of {} files were not transferred",
                done + failed
            ))),
        }
    }
}

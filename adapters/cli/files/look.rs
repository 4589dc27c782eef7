//! `unstick ls` and `unstick stat`

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use unstick_core::Request;
use unstick_core::services::Kind;
use unstick_std::transfer::Entry;

use super::args::{Ls, Stat};
use super::{directory, name, print};
use crate::args::Server;
use crate::failure::Failure;
use crate::peer::Peer;
use crate::printable::Printable;

/// How long the answer may take over UDP, where it may never come.
const UDP_DEADLINE: Duration = Duration::from_secs(10);
/// The longest line that is taken, in octets.
const LINE_LEN: usize = 4096;

/// Prints what is in a directory.
pub fn list(args: &Ls) -> Result<ExitCode, Failure> {
    let directory = directory(args.directory.as_deref().unwrap_or_default())?;
    let directory = directory.map_or("", |name| name.as_str());
    show(&args.server, "list", directory, args.json, row)
}

/// Prints what is known of a file.
pub fn stat(args: &Stat) -> Result<ExitCode, Failure> {
    let name = name(&args.name)?.as_str();
    show(&args.server, "stat", name, args.json, lines)
}

/// Asks about a name, and prints each entry of the reply: as it came, or as `text` says it.
fn show(
    server: &Server,
    op: &str,
    name: &str,
    json: bool,
    text: fn(&Entry) -> String,
) -> Result<ExitCode, Failure> {
    ask(server, op, name, |line, entry| {
        print(&if json {
            format!("{}\n", Printable(line))
        } else {
            text(entry)
        })
    })?;
    Ok(ExitCode::SUCCESS)
}

/// One line of `ls`: how long it is, and what it is called.
fn row(entry: &Entry) -> String {
    let (size, end) = match (entry.kind, entry.size) {
        (Kind::Dir, _) => ("-".to_owned(), "/"),
        (Kind::File, Some(size)) => (size.to_string(), ""),
        (Kind::File, None) => ("?".to_owned(), ""),
    };
    format!("{size:>14}  {}{end}\n", Printable(&entry.name))
}

fn lines(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::File => "file",
        Kind::Dir => "directory",
    };
    let octets = |key: &str, len: Option<u64>| match len {
        Some(len) => format!("{key:<9} {len} octets\n"),
        None => String::new(),
    };
    let mode = entry
        .mode
        .map(|mode| format!("mode      {:03o}\n", mode.bits()));
    // None is too far away: 2^64 nanoseconds are 585 years.
    let modified = entry.mtime_ns.and_then(|nanos| {
        let time = Timestamp::from_nanosecond(nanos.into()).ok()?;
        Some(format!("modified  {time}\n"))
    });
    format!(
        "name      {}\nkind      {kind}\n{}writable  {}\n{}{}{}",
        Printable(&entry.name),
        octets("size", entry.size),
        if entry.writable { "yes" } else { "no" },
        octets("partial", entry.partial),
        mode.unwrap_or_default(),
        modified.unwrap_or_default(),
    )
}

/// Asks about a name, and calls `on_line` with each line of the reply, and what it says.
fn ask(
    server: &Server,
    op: &str,
    name: &str,
    mut on_line: impl FnMut(&str, &Entry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let no_line = |reason| {
        let address = &server.address;
        Failure::Told(format!("{address} does not say what there is: {reason}"))
    };
    let mut take = |line: &[u8]| {
        let text = str::from_utf8(line).map_err(|error| no_line(error.to_string()))?;
        let entry = serde_json::from_str(text).map_err(|error| no_line(error.to_string()))?;
        on_line(text, &entry)
    };
    let mut request = Request::new(op, 0);
    request.filename = (!name.is_empty())
        .then(|| name.try_into())
        .and_then(Result::ok);
    let deadline = server.udp.then_some(UDP_DEADLINE);
    let mut held = Vec::new();
    let mut peer = Peer::connect(server)?;
    peer.request(request, b"", deadline, |_, octets| {
        for part in octets.split_inclusive(|octet| *octet == b'\n') {
            held.extend_from_slice(part);
            if held.len() > LINE_LEN {
                return Err(no_line(format!("a line is longer than {LINE_LEN} octets")));
            }
            if let Some(line) = held.strip_suffix(b"\n") {
                take(line)?;
                held.clear();
            }
        }
        Ok(())
    })?;
    // The one line of `stat` has no end of its own.
    if held.is_empty() { Ok(()) } else { take(&held) }
}

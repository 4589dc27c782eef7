//! What the server has.

use std::io::{BufRead, Read};

use serde::Deserialize;
use unstick_core::services::{Attributes, Kind, Name};
use unstick_core::{Code, Digest, Mode, Request};

use super::{Error, Outcome};
use crate::client::{self, Client};

/// The longest line of `stat` and `list` that is taken, in octets.
const LINE_LEN: u64 = 4096;

/// What a server says of a file or directory (PROTOCOL.md, "stat").
///
/// It is as the server says it: its name may be none, or one that leads elsewhere, until it was made a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The file's length in octets, if there is one.
    pub size: Option<u64>,
    /// Whether `put` may write it.
    pub writable: bool,
    /// The octets that an interrupted `put` has left, if there are any.
    pub partial: Option<u64>,
    /// Its permissions, if the server knows of any.
    pub mode: Option<Mode>,
    /// When it was modified, in nanoseconds since 1970-01-01 UTC, if the server knows.
    pub mtime_ns: Option<u64>,
}

impl Entry {
    /// What it has besides its content.
    pub const fn attributes(&self) -> Attributes {
        Attributes {
            mode: self.mode,
            mtime_ns: self.mtime_ns,
        }
    }
}

/// The request `op` about this name.
pub(super) fn request(op: &str, name: Option<Name<'_>>, body_len: u64) -> Request {
    let mut request = Request::new(op, body_len);
    // No name is too long for it.
    request.filename = name.and_then(|name| name.as_str().try_into().ok());
    request
}

/// What is known of this name, if there is something of it; with `offset`, the digest of so many octets of its partial or
/// else of the file as well.
///
/// # Errors
/// [`Error::Peer`], and [`Error::Reply`] if the reply is no line as it should be.
pub fn stat(
    client: &mut Client,
    name: Name<'_>,
    offset: Option<u64>,
) -> Result<Option<(Entry, Option<Digest>)>, Error> {
    let mut request = request("stat", Some(name), 0);
    request.offset = offset;
    let mut replies = client.request(request, &b""[..])?;
    let mut frame = replies.next_frame()?.ok_or(client::Error::Closed)?;
    if frame.header.error == Some(Code::NotFound) {
        return Ok(None);
    }
    frame.accepted()?;
    let mut line = Vec::new();
    let body = &mut frame.body;
    let read = body.take(LINE_LEN).read_to_end(&mut line);
    read.map_err(client::Error::from)?;
    let digest = frame.header.sha256;
    let entry = parse(&line)?;
    if offset.is_some() && digest.is_none() {
        return Err(Error::Reply("there is no digest in it"));
    }
    Ok(Some((entry, digest)))
}

/// A file of so many octets and this digest, if that is what the server has of this name. It is asked for what is behind them,
/// since the digest that `stat` says may be that of a partial.
pub(super) fn is_stored(
    client: &mut Client,
    name: Name<'_>,
    len: u64,
    sha256: Digest,
) -> Result<Option<Outcome>, Error> {
    let mut request = request("get", Some(name), 0);
    request.offset = Some(len);
    request.sha256 = Some(sha256);
    let mut replies = client.request(request, &b""[..])?;
    let frame = replies.next_frame()?.ok_or(client::Error::Closed)?;
    frame.accepted()?;
    if frame.header.more || frame.header.sha256 != Some(sha256) {
        // Another content follows, which nobody wants.
        client.reconnect()?;
        return Ok(None);
    }
    Ok(Some(Outcome {
        len,
        kept: len,
        sha256,
    }))
}

/// Calls `on_entry` with each entry of a directory, the root of all names without one, in the server's order.
///
/// # Errors
/// The same as those of [`stat`], and what `on_entry` returns.
pub fn list<E: From<Error>>(
    client: &mut Client,
    directory: Option<Name<'_>>,
    mut on_entry: impl FnMut(Entry) -> Result<(), E>,
) -> Result<(), E> {
    let request = request("list", directory, 0);
    let replies = client.request(request, &b""[..]);
    let mut replies = replies.map_err(Error::from)?;
    let mut line = Vec::new();
    while let Some(mut frame) = replies.next_frame().map_err(Error::from)? {
        frame.accepted().map_err(Error::from)?;
        while frame.body.left() > 0 {
            line.clear();
            let mut body = (&mut frame.body).take(LINE_LEN);
            let read = body.read_until(b'\n', &mut line);
            read.map_err(|error| Error::from(client::Error::from(error)))?;
            on_entry(parse(&line)?)?;
        }
    }
    Ok(())
}

fn parse(line: &[u8]) -> Result<Entry, Error> {
    serde_json::from_slice(line).map_err(|_| Error::Reply("a line does not say what is there"))
}

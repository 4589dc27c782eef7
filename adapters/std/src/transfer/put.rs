//! `put`: a file to the server.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use rustix::fs::fstat;
use rustix::io::{pread, retry_on_intr};
use unstick_core::services::{Attributes, Name};
use unstick_core::{Code, Digest, Hasher};

use super::look::{Entry, is_stored, request, stat};
use super::{Error, Options, Outcome, Phase, Progress, digest, refresh};
use crate::client::{self, Client};
use crate::directory::{attributes_of, is_file, len_of};

/// Puts a file, open for reading, under this name.
///
/// It is read twice: the server is to know the digest before the file is one there. Directories on the way to it that the
/// server does not have are made.
///
/// # Errors
/// Each. What has arrived by then may be kept by the server as the partial.
pub fn put(
    client: &mut Client,
    file: &File,
    name: Name<'_>,
    options: Options,
    mut on_progress: impl FnMut(Progress),
) -> Result<Outcome, Error> {
    let found = fstat(file)?;
    is_file(&found).map_err(|_| Error::NotAFile)?;
    let len = len_of(&found);
    let remote = stat(client, name, None)?.map(|(entry, _)| entry);
    let size = remote.as_ref().and_then(|entry| entry.size);
    let is_there = size.is_some() && !options.overwrite;
    if is_there && !(options.resume && size == Some(len)) {
        return Err(Error::Exists);
    }
    let kept = kept(remote.as_ref(), options)
        .filter(|kept| *kept <= len)
        .unwrap_or(0);
    let mut hasher = Hasher::new();
    let since = Instant::now();
    let read = |at, out: &mut [u8]| retry_on_intr(|| pread(file, &mut *out, at));
    digest(&mut hasher, 0..kept, read, &mut on_progress)?;
    let of_kept = hasher.digest();
    digest(&mut hasher, kept..len, read, &mut on_progress)?;
    let sha256 = hasher.digest();
    refresh(client, since)?;
    if is_there {
        return is_stored(client, name, len, sha256)?.ok_or(Error::Exists);
    }
    let kept = if kept > 0 && starts_with(client, name, kept, of_kept)? {
        kept
    } else {
        0
    };

    let mut request = request("put", Some(name), len - kept);
    request.offset = (kept > 0).then_some(kept);
    request.sha256 = Some(sha256);
    request.overwrite = options.overwrite;
    if options.preserve {
        // The time from before it was read: whoever compares times finds what has changed since to be newer.
        let Attributes { mode, mtime_ns } = attributes_of(&found);
        (request.mode, request.mtime_ns) = (mode, mtime_ns);
    }
    let body = Body {
        file,
        at: kept,
        end: len,
        on_progress,
    };
    let mut replies = client.request(request, body)?;
    let frame = replies.next_frame()?.ok_or(client::Error::Closed)?;
    if let Err(refused) = frame.accepted() {
        // An upload that was interrupted here may have ended there since the server was asked.
        let may_have_ended = matches!(
            &refused,
            client::Error::Refused {
                code: Code::Denied | Code::NotFound,
                ..
            }
        );
        let stored = match options.resume && may_have_ended {
            true => ended(client, name, len, sha256).ok().flatten(),
            false => None,
        };
        return stored.ok_or(Error::Peer(refused));
    }
    match frame.header.sha256 {
        Some(said) if said == sha256 => Ok(Outcome { len, kept, sha256 }),
        Some(arrived) => Err(Error::Digest {
            said: sha256,
            arrived,
        }),
        None => Err(Error::Reply("there is no digest in it")),
    }
}

/// The file, if the server has it whole by now.
fn ended(
    client: &mut Client,
    name: Name<'_>,
    len: u64,
    sha256: Digest,
) -> Result<Option<Outcome>, Error> {
    client.reconnect()?;
    let remote = stat(client, name, None)?;
    match remote.is_some_and(|(entry, _)| entry.size == Some(len)) {
        true => is_stored(client, name, len, sha256),
        false => Ok(None),
    }
}

/// How many octets the server has kept of an interrupted upload, if it is to go on.
fn kept(remote: Option<&Entry>, options: Options) -> Option<u64> {
    remote.filter(|_| options.resume)?.partial
}

/// Whether this is the digest of the first `len` octets that the server has kept.
fn starts_with(
    client: &mut Client,
    name: Name<'_>,
    len: u64,
    sha256: Digest,
) -> Result<bool, Error> {
    let found = stat(client, name, Some(len))?;
    Ok(found.is_some_and(|(entry, digest)| entry.partial.is_some() && digest == Some(sha256)))
}

/// What is left of a file, as it is sent.
struct Body<'f, F> {
    file: &'f File,
    at: u64,
    end: u64,
    on_progress: F,
}

impl<F: FnMut(Progress)> Read for Body<'_, F> {
    /// Not behind what was digested: a file that has grown since is one that was put before it grew.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.end - self.at;
        let most = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
        let len = self.file.read_at(&mut out[..most], self.at)?;
        self.at += len as u64;
        (self.on_progress)(Progress {
            phase: Phase::Move,
            done: self.at,
            total: self.end,
        });
        Ok(len)
    }
}

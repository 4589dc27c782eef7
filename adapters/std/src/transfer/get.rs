//! `get`: a file from the server.

use std::io::BufRead;
use std::time::Instant;

use rustix::io::{pread, retry_on_intr};
use unstick_core::services::Name;
use unstick_core::{Digest, Hasher};

use super::look::{Entry, is_stored, request, stat};
use super::{Error, Options, Outcome, Phase, Progress, digest, refresh};
use crate::client::{self, Client};
use crate::directory::{Partial, Place, is_file};

/// Gets the file `name` to this place.
///
/// # Errors
/// Each; what has arrived by then is kept as the partial, unless it is known to be wrong ([`Error::Digest`]).
pub fn get(
    client: &mut Client,
    name: Name<'_>,
    to: Place,
    options: Options,
    mut on_progress: impl FnMut(Progress),
) -> Result<Outcome, Error> {
    let replaced = to.look()?;
    if let Some(found) = &replaced {
        is_file(found).map_err(|_| Error::NotAFile)?;
        if !options.overwrite {
            let same = options
                .resume
                .then(|| same(client, name, &to, &mut on_progress));
            return same.transpose()?.flatten().ok_or(Error::Exists);
        }
    }
    let before = match options.preserve {
        true => stat(client, name, None)?.map(|(entry, _)| entry),
        false => None,
    };
    let attributes = before.as_ref().map(Entry::attributes).unwrap_or_default();
    let mut partial = Partial::open(to)?;
    partial.set_attributes(attributes, replaced.as_ref())?;
    if !options.resume {
        partial.truncate(0)?;
    }
    let since = Instant::now();
    let mut receiving = Receiving::new(partial, &mut on_progress)?;
    refresh(client, since)?;
    let mut request = request("get", Some(name), 0);
    if receiving.kept > 0 {
        request.offset = Some(receiving.kept);
        request.sha256 = Some(receiving.hasher.digest());
    }
    let mut replies = client.request(request, &b""[..])?;
    let mut first = true;
    let said = loop {
        let mut frame = replies.next_frame()?.ok_or(client::Error::Closed)?;
        frame.accepted()?;
        let offset = frame.header.offset.unwrap_or(0);
        if first && offset == 0 {
            // What is here is of another content.
            receiving.restart()?;
        }
        first = false;
        if offset != receiving.at {
            return Err(Error::Reply("its frames do not follow each other"));
        }
        let total = offset.saturating_add(frame.header.total_size);
        while frame.body.left() > 0 {
            let octets = frame.body.fill_buf().map_err(client::Error::from)?;
            let len = octets.len();
            receiving.write(octets)?;
            frame.body.consume(len);
            on_progress(Progress {
                phase: Phase::Move,
                done: receiving.at,
                total,
            });
        }
        if !frame.header.more {
            break frame.header.sha256;
        }
    };
    let Some(said) = said else {
        return Err(Error::Reply("there is no digest in it"));
    };
    let receiving = receiving.check(said)?;
    if let Some(before) = before {
        // Nobody but who sets times back leaves the same ones behind, and another content between them.
        let after = stat(client, name, None)?.map(|(entry, _)| entry);
        let is_same = after.is_some_and(|after| {
            (after.size, after.attributes()) == (before.size, before.attributes())
        });
        if !is_same {
            return Err(Error::Changed);
        }
    }
    receiving.finish(said, options.overwrite)
}

/// A partial that grows.
struct Receiving {
    partial: Partial,
    hasher: Hasher,
    /// How many octets it had at first.
    kept: u64,
    at: u64,
}

impl Receiving {
    fn new(partial: Partial, on_progress: &mut impl FnMut(Progress)) -> Result<Self, Error> {
        let mut hasher = Hasher::new();
        let kept = partial.len();
        let read = |at, out: &mut [u8]| partial.read(at, out);
        digest(&mut hasher, 0..kept, read, on_progress)?;
        Ok(Self {
            partial,
            hasher,
            kept,
            at: kept,
        })
    }

    /// Begins anew.
    fn restart(&mut self) -> Result<(), Error> {
        self.partial.truncate(0)?;
        self.hasher = Hasher::new();
        (self.kept, self.at) = (0, 0);
        Ok(())
    }

    fn write(&mut self, mut octets: &[u8]) -> Result<(), Error> {
        self.hasher.update(octets);
        while !octets.is_empty() {
            let len = self.partial.write(self.at, octets)?;
            octets = &octets[len..];
            self.at += len as u64;
        }
        Ok(())
    }

    /// All of it is there: it has this digest, or nothing of it is kept.
    fn check(self, said: Digest) -> Result<Self, Error> {
        let arrived = self.hasher.digest();
        if arrived != said {
            self.partial.discard();
            return Err(Error::Digest { said, arrived });
        }
        Ok(self)
    }

    fn finish(self, sha256: Digest, overwrite: bool) -> Result<Outcome, Error> {
        self.partial.commit(overwrite)?;
        Ok(Outcome {
            len: self.at,
            kept: self.kept,
            sha256,
        })
    }
}

/// What is there already, if it is what the server has.
fn same(
    client: &mut Client,
    name: Name<'_>,
    to: &Place,
    on_progress: &mut impl FnMut(Progress),
) -> Result<Option<Outcome>, Error> {
    let (file, len) = to.open()?;
    let remote = stat(client, name, None)?;
    if remote.is_none_or(|(entry, _)| entry.size != Some(len)) {
        return Ok(None);
    }
    let mut hasher = Hasher::new();
    let since = Instant::now();
    let read = |at, out: &mut [u8]| retry_on_intr(|| pread(&file, &mut *out, at));
    digest(&mut hasher, 0..len, read, on_progress)?;
    refresh(client, since)?;
    is_stored(client, name, len, hasher.digest())
}

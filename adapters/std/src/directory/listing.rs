//! What is in a directory, in the order of the names' octets, without holding all of it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;
use unstick_core::services::{Attributes, Entry, Kind, Name, Stat};

use super::attributes::attributes_of;
use super::partial::partial_len;
use super::place::{len_of, look, may_write};

/// How many names are held at once. A directory is read through once for each so many.
const NAMES: usize = 8192;

/// A directory that is being listed.
#[derive(Debug)]
pub struct Listing {
    dir: OwnedFd,
    writable: bool,
    /// The names that come next.
    names: BTreeSet<String>,
    /// Whether there are more behind them.
    more: bool,
    /// All up to this one were listed.
    listed: Option<String>,
    /// The place of the first of `names`.
    place: u64,
}

impl Listing {
    pub(super) const fn new(dir: OwnedFd, writable: bool) -> Self {
        Self {
            dir,
            writable,
            names: BTreeSet::new(),
            more: true,
            listed: None,
            place: 0,
        }
    }

    pub(super) fn entry(&mut self, place: u64) -> Result<Option<Entry<'_>>, Errno> {
        if place > self.place {
            self.pass();
            self.place = place;
        }
        let stat = loop {
            if self.names.is_empty() && self.more {
                self.read()?;
            }
            let Some(name) = self.names.first() else {
                return Ok(None);
            };
            match stat_of(&self.dir, name.as_ref(), self.writable)? {
                Some(stat) => break stat,
                // Gone, or nothing that can be asked for.
                None => self.pass(),
            }
        };
        let name = self.names.first();
        Ok(name.map(|name| Entry { name, stat }))
    }

    /// Goes on behind the first name.
    fn pass(&mut self) {
        if let Some(name) = self.names.pop_first() {
            self.listed = Some(name);
        }
    }

    /// Reads the whole directory, and holds the first names behind those that were listed.
    fn read(&mut self) -> Result<(), Errno> {
        self.more = false;
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let is_listed = self.listed.as_deref().is_some_and(|listed| name <= listed);
            if is_listed || Name::new(name).is_err() {
                continue;
            }
            if self.names.len() == NAMES {
                self.more = true;
                if self.names.last().is_some_and(|last| name > last.as_str()) {
                    continue;
                }
                self.names.pop_last();
            }
            self.names.insert(name.to_owned());
        }
        Ok(())
    }
}

/// What is known of a name in a directory, if it is that of a file, a directory or the partial of a file.
pub(super) fn stat_of(dir: &OwnedFd, name: &OsStr, writable: bool) -> Result<Option<Stat>, Errno> {
    let partial = partial_len(dir, name);
    let writable = || writable && may_write(dir, ".");
    let Some(found) = look(dir, name)? else {
        return Ok(partial.map(|_| Stat {
            kind: Kind::File,
            size: None,
            writable: writable(),
            partial,
            attributes: Attributes::default(),
        }));
    };
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Some(Stat {
            kind: Kind::File,
            size: Some(len_of(&found)),
            writable: writable() && may_write(dir, name),
            partial,
            attributes: attributes_of(&found),
        }),
        FileType::Directory => Some(Stat {
            kind: Kind::Dir,
            size: None,
            writable: false,
            partial: None,
            attributes: attributes_of(&found),
        }),
        _ => None,
    })
}

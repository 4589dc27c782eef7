//! Files that are not complete yet.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, Stat, fchmod, flock, fstat, fsync, ftruncate, openat,
    renameat, unlinkat,
};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};
use unstick_core::services::Attributes;
use unstick_core::{Hasher, Mode as FileMode};

use super::attributes::{attributes_of, set_attributes, set_mode};
use super::place::{FILE, Place, is_file, len_of, look, sync_dir};

/// What a partial's name has behind that of its file. No [`Name`](unstick_core::services::Name) has a `:`, so that no
/// peer can name it.
const SUFFIX: &str = ":part";
/// How long names in a directory may be, in octets.
const NAME_LEN: usize = 255;
/// How many hex digits of a digest stand for the rest of a long name: enough that nobody finds two with the same.
const DIGEST_LEN: usize = 32;
/// How often a partial may be another by the time that it is locked, before it is as good as locked by somebody else.
const ATTEMPTS: usize = 8;

/// What the owner of a partial may always do.
const OWNER: Mode = Mode::RUSR.union(Mode::WUSR);
/// What new files are made with. The system takes away what nobody is to have (`umask`).
const NEW: Mode = OWNER
    .union(Mode::RGRP.union(Mode::WGRP))
    .union(Mode::ROTH.union(Mode::WOTH));

/// The name of the partial of this file. Of a name that leaves no room for more it has the start, and instead of the rest a
/// digest: two long names do not share a partial.
pub(super) fn partial_name(file: &OsStr) -> OsString {
    let mut name = file.to_owned();
    if name.len() + SUFFIX.len() > NAME_LEN {
        let mut hasher = Hasher::new();
        hasher.update(file.as_bytes());
        let digest = hasher.digest().to_string();
        let end = format!(":{}", &digest[..DIGEST_LEN]);
        // Not inside a character, where file systems mind that.
        let text = file.to_string_lossy();
        let most = NAME_LEN - end.len() - SUFFIX.len();
        let mut ends = (0..=most).rev();
        let start = ends.find_map(|end| text.get(..end));
        name = start.unwrap_or_default().into();
        name.push(end);
    }
    name.push(SUFFIX);
    name
}

/// How many octets the partial of this file has; none if there is none.
pub(super) fn partial_len(dir: impl AsFd, file: &OsStr) -> Option<u64> {
    let stat = look(dir, partial_name(file)).ok()??;
    let is_partial = is_file(&stat).is_ok() && stat.st_nlink == 1;
    Some(len_of(&stat)).filter(|len| is_partial && *len > 0)
}

/// The octets of a file that is not complete yet, beside it under a name of its own, for one writer.
///
/// A lock says whose it is, so that it is free again when its writer dies, whatever it dies of. Dropping it keeps what it
/// has.
#[derive(Debug)]
pub struct Partial {
    place: Place,
    file: OwnedFd,
    len: u64,
    /// What it gets when it becomes the file.
    attributes: Attributes,
    /// Nothing has the partial's name any more.
    gone: bool,
}

impl Partial {
    /// The partial of the file at this place; an empty one if there is none.
    ///
    /// # Errors
    /// `AGAIN` if it has a writer or a reader.
    pub(crate) fn open(place: Place) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let (file, len) = lock(&place, flags, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            place,
            file,
            len,
            attributes: Attributes::default(),
            gone: false,
        })
    }

    /// How many octets it has.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The name of the file that it is a part of.
    pub(crate) fn name(&self) -> &OsStr {
        &self.place.name
    }

    /// Keeps the first `len` octets, of at least as many.
    pub(crate) fn truncate(&mut self, len: u64) -> Result<(), Errno> {
        ftruncate(&self.file, len)?;
        self.len = len;
        Ok(())
    }

    /// Gives the file to be these, and without permissions those of the one that it is to replace, if there is one: until then
    /// those at most, so that nobody else reads it, but for its owner, who has to be able to go on.
    pub(crate) fn set_attributes(
        &mut self,
        attributes: Attributes,
        replaced: Option<&Stat>,
    ) -> Result<(), Errno> {
        let of_replaced = replaced.and_then(|found| attributes_of(found).mode);
        self.attributes = Attributes {
            mode: attributes.mode.or(of_replaced),
            ..attributes
        };
        self.close_to_others()?;
        // What another upload has left has the permissions that were meant then.
        if self.attributes.mode.is_none() && self.len > 0 {
            self.attributes.mode = mode_of_new(&self.place.dir);
        }
        Ok(())
    }

    /// Permissions as they are to be, but for the owner's own.
    fn close_to_others(&self) -> Result<(), Errno> {
        match self.attributes.mode {
            Some(mode) => set_mode(&self.file, mode, OWNER.bits()),
            None => Ok(()),
        }
    }

    /// Writes octets from the front of `octets` at `offset`, and returns how many: at least 1, if there are any.
    pub(crate) fn write(&mut self, offset: u64, octets: &[u8]) -> Result<usize, Errno> {
        let written = retry_on_intr(|| pwrite(&self.file, octets, offset))?;
        if written == 0 && !octets.is_empty() {
            return Err(Errno::IO);
        }
        self.len = self.len.max(offset.saturating_add(written as u64));
        Ok(written)
    }

    /// Fills the front of `out` from `offset` on, and returns with how many octets.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Result<usize, Errno> {
        retry_on_intr(|| pread(&self.file, &mut *out, offset))
    }

    /// Makes it the file, in one step, and so that it lasts. With `overwrite` it replaces one that is there.
    ///
    /// # Errors
    /// `EXIST` if there is one that is not to be overwritten. The partial is kept, unless it cannot be told what of it is
    /// stored.
    pub(crate) fn commit(mut self, overwrite: bool) -> Result<(), Errno> {
        if let Err(error) = fsync(&self.file) {
            // What could not be stored may read as if it were.
            self.discard();
            return Err(error);
        }
        if let Err(error) = self.rename(overwrite) {
            // Whoever goes on from it has to be able to write it.
            let _ = self.close_to_others();
            return Err(error);
        }
        self.gone = true;
        sync_dir(&self.place.dir)
    }

    fn rename(&self, overwrite: bool) -> Result<(), Errno> {
        if self.attributes != Attributes::default() {
            // Not before all is stored, which takes long: one that is for reading only could not be gone on from.
            set_attributes(&self.file, self.attributes)?;
            fsync(&self.file)?;
        }
        let (dir, to) = (&self.place.dir, &self.place.name);
        let from = partial_name(to);
        match overwrite {
            true => renameat(dir, &from, dir, to),
            false => rename_new(dir, &from, to),
        }
    }

    /// Forgets it.
    pub(crate) fn discard(mut self) {
        self.remove();
    }

    fn remove(&mut self) {
        // If it stays, the next writer finds octets that are not those it looks for, and begins anew.
        let _ = unlinkat(
            &self.place.dir,
            partial_name(&self.place.name),
            AtFlags::empty(),
        );
        self.gone = true;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing to go on from.
        if self.len == 0 && !self.gone {
            self.remove();
        }
    }
}

/// The partial of the file at this place for reading, and its length in octets; nobody writes it meanwhile.
///
/// # Errors
/// `NOENT` if there is none, `AGAIN` if it has a writer.
pub(super) fn open_partial(place: &Place) -> Result<(OwnedFd, u64), Errno> {
    lock(place, OFlags::RDONLY, FlockOperation::NonBlockingLockShared)
}

/// Opens a partial and locks it.
fn lock(place: &Place, flags: OFlags, operation: FlockOperation) -> Result<(OwnedFd, u64), Errno> {
    let (dir, name) = (&place.dir, partial_name(&place.name));
    let open = |flags| retry_on_intr(|| openat(dir, &name, flags | FILE, NEW));
    for _ in 0..ATTEMPTS {
        let opened = open(flags);
        // Its writer died between giving it permissions that do not let its owner write, and the file's name.
        let is_shut = flags.contains(OFlags::RDWR) && matches!(opened, Err(Errno::ACCESS));
        let file = match is_shut {
            true => open(OFlags::RDONLY)?,
            false => opened?,
        };
        let opened = fstat(&file)?;
        is_file(&opened)?;
        retry_on_intr(|| flock(&file, operation))?;
        // Whoever had it before may have made it the file, or removed it, since it was opened.
        let is_same = |found: &Stat| (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino);
        match look(dir, &name)?.filter(is_same) {
            // It is a file already, and its writer died before it took the other name away.
            Some(found) if found.st_nlink > 1 => unlinkat(dir, &name, AtFlags::empty())?,
            // It is opened anew. Its permissions are settled when it becomes the file.
            Some(_) if is_shut => fchmod(&file, OWNER)?,
            Some(found) => return Ok((file, len_of(&found))),
            None => {}
        }
    }
    Err(Errno::AGAIN)
}

/// The permissions of a new file in this directory, where one can be made that has no name.
fn mode_of_new(dir: &OwnedFd) -> Option<FileMode> {
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = retry_on_intr(|| openat(dir, ".", flags, NEW)).ok()?;
        attributes_of(&fstat(&file).ok()?).mode
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        None
    }
}

/// Renames to a name that nothing has, or fails with `EXIST`.
fn rename_new(dir: &OwnedFd, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{RenameFlags, renameat_with};
        match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return renamed,
        }
    }
    rustix::fs::linkat(dir, from, dir, to, AtFlags::empty())?;
    unlinkat(dir, from, AtFlags::empty())
}

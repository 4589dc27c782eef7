//! Where a file is or is to be: a directory that is held open, and a name in it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, Stat, accessat, fstat, fsync, mkdirat, openat,
    statat,
};
use rustix::io::{Errno, retry_on_intr};

/// What directories are opened with. Without `NOFOLLOW`, which is for those that a peer names.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// What files are opened with. A pipe or a device that took a file's place would make opening it wait.
pub(crate) const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A directory that is held open, and a name in it.
#[derive(Debug)]
pub struct Place {
    pub(crate) dir: OwnedFd,
    pub(crate) name: OsString,
}

impl Place {
    /// The place that this path leads to, for whoever may say where it leads: symbolic links on the way are followed.
    ///
    /// # Errors
    /// If the path names no file, or its directory cannot be opened.
    pub fn new(path: &Path) -> io::Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(Errno::ISDIR.into());
        };
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        Ok(Self {
            dir: open_root(parent)?,
            name: name.to_owned(),
        })
    }

    /// What is there.
    pub(crate) fn look(&self) -> Result<Option<Stat>, Errno> {
        look(&self.dir, &self.name)
    }

    /// The file, for reading, and its length in octets.
    ///
    /// # Errors
    /// `NOENT` if there is nothing, `ISDIR` for a directory, `INVAL` for anything else that is no file.
    pub(crate) fn open(&self) -> Result<(OwnedFd, u64), Errno> {
        open_file(&self.dir, &self.name)
    }
}

/// A directory that a person names.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| openat(CWD, path, DIRECTORY, Mode::empty()))
}

/// A directory in another: itself, no symbolic link to one.
pub(super) fn open_dir(dir: &OwnedFd, name: impl AsRef<OsStr>) -> Result<OwnedFd, Errno> {
    let flags = DIRECTORY | OFlags::NOFOLLOW;
    retry_on_intr(|| openat(dir, name.as_ref(), flags, Mode::empty()))
}

/// The same; made if there is none.
pub(super) fn make_dir(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    match open_dir(dir, name) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    match mkdirat(dir, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
        // Somebody else was faster.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    sync_dir(dir)?;
    open_dir(dir, name)
}

/// Makes what was done to the names in a directory last.
pub(super) fn sync_dir(dir: impl AsFd) -> Result<(), Errno> {
    match fsync(dir) {
        // There are file systems that do so by themselves, and know no other way.
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        synced => synced,
    }
}

/// What this name stands for: itself, not what a symbolic link leads to.
pub(super) fn look(dir: impl AsFd, name: impl AsRef<OsStr>) -> Result<Option<Stat>, Errno> {
    match statat(dir, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file in a directory, for reading, and its length in octets.
pub(super) fn open_file(dir: &OwnedFd, name: &OsStr) -> Result<(OwnedFd, u64), Errno> {
    // Opening alone can do something to a pipe or a device: it is looked at before, and again after.
    let stat = look(dir, name)?.ok_or(Errno::NOENT)?;
    is_file(&stat)?;
    let flags = OFlags::RDONLY | FILE;
    let file = retry_on_intr(|| openat(dir, name, flags, Mode::empty()))?;
    let stat = fstat(&file)?;
    is_file(&stat)?;
    Ok((file, len_of(&stat)))
}

/// Whether this is a file, or else why not.
pub(crate) fn is_file(stat: &Stat) -> Result<(), Errno> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::INVAL),
    }
}

/// The length in octets.
pub(crate) fn len_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Whether this process may write what stands there.
pub(super) fn may_write(dir: impl AsFd, name: impl AsRef<OsStr>) -> bool {
    accessat(dir, name.as_ref(), Access::WRITE_OK, AtFlags::empty()).is_ok()
}

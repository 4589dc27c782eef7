//! A directory as a storage: files of this machine for whoever asks.

mod attributes;
mod listing;
mod partial;
mod place;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::fstatvfs;
use rustix::io::{Errno, pread, retry_on_intr};
use rustix::process::{Resource, getrlimit};
use unstick_core::services::{Attributes, Entry, Name, Stat, Storage, Upload};
use unstick_core::{Code, Refusal};

pub(crate) use attributes::attributes_of;
use attributes::set_attributes;
use listing::stat_of;
pub(crate) use partial::Partial;
use partial::{open_partial, partial_len};
pub(crate) use place::{is_file, len_of};
use place::{make_dir, may_write, open_dir, open_root};

pub use listing::Listing;
pub use place::Place;

/// When to try again what somebody else is at, in milliseconds.
const RETRY_AFTER_MS: u32 = 500;

/// A directory of this machine as a [`Storage`], for reading or, if it is [`writable`](Self::writable), for uploads too.
///
/// It is opened once, and every name is looked up beneath it, component by component, each in the directory that was opened
/// before. No symbolic link is followed, wherever it leads: it is not listed, and cannot be asked for or written
/// through. Pipes, devices and sockets are refused before they are opened. What a refusal says never has a path of this
/// machine.
///
/// # Uploads
///
/// The partial of `NAME` is `NAME:part` beside it, which no name can be, and which is not listed. It is locked while it is
/// written, and the lock ends with the process, however that ends. It is stored (`fsync`) before it is renamed, and so is
/// the directory then; whether a file may be replaced is settled by the renaming itself. The new file has the permissions
/// and the time that its upload says before it has its name; without permissions, those of the one that it replaces. Directories that are missing on the way to it are made.
///
/// An upload that the file system has no room for is refused before its body; if room runs out later, what has arrived is
/// kept as the partial.
///
/// A clone is the same directory.
///
/// ```no_run
/// use unstick_core::services::Files;
/// use unstick_std::{Directory, Limits, Shutdown, tcp};
///
/// let directory = Directory::open("/srv/files")?.writable(true);
/// let server = tcp::Server::bind("127.0.0.1:8896", Limits::default())?;
/// server.serve_forever(&Shutdown::new()?, |_| Files::<_, 4096>::new(directory.clone()))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Directory {
    root: Arc<OwnedFd>,
    writable: bool,
}

impl Directory {
    /// The directory at this path, for reading.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            root: Arc::new(open_root(path.as_ref())?),
            writable: false,
        })
    }

    /// The same, with uploads or without.
    #[must_use]
    pub const fn writable(mut self, writable: bool) -> Self {
        self.writable = writable;
        self
    }

    /// Where this name leads. Directories on the way to it that are missing are made.
    ///
    /// # Errors
    /// If a directory on the way is none, or cannot be opened or made.
    pub fn make_place(&self, name: Name<'_>) -> io::Result<Place> {
        Ok(self.walk(name, make_dir)?)
    }

    /// Makes this directory, and those on the way to it, where they are missing.
    ///
    /// # Errors
    /// If something else stands there, or they cannot be opened or made.
    pub fn make_dir(&self, name: Name<'_>) -> io::Result<()> {
        let place = self.walk(name, make_dir)?;
        make_dir(&place.dir, &place.name)?;
        Ok(())
    }

    /// Gives this directory, the root of all names without one, permissions and a time, as far as there are any.
    ///
    /// # Errors
    /// If it is no directory, or cannot be opened or changed.
    pub fn set_attributes(&self, name: Option<Name<'_>>, attributes: Attributes) -> io::Result<()> {
        let dir = self.open_dir(name)?;
        Ok(set_attributes(&dir, attributes)?)
    }

    /// Opens this directory; the root, if it has no name.
    fn open_dir(&self, name: Option<Name<'_>>) -> Result<OwnedFd, Errno> {
        let Some(name) = name else {
            return open_dir(&self.root, ".");
        };
        let place = self.find(name)?;
        open_dir(&place.dir, &place.name)
    }

    fn walk(
        &self,
        name: Name<'_>,
        step: impl Fn(&OwnedFd, &OsStr) -> Result<OwnedFd, Errno>,
    ) -> Result<Place, Errno> {
        let mut dir = open_dir(&self.root, ".")?;
        let mut components = name.components().peekable();
        while let Some(component) = components.next() {
            if components.peek().is_none() {
                return Ok(Place {
                    dir,
                    name: component.into(),
                });
            }
            dir = step(&dir, component.as_ref())?;
        }
        // A name has a component.
        Err(Errno::NOENT)
    }

    fn find(&self, name: Name<'_>) -> Result<Place, Errno> {
        self.walk(name, |dir, name| open_dir(dir, name))
    }

    /// The partial for this upload, unless there is a reason against it. Nothing has changed if there is.
    fn partial(&self, name: Name<'_>, upload: Upload) -> Result<Partial, Refusal> {
        let refused = |error| refusal(name.as_str(), error);
        if !self.writable {
            return Err(read_only(name));
        }
        let place = self.find(name).ok();
        let dir = place.as_ref().map_or(&*self.root, |place| &place.dir);
        // What is kept takes room already.
        let kept = place
            .as_ref()
            .and_then(|place| partial_len(&place.dir, &place.name));
        let needed = upload.len.saturating_sub(kept.unwrap_or(0));
        if !has_room(dir, needed) || exceeds_file_limit(upload.len) {
            return Err(refused(Errno::NOSPC));
        }
        let place = match upload.offset {
            0 => self.walk(name, make_dir),
            _ => self.find(name),
        };
        let place = place.map_err(refused)?;
        let replaced = place.look().map_err(refused)?;
        if let Some(found) = &replaced {
            is_file(found).map_err(refused)?;
            if !upload.overwrite {
                return Err(refused(Errno::EXIST));
            }
            if !may_write(&place.dir, &place.name) {
                return Err(read_only(name));
            }
        }
        let mut partial = Partial::open(place).map_err(refused)?;
        if upload.offset > partial.len() {
            return Err(Refusal::new(
                Code::NotFound,
                format_args!("only {} octets are kept of `{name}`", partial.len()),
            ));
        }
        let attributes = partial.set_attributes(upload.attributes, replaced.as_ref());
        attributes.map_err(refused)?;
        partial.truncate(upload.offset).map_err(refused)?;
        Ok(partial)
    }
}

impl Storage for Directory {
    type Reader = Reader;
    type Writer = Writer;
    type Listing = Listing;

    fn stat(&mut self, name: Name<'_>) -> Result<Stat, Refusal> {
        let found = self.find(name).and_then(|place| {
            let found = stat_of(&place.dir, &place.name, self.writable)?;
            // What is there all the same is nothing that can be asked for.
            match found {
                Some(found) => Ok(found),
                None => Err(place.look()?.map_or(Errno::NOENT, |_| Errno::INVAL)),
            }
        });
        found.map_err(|error| refusal(name.as_str(), error))
    }

    fn open(&mut self, name: Name<'_>) -> Result<(Reader, u64), Refusal> {
        let opened = self.find(name).and_then(|place| place.open());
        let (file, len) = opened.map_err(|error| refusal(name.as_str(), error))?;
        Ok((Reader(file), len))
    }

    fn open_partial(&mut self, name: Name<'_>) -> Result<(Reader, u64), Refusal> {
        let opened = self.find(name).and_then(|place| open_partial(&place));
        let (file, len) = opened.map_err(|error| refusal(name.as_str(), error))?;
        Ok((Reader(file), len))
    }

    fn read(&mut self, file: &mut Reader, offset: u64, out: &mut [u8]) -> Result<usize, Refusal> {
        let read = retry_on_intr(|| pread(&file.0, &mut *out, offset));
        read.map_err(|error| refusal("the file", error))
    }

    fn create(&mut self, name: Name<'_>, upload: Upload) -> Result<Writer, Refusal> {
        Ok(Writer {
            partial: self.partial(name, upload)?,
            overwrite: upload.overwrite,
        })
    }

    fn write(&mut self, writer: &mut Writer, offset: u64, octets: &[u8]) -> Result<usize, Refusal> {
        let written = writer.partial.write(offset, octets);
        written.map_err(|error| writer.refusal(error))
    }

    fn read_back(
        &mut self,
        writer: &mut Writer,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, Refusal> {
        let read = writer.partial.read(offset, out);
        read.map_err(|error| writer.refusal(error))
    }

    fn commit(&mut self, writer: Writer) -> Result<(), Refusal> {
        let name = writer.partial.name().to_owned();
        let committed = writer.partial.commit(writer.overwrite);
        committed.map_err(|error| refusal(&name.to_string_lossy(), error))
    }

    fn discard(&mut self, writer: Writer) {
        writer.partial.discard();
    }

    fn list(&mut self, directory: Option<Name<'_>>) -> Result<Listing, Refusal> {
        let name = directory.map_or("", Name::as_str);
        let dir = self.open_dir(directory).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Refusal::new(
                Code::NotFound,
                format_args!("there is no directory `{name}`"),
            ),
            error => refusal(name, error),
        })?;
        Ok(Listing::new(dir, self.writable))
    }

    fn entry<'a>(
        &'a mut self,
        listing: &'a mut Listing,
        place: u64,
    ) -> Result<Option<Entry<'a>>, Refusal> {
        let entry = listing.entry(place);
        entry.map_err(|error| refusal("the directory", error))
    }
}

/// A file of a [`Directory`] that is open for reading: replaced meanwhile, it is still the one that was opened.
#[derive(Debug)]
pub struct Reader(OwnedFd);

/// An upload to a [`Directory`].
#[derive(Debug)]
pub struct Writer {
    partial: Partial,
    overwrite: bool,
}

impl Writer {
    fn refusal(&self, error: Errno) -> Refusal {
        refusal(&self.partial.name().to_string_lossy(), error)
    }
}

/// Whether the file system has room for so many more octets.
fn has_room(dir: &OwnedFd, octets: u64) -> bool {
    match fstatvfs(dir) {
        // One without blocks does not count them.
        Ok(room) if room.f_blocks > 0 => room.f_bavail.saturating_mul(room.f_frsize) >= octets,
        _ => true,
    }
}

/// Whether this process may not make a file of so many octets: trying is deadly.
fn exceeds_file_limit(octets: u64) -> bool {
    getrlimit(Resource::Fsize)
        .current
        .is_some_and(|most| octets > most)
}

fn read_only(name: Name<'_>) -> Refusal {
    Refusal::new(Code::Denied, format_args!("for reading only: `{name}`"))
}

/// What is said of this error. The reason is first: a sentence that is too long is cut.
fn refusal(name: &str, error: Errno) -> Refusal {
    let (code, reason) = match error {
        Errno::NOENT | Errno::NOTDIR => (Code::NotFound, "there is no file"),
        Errno::EXIST => (Code::Denied, "there already, and not to be overwritten:"),
        Errno::ISDIR => (Code::Denied, "a directory:"),
        Errno::INVAL | Errno::LOOP => (Code::Denied, "neither a file nor a directory:"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => (Code::Denied, "the system denies access to"),
        Errno::NAMETOOLONG | Errno::ILSEQ => (Code::Denied, "no name for a file here:"),
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => (Code::TooLarge, "there is no room for"),
        Errno::AGAIN => {
            let message = format_args!("another upload is not done: `{name}`");
            return Refusal::busy(message, RETRY_AFTER_MS);
        }
        Errno::MFILE | Errno::NFILE => {
            return Refusal::busy("too many files are open", RETRY_AFTER_MS);
        }
        error => {
            let message = format_args!("{}: `{name}`", io::Error::from(error));
            return Refusal::new(Code::Internal, message);
        }
    };
    Refusal::new(code, format_args!("{reason} `{name}`"))
}

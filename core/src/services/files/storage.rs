//! Where files are: the trait that a directory or a board's memory implements.

use serde::{Deserialize, Serialize};

use super::Name;
use crate::head::{Code, Refusal};
use crate::mode::Mode;

/// Files by name, for [`Files`](super::Files).
///
/// Calls are synchronous, and each is short: a few system calls, or a lock that is held for as long. Every service
/// has a storage of its own, so one whose files several connections share is a handle: a path, a reference, a lock.
///
/// Octets are read and written at an offset that is counted from the start of the file. Every error is a [`Refusal`],
/// whose sentence goes to the client: it says nothing that the client is not to know, as the path of the directory.
///
/// # Uploads
///
/// What is uploaded is not the file yet, but a partial beside it; at most one for each name. [`create`](Self::create)
/// opens it for one writer alone, [`commit`](Self::commit) makes it the file in one step. Dropping a writer
/// interrupts the upload: the file is as it was, and the partial is kept for the next writer, or forgotten where
/// there is no room for that. A service that is dropped drops its writer.
///
/// # Example
///
/// One file for reading, made when it is opened: what it says does not change while it is sent.
///
/// ```
/// use core::convert::Infallible;
/// use core::fmt::Write;
/// use unstick_core::services::{Attributes, Entry, Files, Kind, Name, Stat, Storage};
/// use unstick_core::{Code, Refusal};
///
/// struct Board {
///     uptime_s: u32,
/// }
///
/// const UPTIME: Entry<'static> = Entry {
///     name: "uptime",
///     stat: Stat {
///         kind: Kind::File,
///         size: None,
///         writable: false,
///         partial: None,
///         attributes: Attributes { mode: None, mtime_ns: None },
///     },
/// };
///
/// impl Storage for Board {
///     type Reader = heapless::String<16>;
///     type Writer = Infallible;
///     type Listing = ();
///
///     fn stat(&mut self, name: Name<'_>) -> Result<Stat, Refusal> {
///         match name.as_str() {
///             "uptime" => Ok(UPTIME.stat),
///             _ => Err(Refusal::new(Code::NotFound, format_args!("there is no file `{name}`"))),
///         }
///     }
///
///     fn open(&mut self, name: Name<'_>) -> Result<(Self::Reader, u64), Refusal> {
///         self.stat(name)?;
///         let mut text = heapless::String::new();
///         // 10 digits at most: they fit.
///         let _ = writeln!(text, "{} s", self.uptime_s);
///         let len = text.len() as u64;
///         Ok((text, len))
///     }
///
///     fn read(&mut self, text: &mut Self::Reader, offset: u64, out: &mut [u8]) -> Result<usize, Refusal> {
///         let rest = text.as_bytes().get(offset as usize..).unwrap_or_default();
///         let len = rest.len().min(out.len());
///         out[..len].copy_from_slice(&rest[..len]);
///         Ok(len)
///     }
///
///     fn list(&mut self, directory: Option<Name<'_>>) -> Result<(), Refusal> {
///         match directory {
///             None => Ok(()),
///             Some(name) => Err(Refusal::new(Code::NotFound, format_args!("there is no directory `{name}`"))),
///         }
///     }
///
///     fn entry(&mut self, (): &mut (), place: u64) -> Result<Option<Entry<'_>>, Refusal> {
///         Ok((place == 0).then_some(UPTIME))
///     }
///
///     // `create` refuses, as it does by default: there is never a writer.
///     fn write(&mut self, writer: &mut Infallible, _: u64, _: &[u8]) -> Result<usize, Refusal> {
///         match *writer {}
///     }
///
///     fn read_back(&mut self, writer: &mut Infallible, _: u64, _: &mut [u8]) -> Result<usize, Refusal> {
///         match *writer {}
///     }
///
///     fn commit(&mut self, writer: Infallible) -> Result<(), Refusal> {
///         match writer {}
///     }
///
///     fn discard(&mut self, writer: Infallible) {
///         match writer {}
///     }
/// }
///
/// let files = Files::<_, 640>::new(Board { uptime_s: 5 });
/// ```
pub trait Storage {
    /// A file that is open for reading: what it was when it was opened, as far as the storage can hold on to that.
    type Reader;
    /// A partial that is open for writing.
    type Writer;
    /// A directory that is being listed.
    type Listing;

    /// What is known of this name.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is neither a file or directory of this name nor a partial.
    fn stat(&mut self, name: Name<'_>) -> Result<Stat, Refusal>;

    /// Opens a file for reading, and says how many octets it has.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no file of this name, [`Code::Denied`] if it is a directory or not for reading.
    fn open(&mut self, name: Name<'_>) -> Result<(Self::Reader, u64), Refusal>;

    /// Opens the partial of a file for reading, and says how many octets it has.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is none, which is what a storage says that keeps none; [`Code::Busy`], with a time,
    /// if it cannot be read while it is written.
    fn open_partial(&mut self, name: Name<'_>) -> Result<(Self::Reader, u64), Refusal> {
        Err(Refusal::new(
            Code::NotFound,
            format_args!("there is no part of `{name}`"),
        ))
    }

    /// Fills the front of `out`, which is not empty, with the octets from `offset` on, and returns how many.
    ///
    /// 0 is the end of the file, and of the request if the file was said to be longer.
    ///
    /// # Errors
    /// Any: the file cannot be read.
    fn read(
        &mut self,
        reader: &mut Self::Reader,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, Refusal>;

    /// Opens the partial of a file for writing: of its octets the first `offset` are kept, or none.
    ///
    /// The caller writes all of the octets from `offset` to `len`, in order.
    ///
    /// # Errors
    /// Nothing has changed then. [`Code::Denied`] if the name is not for writing, as it is by default, or there is a
    /// file already and `overwrite` is false; [`Code::TooLarge`] if there is no room for `len` octets;
    /// [`Code::NotFound`] if there is no partial of at least `offset` octets, unless `offset` is 0; [`Code::Busy`], with
    /// a time, if it has a writer.
    fn create(&mut self, name: Name<'_>, _upload: Upload) -> Result<Self::Writer, Refusal> {
        Err(Refusal::new(
            Code::Denied,
            format_args!("`{name}` is for reading only"),
        ))
    }

    /// Writes octets from the front of `octets`, which is not empty, at `offset`, and returns how many: at least 1.
    ///
    /// # Errors
    /// Any: the upload is interrupted.
    fn write(
        &mut self,
        writer: &mut Self::Writer,
        offset: u64,
        octets: &[u8],
    ) -> Result<usize, Refusal>;

    /// [`read`](Self::read), of the octets that a partial has kept.
    ///
    /// # Errors
    /// Any: the upload is interrupted.
    fn read_back(
        &mut self,
        writer: &mut Self::Writer,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, Refusal>;

    /// Makes the partial, which is complete, the file of its name, instead of one that is there: in one step, and so
    /// that it lasts.
    ///
    /// # Errors
    /// Any: the file is as it was. [`Code::Denied`] if there is one by now that is not to be overwritten.
    fn commit(&mut self, writer: Self::Writer) -> Result<(), Refusal>;

    /// Forgets the partial, whose octets are not those that were meant. The file is as it was.
    fn discard(&mut self, writer: Self::Writer);

    /// Opens a directory for listing; the root of all names, if it has none.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no such directory.
    fn list(&mut self, directory: Option<Name<'_>>) -> Result<Self::Listing, Refusal>;

    /// What stands at this place of a directory, counted from 0; `None` behind the last.
    ///
    /// The caller asks for 0 first, then each time for the same place or the next. What is there all the time is listed
    /// once; what comes or goes meanwhile, once or not at all. A name that is no [`Name`] of one component is not shown.
    ///
    /// # Errors
    /// Any: the directory cannot be read.
    fn entry<'a>(
        &'a mut self,
        listing: &'a mut Self::Listing,
        place: u64,
    ) -> Result<Option<Entry<'a>>, Refusal>;
}

/// What is known of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is. A partial without a file is a file.
    pub kind: Kind,
    /// The file's length in octets, if there is one.
    pub size: Option<u64>,
    /// Whether `put` may write it.
    pub writable: bool,
    /// The octets of an interrupted upload, if there is one.
    pub partial: Option<u64>,
    /// What else the storage knows of the file or directory.
    pub attributes: Attributes,
}

/// What a file or directory has besides its content, where a storage keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Its permissions.
    pub mode: Option<Mode>,
    /// When it was modified, in nanoseconds since 1970-01-01 UTC.
    pub mtime_ns: Option<u64>,
}

/// What a name is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Dir,
}

/// One line of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name in the directory.
    pub name: &'a str,
    /// What is known of it.
    pub stat: Stat,
}

/// What is about to be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    /// The length of the whole file, in octets.
    pub len: u64,
    /// How many octets of the partial are kept.
    pub offset: u64,
    /// Whether a file of this name may be replaced.
    pub overwrite: bool,
    /// What the file is to have when it gets its name, besides its content: a storage without that need not mind.
    pub attributes: Attributes,
}

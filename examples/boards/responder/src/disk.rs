//! Files in memory: as many as there is room for, and one more that is being uploaded.

use heapless::{String, Vec};
use unstick_core::services::{Name, Upload};
use unstick_core::{Code, Refusal};

use crate::memory::{DISK_FILE_LEN, DISK_FILES, DISK_NAME_LEN};

/// When an upload that has to wait for another one may be tried again, in milliseconds.
const RETRY_AFTER_MS: u32 = 500;

/// What the name of a file in memory is kept in.
pub type FileName = String<DISK_NAME_LEN>;

/// Files in memory, and what is being uploaded: both until the board starts anew.
#[derive(Debug)]
pub struct Disk {
    /// One place more than files: a new content never takes the place of the old one.
    places: [Place; DISK_FILES + 1],
}

#[derive(Debug)]
struct Place {
    name: FileName,
    content: Vec<u8, DISK_FILE_LEN>,
    holds: Holds,
    /// How often something new has come here: who reads the old is told that it is gone.
    generation: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    File,
    /// A partial that nobody writes.
    Part,
    /// A partial that is being written.
    Upload,
}

/// A file or partial, as it was when it was opened.
#[derive(Debug, Clone, Copy)]
pub struct Handle {
    place: usize,
    generation: u32,
}

impl Disk {
    /// Without files.
    pub const fn new() -> Self {
        const EMPTY: Place = Place {
            name: String::new(),
            content: Vec::new(),
            holds: Holds::Nothing,
            generation: 0,
        };
        Self {
            places: [EMPTY; DISK_FILES + 1],
        }
    }

    /// The length of the file of this name, and that of its partial, in octets.
    pub fn lens(&self, name: &str) -> (Option<u64>, Option<u64>) {
        let len = |at: Option<usize>| at.map(|at| self.places[at].content.len() as u64);
        (len(self.file(name)), len(self.partial(name)))
    }

    /// The name and length of the file at this place of those there are.
    pub fn nth(&self, place: usize) -> Option<(&FileName, u64)> {
        let files = self.places.iter().filter(|it| it.holds == Holds::File);
        let file = files.into_iter().nth(place)?;
        Some((&file.name, file.content.len() as u64))
    }

    /// Opens a file to be read; its length.
    pub fn open(&self, name: Name<'_>) -> Result<(Handle, u64), Refusal> {
        self.handle(self.file(name.as_str()), name)
    }

    /// Opens a partial to be read; its length.
    pub fn open_partial(&self, name: Name<'_>) -> Result<(Handle, u64), Refusal> {
        self.handle(self.partial(name.as_str()), name)
    }

    fn handle(&self, place: Option<usize>, name: Name<'_>) -> Result<(Handle, u64), Refusal> {
        let place = place.ok_or_else(|| {
            Refusal::new(Code::NotFound, format_args!("there is no file `{name}`"))
        })?;
        let Place {
            content,
            generation,
            ..
        } = &self.places[place];
        let handle = Handle {
            place,
            generation: *generation,
        };
        Ok((handle, content.len() as u64))
    }

    /// Fills the front of `out` with what is there from `offset` on; 0 octets at the end, and if something else has taken
    /// the place.
    pub fn read(&self, handle: Handle, offset: u64, out: &mut [u8]) -> usize {
        let place = &self.places[handle.place];
        let content = match place.generation == handle.generation {
            true => &place.content[..],
            false => &[],
        };
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| content.get(at..));
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        len
    }

    /// Opens the partial of this name to be written.
    pub fn create(&mut self, name: Name<'_>, upload: Upload) -> Result<Handle, Refusal> {
        let Upload {
            len,
            offset,
            overwrite,
            ..
        } = upload;
        let text = name.as_str();
        let Ok(kept) = FileName::try_from(text) else {
            return Err(Refusal::new(
                Code::Denied,
                format_args!("names have at most {DISK_NAME_LEN} octets here"),
            ));
        };
        if name.components().count() > 1 {
            return Err(Refusal::new(Code::Denied, "there are no directories here"));
        }
        if self.file(text).is_some() && !overwrite {
            return Err(exists(name));
        }
        if len > DISK_FILE_LEN as u64 {
            return Err(Refusal::new(
                Code::TooLarge,
                format_args!("a file has at most {DISK_FILE_LEN} octets here"),
            ));
        }
        let files = self.places.iter().filter(|it| it.holds == Holds::File);
        if self.file(text).is_none() && files.count() >= DISK_FILES {
            return Err(Refusal::new(
                Code::TooLarge,
                format_args!("there is room for {DISK_FILES} files: replace one"),
            ));
        }
        if self.places.iter().any(|it| it.holds == Holds::Upload) {
            return Err(Refusal::busy("another upload is not done", RETRY_AFTER_MS));
        }
        let part = self.partial(text);
        let kept_len = part.map_or(0, |at| self.places[at].content.len() as u64);
        if offset > kept_len {
            return Err(Refusal::new(
                Code::NotFound,
                format_args!("of `{name}` {kept_len} octets are here, not {offset}"),
            ));
        }
        // Without another place, a partial of another name is forgotten for this one.
        let place = part
            .or_else(|| self.holding(Holds::Nothing))
            .or_else(|| self.holding(Holds::Part));
        let place = place.ok_or_else(|| Refusal::new(Code::Internal, "no place for an upload"))?;
        let it = &mut self.places[place];
        it.name = kept;
        // It is not longer than the content, which is.
        it.content.truncate(usize::try_from(offset).unwrap_or(0));
        it.holds = Holds::Upload;
        it.generation = it.generation.wrapping_add(1);
        Ok(Handle {
            place,
            generation: it.generation,
        })
    }

    /// Appends to a partial: how many octets.
    pub fn write(&mut self, handle: Handle, octets: &[u8]) -> Result<usize, Refusal> {
        let content = &mut self.places[handle.place].content;
        let room = content.capacity() - content.len();
        let len = octets.len().min(room);
        // As many as there is room for.
        let _ = content.extend_from_slice(&octets[..len]);
        match len {
            0 => Err(Refusal::new(Code::TooLarge, "there is no more room")),
            len => Ok(len),
        }
    }

    /// Makes a partial the file of its name, instead of one that is there: whether it may be replaced was asked when the
    /// upload began, and no other has been since.
    pub fn commit(&mut self, handle: Handle) {
        let name = self.places[handle.place].name.clone();
        if let Some(old) = self.file(&name) {
            self.places[old].empty();
        }
        self.places[handle.place].holds = Holds::File;
    }

    /// Interrupts an upload, unless it is over: what has arrived is kept.
    pub fn close(&mut self, handle: Handle) {
        let place = &mut self.places[handle.place];
        if place.generation == handle.generation && place.holds == Holds::Upload {
            place.holds = Holds::Part;
        }
    }

    /// Forgets a partial.
    pub fn discard(&mut self, handle: Handle) {
        self.places[handle.place].empty();
    }

    fn holding(&self, what: Holds) -> Option<usize> {
        self.places.iter().position(|it| it.holds == what)
    }

    fn file(&self, name: &str) -> Option<usize> {
        let is_it = |it: &Place| it.holds == Holds::File && it.name == name;
        self.places.iter().position(is_it)
    }

    fn partial(&self, name: &str) -> Option<usize> {
        let is_it = |it: &Place| matches!(it.holds, Holds::Part | Holds::Upload) && it.name == name;
        self.places.iter().position(is_it)
    }
}

impl Place {
    fn empty(&mut self) {
        self.holds = Holds::Nothing;
        self.generation = self.generation.wrapping_add(1);
    }
}

/// What is said of a file that is not to be replaced.
fn exists(name: Name<'_>) -> Refusal {
    Refusal::new(Code::Denied, format_args!("`{name}` is there already"))
}

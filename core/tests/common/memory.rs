//! A storage in memory, which several connections share as handles, and which minds how it is called.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use unstick_core::services::{Attributes, Entry, Kind, Name, Stat, Storage, Upload};
use unstick_core::{Code, Refusal};

/// When to try again where a file is being written, in milliseconds.
pub const RETRY_MS: u32 = 250;

/// A handle.
#[derive(Debug, Clone, Default)]
pub struct Memory(pub Rc<RefCell<Disk>>);

/// What all handles share.
#[derive(Debug, Default)]
pub struct Disk {
    pub files: BTreeMap<String, Vec<u8>>,
    pub partials: BTreeMap<String, Vec<u8>>,
    /// What was asked for files to have besides their content.
    pub attributes: BTreeMap<String, Attributes>,
    pub directories: BTreeSet<String>,
    pub read_only: BTreeSet<String>,
    pub writing: BTreeSet<String>,
    /// Every name that reached the storage.
    pub seen: Vec<String>,
    /// How many octets are moved at most in a call; 0 for any number.
    pub step: usize,
    /// The longest file there is room for; 0 for any.
    pub room: u64,
    /// A listing also has what is in the directories below, under names that are no components.
    pub flat: bool,
    /// Of a file that is open, only so many octets are left.
    pub shrunk_to: Option<usize>,
    pub fails: Fails,
    /// How often it was read.
    pub reads: usize,
    /// How many readers are open.
    pub open: Rc<()>,
}

/// What fails.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    #[default]
    Nothing,
    Read,
    Write,
    ReadBack,
    Commit,
    Entry,
}

/// What fails, fails with this.
pub fn failure() -> Refusal {
    Refusal::new(Code::Internal, "the disk is on fire")
}

/// A file that is open: what it was when it was opened.
#[derive(Debug)]
pub struct Reader(Vec<u8>, #[allow(dead_code, reason = "counted")] Rc<()>);

/// A partial that is being written.
#[derive(Debug)]
pub struct Writer {
    memory: Memory,
    name: String,
    octets: Vec<u8>,
    upload: Upload,
    /// Whether the partial is kept.
    kept: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut disk = self.memory.0.borrow_mut();
        assert!(disk.writing.remove(&self.name));
        if self.kept {
            let octets = std::mem::take(&mut self.octets);
            disk.partials.insert(self.name.clone(), octets);
        }
    }
}

fn not_found(name: Name<'_>) -> Refusal {
    Refusal::new(Code::NotFound, format_args!("there is no `{name}`"))
}

impl Disk {
    fn see(&mut self, name: Name<'_>) -> String {
        self.seen.push(name.as_str().into());
        name.as_str().into()
    }

    fn stat(&self, name: &str) -> Option<Stat> {
        let size = self.files.get(name).map(|octets| octets.len() as u64);
        let partial = self.partials.get(name).map(|octets| octets.len() as u64);
        let directory = self.directories.contains(name);
        (directory || size.is_some() || partial.is_some()).then_some(Stat {
            kind: if directory { Kind::Dir } else { Kind::File },
            size,
            writable: !directory && !self.read_only.contains(name),
            partial,
            attributes: self.attributes.get(name).copied().unwrap_or_default(),
        })
    }

    fn reader(&self, octets: &[u8]) -> (Reader, u64) {
        let reader = Reader(octets.into(), Rc::clone(&self.open));
        (reader, octets.len() as u64)
    }

    fn fail_if(&self, fails: Fails) -> Result<(), Refusal> {
        match self.fails == fails {
            true => Err(failure()),
            false => Ok(()),
        }
    }

    fn read(&mut self, octets: &[u8], offset: u64, out: &mut [u8]) -> usize {
        assert!(!out.is_empty());
        self.reads += 1;
        let left = self.shrunk_to.unwrap_or(usize::MAX).min(octets.len());
        let from = usize::try_from(offset).unwrap().min(left);
        let octets = &octets[from..left];
        let len = self.step_of(octets.len().min(out.len()));
        out[..len].copy_from_slice(&octets[..len]);
        len
    }

    fn step_of(&self, len: usize) -> usize {
        match self.step {
            0 => len,
            step => len.min(step),
        }
    }
}

impl Storage for Memory {
    type Reader = Reader;
    type Writer = Writer;
    type Listing = (String, Vec<String>, u64);

    fn stat(&mut self, name: Name<'_>) -> Result<Stat, Refusal> {
        let mut disk = self.0.borrow_mut();
        let path = disk.see(name);
        disk.stat(&path).ok_or_else(|| not_found(name))
    }

    fn open(&mut self, name: Name<'_>) -> Result<(Reader, u64), Refusal> {
        let mut disk = self.0.borrow_mut();
        let path = disk.see(name);
        let octets = disk.files.get(&path);
        octets
            .map(|octets| disk.reader(octets))
            .ok_or_else(|| not_found(name))
    }

    fn open_partial(&mut self, name: Name<'_>) -> Result<(Reader, u64), Refusal> {
        let mut disk = self.0.borrow_mut();
        let path = disk.see(name);
        let octets = disk.partials.get(&path);
        octets
            .map(|octets| disk.reader(octets))
            .ok_or_else(|| not_found(name))
    }

    fn read(&mut self, reader: &mut Reader, offset: u64, out: &mut [u8]) -> Result<usize, Refusal> {
        let mut disk = self.0.borrow_mut();
        disk.fail_if(Fails::Read)?;
        Ok(disk.read(&reader.0, offset, out))
    }

    fn create(&mut self, name: Name<'_>, upload: Upload) -> Result<Writer, Refusal> {
        let mut disk = self.0.borrow_mut();
        let path = disk.see(name);
        let denied = |what| Err(Refusal::new(Code::Denied, what));
        if disk.read_only.contains(&path) || disk.directories.contains(&path) {
            return denied("not for writing");
        }
        if !upload.overwrite && disk.files.contains_key(&path) {
            return denied("it is there");
        }
        if disk.room > 0 && upload.len > disk.room {
            return Err(Refusal::new(Code::TooLarge, "no room"));
        }
        if disk.writing.contains(&path) {
            return Err(Refusal::busy("it is being written", RETRY_MS));
        }
        let keep = usize::try_from(upload.offset).unwrap_or(usize::MAX);
        let has = disk.partials.get(&path).map_or(0, Vec::len);
        if has < keep {
            return Err(not_found(name));
        }
        let mut octets = disk.partials.remove(&path).unwrap_or_default();
        octets.truncate(keep);
        disk.writing.insert(path.clone());
        Ok(Writer {
            memory: self.clone(),
            name: path,
            octets,
            upload,
            kept: true,
        })
    }

    fn write(&mut self, writer: &mut Writer, offset: u64, octets: &[u8]) -> Result<usize, Refusal> {
        let disk = self.0.borrow();
        disk.fail_if(Fails::Write)?;
        assert!(!octets.is_empty());
        assert_eq!(offset, writer.octets.len() as u64);
        let len = disk.step_of(octets.len());
        writer.octets.extend_from_slice(&octets[..len]);
        assert!(writer.octets.len() as u64 <= writer.upload.len);
        Ok(len)
    }

    fn read_back(
        &mut self,
        writer: &mut Writer,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, Refusal> {
        let mut disk = self.0.borrow_mut();
        disk.fail_if(Fails::ReadBack)?;
        assert!(offset + out.len() as u64 <= writer.upload.offset);
        Ok(disk.read(&writer.octets, offset, out))
    }

    fn commit(&mut self, mut writer: Writer) -> Result<(), Refusal> {
        let mut disk = self.0.borrow_mut();
        disk.fail_if(Fails::Commit)?;
        assert_eq!(writer.octets.len() as u64, writer.upload.len);
        writer.kept = false;
        let octets = std::mem::take(&mut writer.octets);
        disk.files.insert(writer.name.clone(), octets);
        let attributes = writer.upload.attributes;
        disk.attributes.insert(writer.name.clone(), attributes);
        drop(disk);
        Ok(())
    }

    fn discard(&mut self, mut writer: Writer) {
        writer.kept = false;
    }

    fn list(&mut self, directory: Option<Name<'_>>) -> Result<Self::Listing, Refusal> {
        let mut disk = self.0.borrow_mut();
        let mut prefix = String::new();
        if let Some(name) = directory {
            let path = disk.see(name);
            if !disk.directories.contains(&path) {
                return Err(not_found(name));
            }
            prefix = path + "/";
        }
        let all = disk.files.keys().chain(disk.partials.keys());
        let all: BTreeSet<_> = all.chain(&disk.directories).collect();
        let names = all.iter().filter_map(|path| path.strip_prefix(&prefix));
        let names = names.filter(|name| disk.flat || !name.contains('/'));
        let names = names.map(String::from).collect();
        Ok((prefix, names, 0))
    }

    fn entry<'a>(
        &'a mut self,
        listing: &'a mut Self::Listing,
        place: u64,
    ) -> Result<Option<Entry<'a>>, Refusal> {
        let disk = self.0.borrow();
        disk.fail_if(Fails::Entry)?;
        let (prefix, names, next) = listing;
        assert!(place == *next || place == next.saturating_sub(1));
        *next = place + 1;
        let name = names.get(usize::try_from(place).unwrap());
        Ok(name.map(|name| Entry {
            name,
            stat: disk.stat(&format!("{prefix}{name}")).unwrap(),
        }))
    }
}

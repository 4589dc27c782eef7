//! The board's files: some that say how it is, and those in memory.

use core::fmt::{self, Write};

use unstick_core::services::{Attributes, Entry, Kind, Name, Stat, Storage, Upload};
use unstick_core::{Code, Refusal};

use crate::disk::{FileName, Handle};
use crate::shared::{Shared, Stats};

/// What is counted, as JSON: made when it is opened.
const STATS: &str = "stats.json";

/// The files of the board.
#[derive(Debug)]
pub struct BoardFiles(pub &'static Shared);

/// A file that is open.
#[derive(Debug)]
pub enum Reader {
    /// What was counted when it was opened.
    Stats(Stats),
    /// A file in memory.
    Disk(Handle),
}

/// An upload into memory, interrupted when dropped unless it is over.
#[derive(Debug)]
pub struct Writer {
    shared: &'static Shared,
    handle: Handle,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.disk(|disk| disk.close(self.handle));
    }
}

const fn file(size: Option<u64>, writable: bool, partial: Option<u64>) -> Stat {
    Stat {
        kind: Kind::File,
        size,
        writable,
        partial,
        // Nothing here has any.
        attributes: Attributes {
            mode: None,
            mtime_ns: None,
        },
    }
}

fn none(name: Name<'_>) -> Refusal {
    Refusal::new(Code::NotFound, format_args!("there is no `{name}` here"))
}

impl Storage for BoardFiles {
    type Reader = Reader;
    type Writer = Writer;
    /// The name that was listed last.
    type Listing = FileName;

    fn stat(&mut self, name: Name<'_>) -> Result<Stat, Refusal> {
        if name.as_str() == STATS {
            return Ok(file(Some(len(&self.0.stats())), false, None));
        }
        match self.0.disk(|disk| disk.lens(name.as_str())) {
            (None, None) => Err(none(name)),
            (size, partial) => Ok(file(size, true, partial)),
        }
    }

    fn open(&mut self, name: Name<'_>) -> Result<(Reader, u64), Refusal> {
        if name.as_str() == STATS {
            let stats = self.0.stats();
            return Ok((Reader::Stats(stats), len(&stats)));
        }
        let (handle, len) = self.0.disk(|disk| disk.open(name))?;
        Ok((Reader::Disk(handle), len))
    }

    fn open_partial(&mut self, name: Name<'_>) -> Result<(Reader, u64), Refusal> {
        let (handle, len) = self.0.disk(|disk| disk.open_partial(name))?;
        Ok((Reader::Disk(handle), len))
    }

    fn read(&mut self, reader: &mut Reader, offset: u64, out: &mut [u8]) -> Result<usize, Refusal> {
        Ok(match reader {
            Reader::Stats(stats) => {
                let mut window = Window {
                    skip: usize::try_from(offset).unwrap_or(usize::MAX),
                    out,
                    filled: 0,
                };
                // It ends early where the window does.
                let _ = stats.write_json(&mut window);
                window.filled
            }
            Reader::Disk(handle) => self.0.disk(|disk| disk.read(*handle, offset, out)),
        })
    }

    fn create(&mut self, name: Name<'_>, upload: Upload) -> Result<Writer, Refusal> {
        if name.as_str() == STATS {
            return Err(Refusal::new(
                Code::Denied,
                format_args!("`{name}` is for reading only"),
            ));
        }
        let handle = self.0.disk(|disk| disk.create(name, upload))?;
        Ok(Writer {
            shared: self.0,
            handle,
        })
    }

    fn write(&mut self, writer: &mut Writer, _: u64, octets: &[u8]) -> Result<usize, Refusal> {
        // Each piece follows the one before.
        self.0.disk(|disk| disk.write(writer.handle, octets))
    }

    fn read_back(
        &mut self,
        writer: &mut Writer,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, Refusal> {
        Ok(self.0.disk(|disk| disk.read(writer.handle, offset, out)))
    }

    fn commit(&mut self, writer: Writer) -> Result<(), Refusal> {
        self.0.disk(|disk| disk.commit(writer.handle));
        Ok(())
    }

    fn discard(&mut self, writer: Writer) {
        self.0.disk(|disk| disk.discard(writer.handle));
    }

    fn list(&mut self, directory: Option<Name<'_>>) -> Result<FileName, Refusal> {
        match directory {
            None => Ok(FileName::new()),
            Some(name) => Err(none(name)),
        }
    }

    fn entry<'a>(
        &'a mut self,
        listed: &'a mut FileName,
        place: u64,
    ) -> Result<Option<Entry<'a>>, Refusal> {
        let Some(place) = place.checked_sub(1) else {
            let stat = file(Some(len(&self.0.stats())), false, None);
            return Ok(Some(Entry { name: STATS, stat }));
        };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let found = self.0.disk(|disk| {
            let (name, len) = disk.nth(place)?;
            listed.clone_from(name);
            Some(len)
        });
        Ok(found.map(|len| Entry {
            name: listed,
            stat: file(Some(len), true, None),
        }))
    }
}

/// The octets of `stats` as JSON.
fn len(stats: &Stats) -> u64 {
    struct Count(u64);

    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len() as u64;
            Ok(())
        }
    }

    let mut count = Count(0);
    // It has room for anything.
    let _ = stats.write_json(&mut count);
    count.0
}

/// A part of a text that is longer.
struct Window<'o> {
    /// Octets before it.
    skip: usize,
    out: &'o mut [u8],
    filled: usize,
}

impl Write for Window<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let skipped = self.skip.min(text.len());
        self.skip -= skipped;
        let text = &text.as_bytes()[skipped..];
        let room = &mut self.out[self.filled..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text[..len]);
        self.filled += len;
        match len < text.len() {
            true => Err(fmt::Error),
            false => Ok(()),
        }
    }
}

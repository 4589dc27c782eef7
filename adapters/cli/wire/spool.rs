//! A body whose length is not known before it is whole.

use std::io::{self, Read, Seek, Write};

use tempfile::SpooledTempFile;

/// Octets of one body that are kept in memory; what is longer goes to a file that has no name.
const IN_MEMORY: usize = 1024 * 1024;

/// Octets that are first all written and then read, once or more.
pub struct Spool {
    file: SpooledTempFile,
    len: u64,
}

impl Spool {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            file: SpooledTempFile::new(IN_MEMORY),
            len: 0,
        }
    }

    /// With these octets.
    pub fn of(octets: &[u8]) -> io::Result<Self> {
        let mut spool = Self::new();
        spool.push(octets)?;
        Ok(spool)
    }

    /// How many octets there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Appends some.
    pub fn push(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_all(octets)?;
        self.len += octets.len() as u64;
        Ok(())
    }

    /// All of them, from the first.
    pub fn reader(&mut self) -> io::Result<impl Read> {
        self.file.rewind()?;
        Ok(&mut self.file)
    }

    /// Appends all of another.
    pub fn append(&mut self, other: &mut Self) -> io::Result<()> {
        self.len += io::copy(&mut other.reader()?, &mut self.file)?;
        Ok(())
    }
}

//! What a linked program takes of a microcontroller's memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use object::elf::{SHF_ALLOC, SHF_WRITE};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SectionKind};

/// A linked program; sizes in octets.
pub struct Elf {
    /// What is kept in flash: code, constants, and what variables begin with.
    pub flash: u64,
    /// The variables, without the region of the call stack.
    pub ram: u64,
    /// Its symbols, demangled, and their addresses.
    pub symbols: BTreeMap<String, u64>,
}

impl Elf {
    /// The program in this file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path).with_context(|| format!("{} cannot be read", path.display()))
    }

    fn parse(path: &Path) -> Result<Self> {
        let file = fs::read(path)?;
        let file = object::File::parse(&*file)?;
        let symbols: BTreeMap<String, u64> = file
            .symbols()
            .filter_map(|symbol| {
                let name = rustc_demangle::demangle(symbol.name().ok()?);
                Some((format!("{name:#}"), symbol.address()))
            })
            .collect();
        let stack = symbols.get("_stack_end").zip(symbols.get("_stack_start"));
        // Some linker scripts make a section of it.
        let is_stack = |at: u64| stack.is_some_and(|(end, start)| (*end..*start).contains(&at));
        let (mut flash, mut ram) = (0, 0);
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
                continue;
            };
            if sh_flags.0 & SHF_ALLOC.0 == 0 {
                continue;
            }
            if section.kind() != SectionKind::UninitializedData {
                flash += section.size();
            }
            if sh_flags.0 & SHF_WRITE.0 != 0 && !is_stack(section.address()) {
                ram += section.size();
            }
        }
        Ok(Self {
            flash,
            ram,
            symbols,
        })
    }

    /// The address of a symbol.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn address(&self, symbol: &str) -> Result<u64> {
        let address = self.symbols.get(symbol).copied();
        address.with_context(|| format!("there is no symbol {symbol}"))
    }
}

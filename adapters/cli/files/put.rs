//! `unstick put`

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use unstick_core::services::Name;
use unstick_std::transfer;

use super::args::{How, Put};
use super::meter::Meter;
use super::remote::{Remote, Trouble};
use super::{Tally, directory, inside, name};
use crate::failure::Failure;
use crate::printable::Printable;

/// Puts a file, or a directory.
pub fn run(args: &Put) -> Result<ExitCode, Failure> {
    if args.how.recursive {
        return tree(args);
    }
    let last = match &args.name {
        Some(name) => name,
        None => last_of(&args.file)?,
    };
    let name = name(last)?;
    let mut remote = Remote::connect(&args.address)?;
    file(&mut remote, args.how, &args.file, name)?;
    Ok(ExitCode::SUCCESS)
}

/// What a file or directory is to be called if nothing else is said.
fn last_of(path: &Path) -> Result<&str, Failure> {
    let last = path.file_name().and_then(|name| name.to_str());
    last.ok_or_else(|| {
        let path = path.display();
        Failure::Usage(format!("what is {path} to be called? Say so behind it"))
    })
}

fn file(remote: &mut Remote<'_>, how: How, path: &Path, name: Name<'_>) -> Result<(), Trouble> {
    let shown = path.display().to_string();
    let cannot_read = |error: io::Error| Trouble::One(Failure::io(Printable(&shown), &error));
    // To open a pipe would be to wait for whoever writes it.
    if !fs::metadata(path).map_err(cannot_read)?.is_file() {
        let shown = Printable(&shown);
        let sentence = format!("{shown}: not a file; a directory goes with -r");
        return Err(Trouble::One(Failure::Told(sentence)));
    }
    let file = File::open(path).map_err(cannot_read)?;
    let target = format!("{} on the server", Printable(name.as_str()));
    let outcome = remote.with(&shown, target, how.resume, |client| {
        let mut meter = Meter::new(name.as_str(), how.quiet);
        let show = |progress| meter.show(progress);
        transfer::put(client, &file, name, how.options(), show)
    })?;
    how.print(name.as_str(), &outcome).map_err(Trouble::All)
}

/// A directory with all that is in it.
fn tree(args: &Put) -> Result<ExitCode, Failure> {
    let base = match &args.name {
        Some(name) => directory(name)?,
        None => Some(name(last_of(&args.file)?)?),
    };
    let base = base.map(Name::as_str);
    let mut remote = Remote::connect(&args.address)?;
    let mut tally = Tally::default();
    // Directories that are to be read, and what they are called there.
    let mut waiting = vec![(args.file.clone(), base.map(str::to_owned))];
    while let Some((path, called)) = waiting.pop() {
        let entries = match read(&path) {
            Ok(entries) => entries,
            Err(error) => {
                let failure = Failure::io(Printable(&path.display().to_string()), &error);
                tally.add(Err(failure));
                continue;
            }
        };
        if entries.is_empty() {
            tally.pass_over(&path, "an empty directory");
        }
        for entry in entries {
            match Child::new(&entry, called.as_deref()) {
                Ok(Child::Directory(path, name)) => waiting.push((path, Some(name))),
                Ok(Child::File(path, full)) => {
                    let checked = name(&full).map_err(Trouble::One);
                    match checked.and_then(|name| file(&mut remote, args.how, &path, name)) {
                        Err(Trouble::All(failure)) => return Err(failure),
                        Err(Trouble::One(failure)) => tally.add(Err(failure)),
                        Ok(()) => tally.add(Ok(())),
                    }
                }
                Ok(Child::Neither(path, what)) => tally.pass_over(&path, what),
                Err(failure) => tally.add(Err(failure)),
            }
        }
    }
    tally.end()
}

/// What is in a directory, in the order of the names.
fn read(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

/// What is in a directory, and what it is to be called.
enum Child {
    File(PathBuf, String),
    Directory(PathBuf, String),
    /// What is not followed, or has no content, and what that is called.
    Neither(PathBuf, &'static str),
}

impl Child {
    fn new(entry: &DirEntry, directory: Option<&str>) -> Result<Self, Failure> {
        let path = entry.path();
        let shown = path.display().to_string();
        let kind = entry.file_type();
        let kind = kind.map_err(|error| Failure::io(Printable(&shown), &error))?;
        if !kind.is_file() && !kind.is_dir() {
            let what = match kind.is_symlink() {
                true => "a symbolic link",
                false => "neither a file nor a directory: it",
            };
            return Ok(Self::Neither(path, what));
        }
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            let shown = Printable(&shown);
            return Err(Failure::Told(format!("{shown}: its name is not UTF-8")));
        };
        let name = inside(directory, name);
        Ok(if kind.is_dir() {
            Self::Directory(path, name)
        } else {
            Self::File(path, name)
        })
    }
}

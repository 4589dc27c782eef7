//! `unstick get`

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use unstick_core::Mode;
use unstick_core::services::{Attributes, Kind, Name};
use unstick_std::Directory;
use unstick_std::directory::Place;
use unstick_std::transfer::{self, Entry, Error};

use super::args::{Get, How};
use super::meter::Meter;
use super::remote::{Remote, Trouble};
use super::{Tally, directory, inside, name};
use crate::failure::Failure;
use crate::printable::Printable;

/// How many octets the entries of a directory may take: a server could go on for ever.
const LISTING_LEN: usize = 16 * 1024 * 1024;

/// Gets a file, or a directory.
pub fn run(args: &Get) -> Result<ExitCode, Failure> {
    if args.how.recursive {
        return tree(args);
    }
    let name = name(&args.name)?;
    let last = last_of(name);
    let to = match &args.output {
        Some(output) if output.is_dir() => output.join(last),
        Some(output) => output.clone(),
        None => PathBuf::from(last),
    };
    let mut remote = Remote::connect(&args.address)?;
    let place = || Place::new(&to);
    file(&mut remote, args.how, name, &to, place)?;
    Ok(ExitCode::SUCCESS)
}

fn last_of(name: Name<'_>) -> &str {
    name.components().last().unwrap_or_default()
}

/// One file, to where `place` says; what is said of it calls that `to`.
fn file(
    remote: &mut Remote<'_>,
    how: How,
    name: Name<'_>,
    to: &Path,
    place: impl Fn() -> io::Result<Place>,
) -> Result<(), Trouble> {
    let shown = to.display().to_string();
    let outcome = remote.with(&shown, Printable(&shown), how.resume, |client| {
        let mut meter = Meter::new(name.as_str(), how.quiet);
        let show = |progress| meter.show(progress);
        transfer::get(client, name, place()?, how.options(), show)
    })?;
    how.print(name.as_str(), &outcome).map_err(Trouble::All)
}

/// A directory with all that is in it.
fn tree(args: &Get) -> Result<ExitCode, Failure> {
    let base = directory(&args.name)?;
    let to = match (&args.output, base) {
        (Some(output), _) => output.clone(),
        (None, Some(base)) => PathBuf::from(last_of(base)),
        (None, None) => PathBuf::from("."),
    };
    let mut tree = Tree {
        remote: Remote::connect(&args.address)?,
        how: args.how,
        base: base.map(Name::as_str),
        target: None,
        to,
        written: HashSet::new(),
        tally: Tally::default(),
    };
    let attributes = tree.attributes_of_base()?;
    // The last is the next: a directory is left when all that was found in it is done.
    let base = Step::Enter(None, attributes);
    let mut held = base.held();
    let mut waiting = vec![base];
    while let Some(step) = waiting.pop() {
        held -= step.held();
        let (relative, attributes) = match step {
            Step::Enter(relative, attributes) => (relative, attributes),
            Step::Leave(relative, attributes) => {
                tree.leave(relative.as_deref(), attributes);
                continue;
            }
        };
        let entries = tree.list(relative.as_deref())?;
        if !tree.enter(relative.as_deref(), attributes)? {
            continue;
        }
        let leave = Step::Leave(relative.clone(), attributes);
        held += leave.held();
        waiting.push(leave);
        for entry in entries {
            let name = inside(relative.as_deref(), &entry.name);
            let full = inside(tree.base, &name);
            // The server's word for it is no reason to write elsewhere.
            let checked = Name::new(&full).ok().filter(|_| !entry.name.contains('/'));
            let (Some(full), Ok(beneath)) = (checked, Name::new(&name)) else {
                let name = Printable(&name);
                let sentence = format!("the server lists what is no name for a file: {name}");
                tree.tally.add(Err(Failure::Told(sentence)));
                continue;
            };
            match entry.kind {
                Kind::Dir => {
                    let enter = Step::Enter(Some(name), entry.attributes());
                    held += enter.held();
                    if held > LISTING_LEN {
                        let sentence = "there is no end to the server's directories";
                        return Err(Failure::Told(sentence.to_owned()));
                    }
                    waiting.push(enter);
                }
                // Only a part of it is there.
                Kind::File if entry.size.is_none() && entry.partial.is_some() => {}
                Kind::File => tree.file(full, beneath)?,
            }
        }
    }
    tree.tally.end()
}

/// What is to be done with a directory, by its name beneath the base; without one it is that.
enum Step {
    /// It is listed.
    Enter(Option<String>, Attributes),
    /// It has all that is to be in it.
    Leave(Option<String>, Attributes),
}

impl Step {
    /// What it takes while it waits, in octets.
    fn held(&self) -> usize {
        let (Self::Enter(name, _) | Self::Leave(name, _)) = self;
        size_of::<Self>() + name.as_deref().map_or(0, str::len)
    }
}

/// A directory that is being got.
struct Tree<'a> {
    remote: Remote<'a>,
    how: How,
    /// Its name on the server.
    base: Option<&'a str>,
    /// Where it goes to, once the server has said that it has such a directory.
    target: Option<Directory>,
    to: PathBuf,
    /// The files that this has made, by device and number: where names differ that are one to the file system, by case
    /// or by how a character is composed, the second must not replace the first.
    written: HashSet<(u64, u64)>,
    tally: Tally,
}

impl Tree<'_> {
    fn list(&mut self, relative: Option<&str>) -> Result<Vec<Entry>, Failure> {
        let directory = match (self.base, relative) {
            (base, Some(relative)) => Some(inside(base, relative)),
            (base, None) => base.map(str::to_owned),
        };
        // Each was checked before.
        let name = directory.as_deref().and_then(|name| Name::new(name).ok());
        let shown = directory.as_deref().unwrap_or(".");
        let entries = self.remote.with(shown, shown, false, |client| {
            let (mut entries, mut len) = (Vec::new(), 0);
            transfer::list(client, name, |entry| {
                len += size_of::<Entry>() + entry.name.len();
                if len > LISTING_LEN {
                    return Err(Error::Reply("there is no end to the directory"));
                }
                entries.push(entry);
                Ok(())
            })?;
            Ok(entries)
        });
        match entries {
            Ok(entries) => Ok(entries),
            Err(Trouble::One(failure)) if relative.is_some() => {
                self.tally.add(Err(failure));
                Ok(Vec::new())
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    fn file(&mut self, name: Name<'_>, beneath: Name<'_>) -> Result<(), Failure> {
        let to = self.to.join(beneath.as_str());
        let key = |path: &Path| {
            let metadata = fs::symlink_metadata(path).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        if self.how.force && key(&to).is_some_and(|key| self.written.contains(&key)) {
            let to = to.display().to_string();
            let (name, to) = (Printable(name.as_str()), Printable(&to));
            let sentence = format!("{name}: {to} is another file of the same directory here");
            self.tally.add(Err(Failure::Told(sentence)));
            return Ok(());
        }
        let target = self.target()?;
        let place = || target.make_place(beneath);
        match file(&mut self.remote, self.how, name, &to, place) {
            Err(Trouble::All(failure)) => return Err(failure),
            Err(Trouble::One(failure)) => self.tally.add(Err(failure)),
            Ok(()) => {
                self.written.extend(key(&to));
                self.tally.add(Ok(()));
            }
        }
        Ok(())
    }

    /// What the server says of the base, if that is to be kept.
    fn attributes_of_base(&mut self) -> Result<Attributes, Failure> {
        let name = self.base.filter(|_| self.how.preserve);
        let Some(name) = name.and_then(|name| Name::new(name).ok()) else {
            return Ok(Attributes::default());
        };
        let shown = name.as_str();
        let found = self.remote.with(shown, shown, false, |client| {
            transfer::stat(client, name, None)
        })?;
        Ok(found.map_or_else(Attributes::default, |(entry, _)| entry.attributes()))
    }

    /// Makes a directory; whether it is one.
    fn enter(&mut self, relative: Option<&str>, attributes: Attributes) -> Result<bool, Failure> {
        // Until it has all that is to be in it, who made it has to be able to write there, and nobody else more than later.
        const OWNER: u16 = 0o700;
        let mode = attributes
            .mode
            .and_then(|mode| Mode::new(mode.bits() | OWNER));
        let mtime_ns = None;
        let target = self.target()?;
        // Each was checked before.
        let name = relative.and_then(|name| Name::new(name).ok());
        let made = name.map_or(Ok(()), |name| target.make_dir(name));
        let made = made.and_then(|()| self.preserve(name, Attributes { mode, mtime_ns }));
        Ok(self.is_fine(relative, made))
    }

    /// Gives a directory what it has on the server.
    fn leave(&mut self, relative: Option<&str>, attributes: Attributes) {
        let name = relative.and_then(|name| Name::new(name).ok());
        let preserved = self.preserve(name, attributes);
        self.is_fine(relative, preserved);
    }

    fn preserve(&mut self, name: Option<Name<'_>>, attributes: Attributes) -> io::Result<()> {
        match &self.target {
            Some(target) if self.how.preserve => target.set_attributes(name, attributes),
            _ => Ok(()),
        }
    }

    /// Whether it came about, having said why not.
    fn is_fine(&mut self, relative: Option<&str>, result: io::Result<()>) -> bool {
        let Err(error) = result else {
            return true;
        };
        let path = self.to.join(relative.unwrap_or_default());
        let path = path.display().to_string();
        self.tally.add(Err(Failure::io(Printable(&path), &error)));
        false
    }

    /// The directory here, made if there is none.
    fn target(&mut self) -> Result<Directory, Failure> {
        if let Some(target) = &self.target {
            return Ok(target.clone());
        }
        let made = fs::create_dir_all(&self.to).and_then(|()| Directory::open(&self.to));
        let target = made.map_err(|error| Failure::io(self.to.display(), &error))?;
        Ok(self.target.insert(target).clone())
    }
}

//! A directory as a storage: what it shows, what it refuses, and what uploads leave behind.

mod permissions;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, Mode, RenameFlags, mkfifoat, renameat_with};
use unstick_core::services::{Attributes, Kind, Name, Stat, Storage, Upload};
use unstick_core::{Code, Refusal};
use unstick_std::Directory;
use unstick_std::directory::Writer;

const SECRET: &[u8] = b"outside";

/// A directory with a root in it and, beside that, a secret; removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("directory.{test}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root")).unwrap();
        fs::create_dir(path.join("outside")).unwrap();
        fs::write(path.join("outside/secret"), SECRET).unwrap();
        Self(path)
    }

    fn root(&self, name: &str) -> PathBuf {
        self.0.join("root").join(name)
    }

    fn directory(&self) -> Directory {
        Directory::open(self.root("")).unwrap().writable(true)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> Name<'_> {
    Name::new(text).unwrap()
}

fn upload(len: usize, offset: usize, overwrite: bool) -> Upload {
    Upload {
        len: len as u64,
        offset: offset as u64,
        overwrite,
        attributes: Attributes::default(),
    }
}

/// An upload of which so much is there.
fn begun(storage: &mut Directory, text: &str, octets: &[u8]) -> Writer {
    let upload = upload(octets.len(), 0, true);
    let mut writer = storage.create(name(text), upload).unwrap();
    assert_eq!(storage.write(&mut writer, 0, octets), Ok(octets.len()));
    writer
}

fn content(storage: &mut Directory, text: &str) -> Result<Vec<u8>, Refusal> {
    let (mut reader, len) = storage.open(name(text))?;
    let mut octets = vec![0; usize::try_from(len).unwrap()];
    let read = storage.read(&mut reader, 0, &mut octets)?;
    octets.truncate(read);
    Ok(octets)
}

fn listed(storage: &mut Directory, directory: Option<Name<'_>>) -> Vec<(String, Stat)> {
    let mut listing = storage.list(directory).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = storage.entry(&mut listing, entries.len() as u64).unwrap() {
        let entry = (entry.name.to_owned(), entry.stat);
        entries.push(entry);
    }
    entries
}

fn code<T>(result: Result<T, Refusal>) -> Option<Code> {
    let refusal = result.err()?;
    let here = env!("CARGO_TARGET_TMPDIR");
    assert!(!refusal.message.contains(here), "{}", refusal.message);
    Some(refusal.code)
}

#[test]
fn shows_files_and_directories_alone() {
    let place = Place::new("shows");
    let mut storage = place.directory();
    fs::write(place.root("b"), b"bb").unwrap();
    fs::create_dir(place.root("a")).unwrap();
    fs::write(place.root("a/测试 😀"), b"").unwrap();
    fs::write(place.root("a:colon"), b"").unwrap();
    symlink("b", place.root("inside")).unwrap();
    symlink("a", place.root("dir-inside")).unwrap();
    symlink("../outside", place.root("out")).unwrap();
    symlink("../outside/secret", place.root("secret")).unwrap();
    mkfifoat(CWD, place.root("pipe"), Mode::RWXU).unwrap();
    let _socket = UnixListener::bind(place.root("socket"));
    drop(begun(&mut storage, "c", b"partial"));
    drop(begun(&mut storage, "b", b"new"));

    let entries = listed(&mut storage, None);
    let names: Vec<_> = entries.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(entries[0].1.kind, Kind::Dir);
    let file = Stat {
        kind: Kind::File,
        size: Some(2),
        writable: true,
        partial: Some(3),
        attributes: entries[1].1.attributes,
    };
    assert!(file.attributes.mode.is_some() && file.attributes.mtime_ns.is_some());
    assert_eq!(entries[1].1, file);
    assert_eq!(storage.stat(name("b")), Ok(file));
    let partial = storage.stat(name("c")).unwrap();
    assert_eq!((partial.size, partial.partial), (None, Some(7)));
    let inner = listed(&mut storage, Some(name("a")));
    assert_eq!(inner[0].0, "测试 😀");
    assert_eq!(content(&mut storage, "a/测试 😀"), Ok(vec![]));

    for (text, expected) in [
        ("none", Code::NotFound),
        ("b/none", Code::NotFound),
        ("a", Code::Denied),
        ("inside", Code::Denied),
        ("secret", Code::Denied),
        ("out", Code::Denied),
        ("pipe", Code::Denied),
        ("socket", Code::Denied),
        ("out/secret", Code::NotFound),
        ("dir-inside/测试 😀", Code::NotFound),
    ] {
        let opened = content(&mut storage, text);
        assert_eq!(code(opened), Some(expected), "{text}");
        let created = storage.create(name(text), upload(1, 0, true));
        if text != "none" {
            assert_eq!(code(created), Some(expected), "{text}");
        }
        let listed = storage.list(Some(name(text)));
        assert_eq!(
            code(listed),
            (text != "a").then_some(Code::NotFound),
            "{text}"
        );
    }
    assert_eq!(fs::read_dir(place.0.join("outside")).unwrap().count(), 1);
}

#[test]
fn is_for_reading_unless_told() {
    let place = Place::new("reading");
    fs::write(place.root("a"), b"a").unwrap();
    let mut storage = place.directory().writable(false);
    assert!(!storage.stat(name("a")).unwrap().writable);
    for text in ["a", "new/b"] {
        let created = storage.create(name(text), upload(1, 0, true));
        assert_eq!(code(created), Some(Code::Denied));
    }
    assert_eq!(fs::read_dir(place.root("")).unwrap().count(), 1);
}

#[test]
fn an_upload_becomes_the_file_in_one_step() {
    let place = Place::new("upload");
    let mut storage = place.directory();
    fs::write(place.root("a"), b"old").unwrap();
    fs::set_permissions(place.root("a"), fs::Permissions::from_mode(0o640)).unwrap();
    let writer = begun(&mut storage, "a", b"new content");
    assert_eq!(content(&mut storage, "a").unwrap(), b"old");
    let (mut old, _) = storage.open(name("a")).unwrap();
    storage.commit(writer).unwrap();
    assert_eq!(content(&mut storage, "a").unwrap(), b"new content");
    // What was opened before is still what it was.
    let mut octets = [0; 3];
    assert_eq!(storage.read(&mut old, 0, &mut octets), Ok(3));
    assert_eq!(&octets, b"old");
    assert_eq!(fs::metadata(place.root("a")).unwrap().mode() & 0o777, 0o640);

    // Directories are made on the way.
    let writer = begun(&mut storage, "x/y/z", b"deep");
    storage.commit(writer).unwrap();
    assert_eq!(content(&mut storage, "x/y/z").unwrap(), b"deep");
    // What was not meant leaves nothing.
    let writer = begun(&mut storage, "x/y/w", b"wrong");
    storage.discard(writer);
    assert_eq!(code(storage.stat(name("x/y/w"))), Some(Code::NotFound));
    // Nor does what never began.
    drop(storage.create(name("x/y/w"), upload(9, 0, true)).unwrap());
    assert_eq!(fs::read_dir(place.root("x/y")).unwrap().count(), 1);
}

#[test]
fn an_interrupted_upload_goes_on() {
    let place = Place::new("interrupted");
    let mut storage = place.directory();
    fs::write(place.root("a"), b"old").unwrap();
    drop(begun(&mut storage, "a", b"0123456789"));
    assert_eq!(content(&mut storage, "a").unwrap(), b"old");
    assert_eq!(storage.stat(name("a")).unwrap().partial, Some(10));
    let (mut partial, len) = storage.open_partial(name("a")).unwrap();
    let mut octets = [0; 10];
    assert_eq!(storage.read(&mut partial, 0, &mut octets), Ok(10));
    assert_eq!((len, &octets), (10, b"0123456789"));
    // It is not written while it is read.
    assert_eq!(
        code(storage.create(name("a"), upload(6, 4, true))),
        Some(Code::Busy)
    );
    drop(partial);

    let created = storage.create(name("a"), upload(20, 11, true));
    assert_eq!(code(created), Some(Code::NotFound));
    let mut writer = storage.create(name("a"), upload(6, 4, true)).unwrap();
    assert_eq!(storage.write(&mut writer, 4, b"ab"), Ok(2));
    let mut octets = [0; 8];
    assert_eq!(storage.read_back(&mut writer, 0, &mut octets), Ok(6));
    storage.commit(writer).unwrap();
    assert_eq!(content(&mut storage, "a").unwrap(), b"0123ab");
    assert_eq!(code(storage.open_partial(name("a"))), Some(Code::NotFound));
}

#[test]
fn one_upload_of_a_name_at_a_time() {
    let place = Place::new("busy");
    let mut storage = place.directory();
    let mut other = place.directory();
    let writer = begun(&mut storage, "a", b"first");
    let refused = other.create(name("a"), upload(1, 0, true)).unwrap_err();
    assert_eq!(
        (refused.code, refused.retry_after_ms),
        (Code::Busy, Some(500))
    );
    assert_eq!(code(other.open_partial(name("a"))), Some(Code::Busy));
    // Another name has a writer of its own.
    drop(begun(&mut other, "b", b"b"));
    storage.commit(writer).unwrap();
    let writer = begun(&mut other, "a", b"second");
    assert_eq!(content(&mut storage, "a").unwrap(), b"first");
    other.commit(writer).unwrap();
    assert_eq!(content(&mut storage, "a").unwrap(), b"second");
}

#[test]
fn nothing_is_overwritten_that_is_not_to_be() {
    let place = Place::new("overwrite");
    let mut storage = place.directory();
    fs::write(place.root("a"), b"old").unwrap();
    let created = storage.create(name("a"), upload(1, 0, false));
    assert_eq!(code(created), Some(Code::Denied));
    // One that comes meanwhile stays as well.
    let mut writer = storage.create(name("b"), upload(3, 0, false)).unwrap();
    storage.write(&mut writer, 0, b"new").unwrap();
    fs::write(place.root("b"), b"meanwhile").unwrap();
    assert_eq!(code(storage.commit(writer)), Some(Code::Denied));
    assert_eq!(content(&mut storage, "b").unwrap(), b"meanwhile");
}

#[test]
fn what_stands_in_a_partials_place_is_left_alone() {
    let place = Place::new("planted");
    let mut storage = place.directory();
    symlink("../outside/secret", place.root("a:part")).unwrap();
    symlink("../outside/new", place.root("b:part")).unwrap();
    mkfifoat(CWD, place.root("c:part"), Mode::RWXU).unwrap();
    for text in ["a", "b", "c"] {
        let created = storage.create(name(text), upload(1, 0, true));
        assert_eq!(code(created), Some(Code::Denied), "{text}");
        assert!(code(storage.open_partial(name(text))).is_some());
        assert_eq!(code(storage.stat(name(text))), Some(Code::NotFound));
    }
    assert_eq!(fs::read(place.0.join("outside/secret")).unwrap(), SECRET);
    assert!(!place.0.join("outside/new").exists());

    // Where a file gets its name by a link, its writer may die before it takes the other name away.
    fs::write(place.root("d"), b"whole").unwrap();
    fs::hard_link(place.root("d"), place.root("d:part")).unwrap();
    assert_eq!(storage.stat(name("d")).unwrap().partial, None);
    drop(begun(&mut storage, "d", b"x"));
    assert_eq!(content(&mut storage, "d").unwrap(), b"whole");
}

#[test]
fn what_has_no_room_is_refused_at_once() {
    let place = Place::new("room");
    let mut storage = place.directory();
    let upload = Upload {
        len: u64::MAX / 2,
        offset: 0,
        overwrite: true,
        attributes: Attributes::default(),
    };
    let created = storage.create(name("new/a"), upload);
    assert_eq!(code(created), Some(Code::TooLarge));
    assert_eq!(fs::read_dir(place.root("")).unwrap().count(), 0);
}

#[test]
fn swapped_directories_lead_nowhere() {
    let place = Place::new("swapped");
    fs::create_dir(place.root("sub")).unwrap();
    fs::write(place.root("sub/secret"), b"inside!").unwrap();
    symlink("../outside", place.root("other")).unwrap();
    let done = AtomicBool::new(false);
    let (mut read, mut lost) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (a, b) = (place.root("sub"), place.root("other"));
                renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let mut storage = place.directory();
        for _ in 0..5000 {
            match content(&mut storage, "sub/secret") {
                Ok(octets) => {
                    assert_eq!(octets, b"inside!");
                    read += 1;
                }
                Err(_) => lost += 1,
            }
            if let Ok(mut writer) = storage.create(name("sub/new"), upload(1, 0, true)) {
                storage.write(&mut writer, 0, b"x").unwrap();
                storage.commit(writer).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(read > 0 && lost > 0, "{read} {lost}");
    assert_eq!(fs::read_dir(place.0.join("outside")).unwrap().count(), 1);
}

#[test]
fn a_hundred_thousand_entries_are_listed_in_order() {
    let place = Place::new("many");
    // Their creation is in another order than that of their names.
    for number in 0..100_000_u32 {
        File::create(place.root(&format!("{:05}", number.wrapping_mul(7919) % 100_000))).unwrap();
    }
    let mut storage = place.directory();
    let mut listing = storage.list(None).unwrap();
    let mut number = 0_u64;
    loop {
        // The same place once more is the same entry.
        for _ in 0..2 {
            let entry = storage.entry(&mut listing, number).unwrap();
            let expected = (number < 100_000).then(|| format!("{number:05}"));
            assert_eq!(entry.map(|entry| entry.name), expected.as_deref());
        }
        if number == 100_000 {
            break;
        }
        if number == 50_000 {
            // What goes is not listed, what comes behind it is.
            fs::remove_file(place.root("50001")).unwrap();
            fs::rename(place.root("50002"), place.root("50001")).unwrap();
            fs::write(place.root("50002"), b"").unwrap();
        }
        number += 1;
    }
}

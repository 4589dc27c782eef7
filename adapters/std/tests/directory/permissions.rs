//! Permissions of what is not complete: whoever has no more than these goes on from it, as root may anyway.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use unstick_core::services::{Attributes, Storage, Upload};
use unstick_core::{Code, Mode};

use super::{Place, code, content, name, upload};

/// Takes from this thread, the test's own, what root may do with files that permissions forbid.
fn obey_permissions() {
    let mut sets = capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// A writer that is killed between giving its partial permissions and the file's name leaves one that is for reading only.
#[test]
fn a_partial_for_reading_only_is_gone_on_from() {
    obey_permissions();
    let place = Place::new("shut");
    let mut storage = place.directory();
    fs::write(place.root("new"), b"").unwrap();
    for (mode, offset) in [(0o444, 4), (0o400, 2), (0o555, 0)] {
        fs::write(place.root("a:part"), b"0123").unwrap();
        set_mode(&place.root("a:part"), mode);
        let mut writer = storage.create(name("a"), upload(6, offset, false)).unwrap();
        let rest = &b"012345"[offset..];
        let written = storage.write(&mut writer, offset as u64, rest);
        assert_eq!(written, Ok(rest.len()));
        // It is still for one writer alone.
        let other = storage.create(name("a"), upload(6, 0, false));
        assert_eq!(code(other), Some(Code::Busy));
        storage.commit(writer).unwrap();
        assert_eq!(content(&mut storage, "a").unwrap(), b"012345");
        assert_eq!(mode_of(&place.root("a")), mode_of(&place.root("new")));
        fs::remove_file(place.root("a")).unwrap();
    }
}

/// A file that comes in between keeps its name, and what has arrived can still be written.
#[test]
fn a_partial_that_does_not_become_the_file_stays_open_to_its_owner() {
    obey_permissions();
    let place = Place::new("not-renamed");
    let mut storage = place.directory();
    let attributes = Attributes {
        mode: Mode::new(0),
        mtime_ns: None,
    };
    let upload = Upload {
        attributes,
        ..upload(4, 0, false)
    };
    let mut writer = storage.create(name("a"), upload).unwrap();
    assert_eq!(storage.write(&mut writer, 0, b"0123"), Ok(4));
    fs::write(place.root("a"), b"mine").unwrap();
    assert_eq!(code(storage.commit(writer)), Some(Code::Denied));
    assert_eq!(fs::read(place.root("a")).unwrap(), b"mine");
    assert_eq!(mode_of(&place.root("a:part")), 0o600);
    let upload = Upload {
        offset: 4,
        overwrite: true,
        ..upload
    };
    let writer = storage.create(name("a"), upload).unwrap();
    storage.commit(writer).unwrap();
    assert_eq!(mode_of(&place.root("a")), 0);
}

#[test]
fn what_is_gone_on_from_without_permissions_has_those_of_a_new_file() {
    let place = Place::new("unasked");
    let mut storage = place.directory();
    fs::write(place.root("new"), b"").unwrap();
    // What an upload with permissions has left.
    fs::write(place.root("a:part"), b"01").unwrap();
    set_mode(&place.root("a:part"), 0o600);
    let mut writer = storage.create(name("a"), upload(4, 2, false)).unwrap();
    // Nobody else reads it before it is complete.
    assert_eq!(mode_of(&place.root("a:part")), 0o600);
    assert_eq!(storage.write(&mut writer, 2, b"23"), Ok(2));
    storage.commit(writer).unwrap();
    assert_eq!(mode_of(&place.root("a")), mode_of(&place.root("new")));
}

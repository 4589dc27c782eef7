//! `stat` and `list`.

use serde_json::{Value, json};
use unstick_core::Code;

use crate::common::memory::{Fails, Memory};
use crate::common::{STEP, body};
use crate::peer::{ask, ask_in, list_in, memory, one, refused, sha256};

#[test]
fn stat_says_what_is_known() {
    let memory = memory(b"octets");
    {
        let mut disk = memory.0.borrow_mut();
        disk.files.insert("d/\"r\"".into(), b"".into());
        disk.read_only.insert("d/\"r\"".into());
        disk.directories.insert("d".into());
        disk.partials.insert("p".into(), b"part".into());
        disk.partials.insert("a".into(), b"oct".into());
    }
    for (name, known) in [
        (
            "a",
            json!({"name": "a", "kind": "file", "size": 6, "writable": true, "partial": 3}),
        ),
        (
            "d/\"r\"",
            json!({"name": "d/\"r\"", "kind": "file", "size": 0, "writable": false}),
        ),
        ("d", json!({"name": "d", "kind": "dir", "writable": false})),
        (
            "p",
            json!({"name": "p", "kind": "file", "writable": true, "partial": 4}),
        ),
    ] {
        let sent = one(ask(&memory, json!({"op": "stat", "filename": name})));
        assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), known);
        assert_eq!((sent.head.offset, sent.head.sha256), (None, None));
    }
}

#[test]
fn stat_digests_what_a_client_would_go_on_from() {
    let content = body(100);
    let memory = memory(&content);
    memory.0.borrow_mut().partials.insert("p".into(), body(50));
    for (name, len) in [("a", 100), ("p", 50)] {
        for offset in (0..=len).step_by(STEP) {
            let header = json!({"op": "stat", "filename": name, "offset": offset});
            let sent = one(ask_in::<80>(&memory, &header, b""));
            assert_eq!(sent.head.offset, Some(offset as u64));
            assert_eq!(sent.head.sha256, Some(sha256(&content[..offset])));
            let known: Value = serde_json::from_slice(&sent.body).unwrap();
            assert_eq!(known["name"], name);
        }
        refused(
            ask(
                &memory,
                json!({"op": "stat", "filename": name, "offset": len + 1}),
            ),
            Code::NotFound,
            &format!("there are no {} octets, only {len}", len + 1),
        );
    }
}

/// The line `{"name":"a","kind":"file","size":9,"writable":true}` has 51 octets, and one for its end.
#[test]
fn a_line_has_to_fit() {
    let memory = memory(&body(9));
    for offset in [None, Some(9)] {
        let mut header = json!({"op": "stat", "filename": "a"});
        header["offset"] = offset.into();
        let fits = one(ask_in::<52>(&memory, &header, b""));
        assert_eq!((fits.body.len(), fits.head.error), (51, None));
        assert_eq!(fits.head.sha256, offset.map(|_| sha256(&body(9))));
    }
    for op in ["stat", "list"] {
        let name = if op == "stat" { "a" } else { "" };
        let header = json!({"op": op, "filename": name});
        let message = "the line of an entry is longer than 51 octets";
        refused(ask_in::<51>(&memory, &header, b""), Code::TooLarge, message);
        refused(
            ask_in::<1>(&memory, &header, b""),
            Code::TooLarge,
            "the line of an entry is longer than 1 octets",
        );
    }
    let list = json!({"op": "list"});
    assert_eq!(one(ask_in::<52>(&memory, &list, b"")).body.len(), 52);
    // Where one fills the room, the next is in the next frame.
    memory.0.borrow_mut().files.insert("b".into(), body(9));
    assert_eq!(list_in::<52>(&memory, &list).len(), 2);
}

#[test]
fn a_listing_has_every_name_once() {
    let memory = Memory::default();
    for count in 0..if cfg!(miri) { 8 } else { 150 } {
        let lists = [
            list_in::<80>(&memory, &json!({"op": "list", "filename": "d"})),
            list_in::<1024>(&memory, &json!({"op": "list", "filename": "d"})),
            list_in::<10_000>(&memory, &json!({"op": "list", "filename": "d"})),
        ];
        for lines in lists.iter().filter(|_| count > 0) {
            let names: Vec<_> = lines.iter().map(|line| line["name"].clone()).collect();
            let expected: Vec<_> = (0..count).map(|name| format!("{name:03}")).collect();
            assert_eq!(names, expected);
        }
        let mut disk = memory.0.borrow_mut();
        disk.directories.insert("d".into());
        disk.files.insert(format!("d/{count:03}"), body(count));
    }
    assert_eq!(
        list_in::<64>(&memory, &json!({"op": "list"})),
        [json!({"name": "d", "kind": "dir", "writable": false})]
    );
    assert_eq!(
        list_in::<64>(&Memory::default(), &json!({"op": "list", "filename": ""})),
        [Value::Null; 0]
    );
}

#[test]
fn a_listing_shows_what_can_be_asked_for() {
    let memory = memory(b"");
    {
        let mut disk = memory.0.borrow_mut();
        disk.flat = true;
        // More than are looked at in one step, before and between what is shown.
        for number in 0..200 {
            disk.files.insert(format!("Z\u{1b}[2J{number}"), vec![]);
            disk.files.insert(format!("m\\{number}"), vec![]);
        }
        for odd in ["..", "x/y", "x:y", "zz\n"] {
            disk.files.insert(odd.into(), vec![]);
        }
        disk.files.insert("z".into(), vec![]);
    }
    let lines = list_in::<128>(&memory, &json!({"op": "list"}));
    let names: Vec<_> = lines.iter().map(|line| line["name"].clone()).collect();
    assert_eq!(names, ["a", "z"]);
}

#[test]
fn a_listing_that_breaks_off_is_refused() {
    let memory = memory(b"");
    memory.0.borrow_mut().fails = Fails::Entry;
    let message = "the disk is on fire";
    refused(ask(&memory, json!({"op": "list"})), Code::Internal, message);
}

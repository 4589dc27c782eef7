//! Names.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use unstick_core::services::{Files, Name};
use unstick_core::{Code, Reply};

use crate::common::memory::Memory;
use crate::common::scenario::Choices;
use crate::common::{STEP, frame};
use crate::datagrams::Uptime;
use crate::peer::{Peer, ask, memory, one, request};

/// Between the quotes of a JSON string, as they are sent.
const HOSTILE: &[&str] = &[
    "",
    "/",
    "//",
    "/etc/passwd",
    "//etc/passwd",
    "etc//passwd",
    "a/",
    "a//",
    ".",
    "./",
    "./a",
    "a/.",
    "a/./b",
    "..",
    "../",
    "../a",
    "/..",
    "a/..",
    "a/../b",
    "a/../../b",
    "a/b/../../..",
    "../../../../../../../../etc/passwd",
    r"\/etc\/passwd",
    r"..\/a",
    r"a\/..",
    r"\u002e",
    r"\u002e\u002e",
    r"\u002e\u002e/x",
    r".\u002e/x",
    r"\u002e./x",
    r"\u002E\u002E\u002Fx",
    r"a\u002f..\u002fb",
    r"\u002fetc",
    r"a\u002f\u002fb",
    r"a\u002f",
    r"\\",
    r"..\\a",
    r"a\\..\\b",
    r"\\\\server\\share",
    r"a\u005cb",
    r"..\u005c..\u005ca",
    "C:",
    r"C:\\a",
    "C:a",
    "a:stream",
    r"C\u003aa",
    r"a\u0000",
    r"\u0000",
    r"a\u0000/../b",
    r"..\u0000",
    r"a\nb",
    r"a\r\nb",
    r"a\tb",
    r"a\bb",
    r"a\fb",
    r"a\u0001",
    r"\u001b[2J",
    r"a\u001b]0;owned\u0007",
    r"a\u001f",
    r"a\u007f",
    r"\u0080",
    r"a\u0085b",
    r"\u009b2J",
    r"a\u009f",
    "\u{7f}",
    "\u{80}a",
    "a\u{9b}2J",
    "\u{9d}0;owned\u{9c}",
];

#[test]
fn hostile_names_never_reach_the_storage() {
    assert!(HOSTILE.len() >= 60);
    for name in HOSTILE.iter().step_by(STEP) {
        for op in ["get", "put", "stat", "list"] {
            // The root may be listed.
            if name.is_empty() && op == "list" {
                continue;
            }
            let memory = memory(b"");
            let mut peer = Peer::new(Files::<_, 1024>::new(memory.clone()));
            let header = format!(r#"{{"op":"{op}","filename":"{name}","total_size":0}}"#);
            peer.say(&frame(&header, b""), &mut Choices(&[]));
            let Reply { error, message, .. } = one(peer.frames()).head;
            assert_eq!(error, Some(Code::Denied), "{op} {name:?}");
            assert!(
                !message.unwrap().contains(char::is_control),
                "{op} {name:?}"
            );
            assert_eq!(memory.0.borrow().seen, [""; 0]);
            assert_eq!(memory.0.borrow().files.len(), 1);
        }
    }
    // Nor does a request without a name.
    for op in ["get", "put", "stat"] {
        let memory = memory(b"");
        let sent = one(ask(&memory, json!({"op": op})));
        assert_eq!(sent.head.error, Some(Code::Denied));
        assert_eq!(memory.0.borrow().seen, [""; 0]);
    }
}

#[test]
fn a_name_has_at_most_255_octets() {
    let longest = "é".repeat(127) + "a";
    assert_eq!(Name::new(&longest).unwrap().to_string(), longest);
    let longer = longest.clone() + "a";
    assert_eq!(Name::new(&longer).unwrap_err().code, Code::Denied);
    // On the wire that is no header.
    let header = json!({"op": "stat", "filename": longer});
    let mut peer = Peer::new(Files::<_, 1024>::new(Memory::default()));
    peer.say(&request(&header, b""), &mut Choices(&[]));
    assert_eq!(one(peer.frames()).head.error, Some(Code::BadHeader));
}

#[test]
fn a_line_has_at_most_656_octets() {
    let quotes = "\"".repeat(255);
    let header = json!({"op": "stat", "filename": quotes});
    let mut peer = Peer::new(Files::<_, 656>::new(Uptime(0)));
    peer.say(&request(&header, b""), &mut Choices(&[]));
    let known: Value = serde_json::from_slice(&one(peer.frames()).body).unwrap();
    assert_eq!(known["name"], quotes);
    assert_eq!(known["size"], u64::MAX);
    assert_eq!(known["mtime_ns"], u64::MAX);
}

/// What names are made of that are hardly any.
const ODD: &[char] = &['.', 'a', '/', '\\', ':', '\u{1b}', '\u{85}', 'é'];

proptest! {
    #![proptest_config(crate::common::config(2000))]

    #[test]
    fn a_name_is_harmless_or_none(name in vec(select(ODD), 0..12)) {
        let name = String::from_iter(name);
        match Name::new(&name) {
            Ok(checked) => {
                prop_assert_eq!(checked.as_str(), &name);
                let components: Vec<_> = checked.components().collect();
                prop_assert_eq!(components.join("/"), &*name);
                let harmless = |part: &str| {
                    !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':'])
                };
                prop_assert!(components.iter().all(|part| harmless(part)));
            }
            Err(refusal) => {
                prop_assert_eq!(refusal.code, Code::Denied);
                let odd = name.contains(['\\', ':', '\u{1b}', '\u{85}']) || name.starts_with('/');
                let odd = odd || name.split('/').any(|part| ["", ".", ".."].contains(&part));
                prop_assert!(odd);
            }
        }
    }
}

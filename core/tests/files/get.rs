//! `get`: whole, from elsewhere, and broken off.

use std::rc::Rc;

use serde_json::{Value, json};
use unstick_core::services::Files;
use unstick_core::{Code, Fault};

use crate::common::memory::Fails;
use crate::common::scenario::Choices;
use crate::common::{STEP, body};
use crate::peer::{Peer, ask, ask_in, hex, is_content, memory, one, refused, request};

#[test]
fn a_get_goes_on_where_the_client_is() {
    for content in [body(0), body(1), body(70)] {
        let memory = memory(&content);
        for offset in (0..=content.len()).step_by(STEP) {
            let with = |sha256: Option<String>| {
                let mut header = json!({"op": "get", "filename": "a", "offset": offset});
                header["sha256"] = sha256.into();
                ask_in::<4>(&memory, &header, b"")
            };
            is_content(&with(None), &content, offset);
            is_content(&with(Some(hex(&content[..offset]))), &content, offset);
            // What the client has is of another content.
            is_content(&with(Some(hex(b"other"))), &content, 0);
        }
        let beyond = content.len() + 1;
        let header = json!({"op": "get", "filename": "a", "offset": beyond});
        refused(
            ask(&memory, header.clone()),
            Code::NotFound,
            &format!(
                "there is nothing at offset {beyond}: the file has {} octets",
                content.len()
            ),
        );
        let mut header = header;
        header["sha256"] = hex(b"longer").into();
        is_content(&ask(&memory, header), &content, 0);
    }
}

#[test]
fn a_content_is_one_frame_and_its_digest_another() {
    let content = body(if cfg!(miri) { 500 } else { 5000 });
    let sent = ask(&memory(&content), json!({"op": "get", "filename": "a"}));
    assert_eq!(sent.len(), 2);
    is_content(&sent, &content, 0);
}

#[test]
fn a_file_that_breaks_off_closes_inside_the_frame() {
    for (fails, shrunk_to) in [(Fails::Read, None), (Fails::Nothing, Some(40))] {
        let memory = memory(&body(100));
        memory.0.borrow_mut().fails = fails;
        memory.0.borrow_mut().shrunk_to = shrunk_to;
        let get = |header: Value| {
            let mut peer = Peer::new(Files::<_, 16>::new(memory.clone()));
            peer.say(&request(&header, b""), &mut Choices(&[]));
            assert_eq!(Rc::strong_count(&memory.0.borrow().open), 1);
            (peer.session.connection().fault(), one(peer.frames()))
        };
        let (fault, sent) = get(json!({"op": "get", "filename": "a"}));
        assert_eq!(fault, Some(Fault::ReplyCut));
        assert!(sent.cut && sent.head.total_size == 100);
        assert_eq!(sent.body, body(shrunk_to.unwrap_or(0)));
        // Before the frame there is room for a word.
        for op in ["get", "stat"] {
            let memory = memory.clone();
            let header = json!({"op": op, "filename": "a", "offset": 60});
            let message = match shrunk_to {
                Some(_) => "the file has become shorter while it was read",
                None => "the disk is on fire",
            };
            refused(ask_in::<80>(&memory, &header, b""), Code::Internal, message);
            assert_eq!(Rc::strong_count(&memory.0.borrow().open), 1);
        }
    }
}

//! `put`: what is interrupted, refused or replaced.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use unstick_core::services::Files;
use unstick_core::{Code, Refusal};

use crate::common::memory::{Fails, RETRY_MS, failure};
use crate::common::scenario::Choices;
use crate::common::{STEP, body};
use crate::peer::{
    Peer, ask, ask_in, content_of, hex, is_content, list_in, memory, one, partial_of, put, refused,
    request, sha256,
};

proptest! {
    #![proptest_config(crate::common::config(300))]

    /// Whatever is put is got, in whatever pieces octets come and go.
    #[test]
    fn what_is_put_is_got(
        content in vec(any::<u8>(), 0..if cfg!(miri) { 70 } else { 700 }),
        step in 0..9_usize,
        frame_len in 0..200_u64,
        octets in vec(any::<u8>(), 0..100),
    ) {
        let memory = memory(b"what was there");
        memory.0.borrow_mut().step = step;
        let service = Files::<_, 3>::new(memory.clone()).with_frame_len(frame_len);
        let mut peer = Peer::new(service);
        let mut choices = Choices(&octets);
        let upload = request(&json!({"op": "put", "filename": "a", "sha256": hex(&content)}), &content);
        let download = request(&json!({"op": "get", "id": 7, "filename": "a"}), b"");
        peer.say(&[upload, download].concat(), &mut choices);
        let mut sent = peer.frames();
        prop_assert_eq!(sent.remove(0).head.sha256, Some(sha256(&content)));
        is_content(&sent, &content, 0);
        let most = usize::try_from(frame_len).unwrap().max(1);
        prop_assert!(sent.iter().all(|frame| frame.body.len() <= most && frame.head.id == Some(7)));
        prop_assert_eq!(content_of(&memory, "a"), Some(content));
        prop_assert_eq!(partial_of(&memory, "a"), None);
    }

    /// A put that is interrupted leaves what was there, and a partial from which it goes on, until it is done.
    #[test]
    fn an_interrupted_put_goes_on(
        content in vec(any::<u8>(), 0..if cfg!(miri) { 40 } else { 200 }),
        step in 0..9_usize,
        octets in vec(any::<u8>(), 0..100),
    ) {
        let memory = memory(b"what was there");
        memory.0.borrow_mut().step = step;
        let mut choices = Choices(&octets);
        let mut has = 0;
        loop {
            let mut peer = Peer::new(Files::<_, 5>::new(memory.clone()));
            let header = json!({
                "op": "put", "filename": "a", "offset": has, "sha256": hex(&content),
            });
            let mut stream = request(&header, &content[has..]);
            let whole = stream.len();
            if choices.0.len() > 4 {
                stream.truncate(choices.below(whole + 1));
            }
            peer.say(&stream, &mut choices);
            if stream.len() == whole {
                prop_assert_eq!(one(peer.frames()).head.sha256, Some(sha256(&content)));
                break;
            }
            drop(peer);
            prop_assert_eq!(content_of(&memory, "a").unwrap(), b"what was there");
            let partial = partial_of(&memory, "a").unwrap_or_default();
            prop_assert!(content.starts_with(&partial));
            // Some of it may have been lost since.
            has = choices.below(partial.len() + 1);
        }
        prop_assert_eq!(content_of(&memory, "a"), Some(content));
        prop_assert_eq!(partial_of(&memory, "a"), None);
    }
}

#[test]
fn a_put_that_is_interrupted_at_any_octet_goes_on_there() {
    let content = body(50);
    let header = json!({"op": "put", "filename": "a", "sha256": hex(&content)});
    let stream = request(&header, &content);
    let start = stream.len() - content.len();
    for cut in (0..stream.len()).step_by(STEP) {
        for cancelled in [false, true] {
            let memory = memory(b"old");
            let mut peer = Peer::new(Files::<_, 8>::new(memory.clone()));
            peer.say(&stream[..cut], &mut Choices(&[]));
            assert_eq!(memory.0.borrow().writing.len(), usize::from(cut >= start));
            if cancelled {
                let connection = peer.session.connection_mut();
                connection.cancel(Refusal::new(Code::Deadline, "too late"));
                assert!(memory.0.borrow().writing.is_empty());
            }
            drop(peer);
            assert_eq!(content_of(&memory, "a").unwrap(), b"old");
            let has = cut.saturating_sub(start);
            let partial = (cut >= start).then(|| content[..has].to_vec());
            assert_eq!(partial_of(&memory, "a"), partial);

            // The client asks how far it got, and goes on from there.
            let looked = one(ask(
                &memory,
                json!({"op": "stat", "filename": "a", "offset": has}),
            ));
            if has > 0 {
                assert_eq!(looked.head.sha256, Some(sha256(&content[..has])));
            }
            let mut header = header.clone();
            header["offset"] = has.into();
            let done = put(&memory, header, &content[has..]);
            assert_eq!(done.head.sha256, Some(sha256(&content)));
            assert_eq!(content_of(&memory, "a").unwrap(), content);
            assert_eq!(partial_of(&memory, "a"), None);
        }
    }
}

#[test]
fn a_put_is_refused_before_its_body() {
    let memory = memory(b"old");
    {
        let mut disk = memory.0.borrow_mut();
        disk.read_only.insert("r".into());
        disk.room = 10;
        disk.partials.insert("a".into(), b"part".into());
    }
    for (header, code) in [
        (json!({"filename": "a", "overwrite": false}), Code::Denied),
        (json!({"filename": "r"}), Code::Denied),
        (json!({"filename": "a", "offset": 5}), Code::NotFound),
        (json!({"filename": "b", "offset": 1}), Code::NotFound),
        (json!({"filename": "a", "offset": 8}), Code::TooLarge),
        (json!({"filename": "a", "offset": u64::MAX}), Code::TooLarge),
    ] {
        let mut header = header;
        header["op"] = "put".into();
        // The body has not come yet.
        let mut peer = Peer::new(Files::<_, 8>::new(memory.clone()));
        let stream = request(&header, b"abc");
        peer.say(&stream[..stream.len() - 3], &mut Choices(&[]));
        assert_eq!(one(peer.frames()).head.error, Some(code), "{header}");
        // The connection goes on.
        peer.say(b"abc", &mut Choices(&[]));
        let get = request(&json!({"op": "get", "filename": "a"}), b"");
        peer.say(&get, &mut Choices(&[]));
        is_content(&peer.frames(), b"old", 0);
    }
    assert_eq!(partial_of(&memory, "a").unwrap(), b"part");

    let created = put(
        &memory,
        json!({"op": "put", "filename": "b", "overwrite": false}),
        b"new",
    );
    assert_eq!(created.head.sha256, Some(sha256(b"new")));
}

#[test]
fn a_put_drops_what_is_behind_its_offset() {
    for (offset, rest) in [(0, &b"XYZ"[..]), (2, b"Z"), (4, b"")] {
        let memory = memory(b"old");
        let part = b"part".to_vec();
        memory.0.borrow_mut().partials.insert("a".into(), part);
        let whole = [&b"part"[..offset], rest].concat();
        let header = json!({"op": "put", "filename": "a", "offset": offset});
        let done = put(&memory, header, rest);
        assert_eq!(done.head.sha256, Some(sha256(&whole)));
        assert_eq!(content_of(&memory, "a").unwrap(), whole);
    }
}

#[test]
fn a_put_of_another_content_changes_nothing() {
    let memory = memory(b"old");
    let header = json!({"op": "put", "filename": "a", "sha256": hex(b"meant")});
    let refusal = ask_in::<8>(&memory, &header, b"sent");
    let message = format!("what arrived has sha256 {}", hex(b"sent"));
    refused(refusal, Code::Digest, &message);
    assert_eq!(content_of(&memory, "a").unwrap(), b"old");
    assert_eq!(partial_of(&memory, "a"), None);

    // The octets that were kept count as well.
    memory
        .0
        .borrow_mut()
        .partials
        .insert("a".into(), b"p".into());
    let header = json!({"op": "put", "filename": "a", "offset": 1, "sha256": hex(b"sent")});
    let refusal = one(ask_in::<8>(&memory, &header, b"ent"));
    assert_eq!(refusal.head.error, Some(Code::Digest));
}

#[test]
fn two_puts_of_one_file_do_not_meet() {
    let memory = memory(b"old");
    let header = json!({"op": "put", "filename": "a"});
    let stream = request(&header, b"first");
    let (begin, end) = stream.split_at(stream.len() - 2);
    let mut first = Peer::new(Files::<_, 8>::new(memory.clone()));
    first.say(begin, &mut Choices(&[]));

    let busy = put(&memory, header.clone(), b"second");
    assert_eq!(busy.head.error, Some(Code::Busy));
    assert_eq!(busy.head.retry_after_ms, Some(RETRY_MS));
    // Readers have the old content meanwhile.
    is_content(
        &ask(&memory, json!({"op": "get", "filename": "a"})),
        b"old",
        0,
    );

    first.say(end, &mut Choices(&[]));
    assert_eq!(one(first.frames()).head.sha256, Some(sha256(b"first")));
    assert_eq!(put(&memory, header, b"second").head.error, None);
    assert_eq!(content_of(&memory, "a").unwrap(), b"second");
}

#[test]
fn a_put_that_the_storage_fails_leaves_its_partial() {
    for (fails, partial) in [
        (Fails::Write, &b"1"[..]),
        (Fails::ReadBack, b"1"),
        (Fails::Commit, b"123"),
    ] {
        let memory = memory(b"old");
        {
            let mut disk = memory.0.borrow_mut();
            disk.partials.insert("a".into(), b"1".into());
            disk.fails = fails;
        }
        let header = json!({"op": "put", "filename": "a", "offset": 1});
        let refusal = put(&memory, header, b"23");
        assert_eq!(refusal.head.error, Some(Code::Internal));
        assert_eq!(
            refusal.head.message.as_deref(),
            Some(failure().message.as_str())
        );
        assert_eq!(content_of(&memory, "a").unwrap(), b"old");
        assert_eq!(partial_of(&memory, "a").unwrap(), partial);
        assert!(memory.0.borrow().writing.is_empty());
    }
}

#[test]
fn a_put_gives_a_file_its_mode_and_time() {
    let memory = memory(b"old");
    let look = || {
        let sent = one(ask(&memory, json!({"op": "stat", "filename": "a"})));
        let known: Value = serde_json::from_slice(&sent.body).unwrap();
        let lines = list_in::<128>(&memory, &json!({"op": "list"}));
        assert!(lines == std::slice::from_ref(&known));
        (known["mode"].as_u64(), known["mtime_ns"].as_u64())
    };
    assert_eq!(look(), (None, None));
    let header = json!({"op": "put", "filename": "a", "mode": 0o640, "mtime_ns": 5});
    assert_eq!(put(&memory, header, b"new").head.error, None);
    assert_eq!(look(), (Some(0o640), Some(5)));
    // Not those of the one before.
    let header = json!({"op": "put", "filename": "a", "mtime_ns": u64::MAX});
    assert_eq!(put(&memory, header, b"newer").head.error, None);
    assert_eq!(look(), (None, Some(u64::MAX)));
}

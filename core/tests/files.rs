//! Files over a storage in memory: real streams of octets through a session.

mod common;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use common::memory::{Fails, Memory, RETRY_MS, failure};
use common::scenario::Choices;
use common::{Frame, STEP, body, context, frame, frames};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use unstick_core::services::{Entry, Files, Kind, Name, Stat, Storage};
use unstick_core::{
    Code, Connection, Digest, Fault, Hasher, Needs, Refusal, Reply, Request, Route, Service,
    Session, Wants,
};

// ---------------------------------------------------------------------------------------------------------------
// Helpers.

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client's side of one connection.
struct Peer<S> {
    session: Session<S, 1024, Vec<u8>, Vec<u8>>,
    woken: Arc<Count>,
    sent: Vec<u8>,
}

impl<S: Service> Peer<S> {
    fn new(service: S) -> Self {
        let connection = Connection::new(service);
        Self {
            session: Session::new(connection, vec![0; 64], vec![0; 256], Duration::ZERO),
            woken: Arc::default(),
            sent: Vec::new(),
        }
    }

    /// Sends this, in pieces that are chosen, until the server wants more. A service that waits has to have woken.
    fn say(&mut self, mut stream: &[u8], choices: &mut Choices<'_>) {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        loop {
            let woken = self.woken.0.load(Ordering::Relaxed);
            match self.session.advance(&mut cx, Duration::ZERO) {
                Needs::Read if self.session.connection().is_stalled() && choices.below(2) == 1 => {}
                Needs::Read if stream.is_empty() => {
                    // What has woken may go on without the peer.
                    if woken == self.woken.0.load(Ordering::Relaxed) {
                        return;
                    }
                }
                Needs::Read => {
                    let most = [64, 8, 1][choices.below(3)];
                    let room = self.session.room();
                    let most = most - choices.below(most);
                    let len = stream.len().min(room.len()).min(most);
                    room[..len].copy_from_slice(&stream[..len]);
                    stream = &stream[len..];
                    self.session.received(len, Duration::ZERO);
                }
                Needs::Write => {
                    let most = 256 - choices.below(256);
                    let len = self.session.unsent().len().min(most);
                    self.sent.extend_from_slice(&self.session.unsent()[..len]);
                    self.session.sent(len, Duration::ZERO);
                }
                Needs::Service => assert!(woken < self.woken.0.load(Ordering::Relaxed)),
                Needs::Close => return,
            }
        }
    }

    /// All frames that have come, since the last time.
    fn frames(&mut self) -> Vec<Frame> {
        frames(&std::mem::take(&mut self.sent))
    }
}

/// A request, and what the server has to say to that.
fn ask_in<const B: usize>(memory: &Memory, header: &Value, content: &[u8]) -> Vec<Frame> {
    let mut peer = Peer::new(Files::<_, B>::new(memory.clone()));
    peer.say(&request(header, content), &mut Choices(&[]));
    assert_eq!(peer.session.connection().fault(), None);
    peer.frames()
}

fn ask(memory: &Memory, header: Value) -> Vec<Frame> {
    ask_in::<1024>(memory, &header, b"")
}

fn put(memory: &Memory, header: Value, content: &[u8]) -> Frame {
    one(ask_in::<8>(memory, &header, content))
}

#[track_caller]
fn one(mut frames: Vec<Frame>) -> Frame {
    assert_eq!(frames.len(), 1, "{frames:?}");
    frames.remove(0)
}

/// The octets of a request, whose `total_size` is that of its body.
fn request(header: &Value, content: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    header["total_size"] = content.len().into();
    frame(&header.to_string(), content)
}

fn sha256(octets: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(octets);
    hasher.digest()
}

fn hex(octets: &[u8]) -> String {
    sha256(octets).to_string()
}

/// A storage with the file `a`.
fn memory(content: &[u8]) -> Memory {
    let memory = Memory::default();
    memory
        .0
        .borrow_mut()
        .files
        .insert("a".into(), content.into());
    memory
}

fn content_of(memory: &Memory, name: &str) -> Option<Vec<u8>> {
    memory.0.borrow().files.get(name).cloned()
}

fn partial_of(memory: &Memory, name: &str) -> Option<Vec<u8>> {
    memory.0.borrow().partials.get(name).cloned()
}

#[track_caller]
fn refused(frames: Vec<Frame>, code: Code, message: &str) {
    let frame = one(frames);
    assert_eq!(frame.head.error, Some(code), "{:?}", frame.head.message);
    assert_eq!(frame.head.message.as_deref(), Some(message));
    assert!(!frame.head.more && frame.body.is_empty());
}

/// Minds that these frames are the content from `offset` on, whole.
#[track_caller]
fn is_content(sent: &[Frame], content: &[u8], offset: usize) {
    let (last, pieces) = sent.split_last().unwrap();
    let mut at = offset;
    for piece in pieces {
        assert_eq!(piece.head.offset.unwrap_or(0), at as u64);
        assert!(piece.head.more && !piece.cut && piece.head.sha256.is_none());
        assert_eq!(piece.body, content[at..at + piece.body.len()]);
        at += piece.body.len();
    }
    assert_eq!(at, content.len());
    assert_eq!(last.head.offset, (at > 0).then_some(at as u64));
    assert_eq!(last.head.sha256, Some(sha256(content)));
    assert!(!last.head.more && last.body.is_empty());
    assert_eq!(last.head.error, None);
}

// ---------------------------------------------------------------------------------------------------------------
// get and put.

proptest! {
    #![proptest_config(common::config(300))]

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
fn long_work_is_done_in_short_steps() {
    let memory = memory(&body(1000));
    let reads = |service: &mut Files<Memory, 10>, request: &Request| {
        service.begin(request).unwrap();
        let mut calls = 0;
        loop {
            let before = memory.0.borrow().reads;
            let reply = service.reply(&mut context());
            calls += 1;
            assert!(memory.0.borrow().reads - before <= 4);
            if let Poll::Ready(reply) = reply {
                return (calls, reply.unwrap());
            }
            assert!(calls < 100);
        }
    };
    let mut service = Files::<_, 10>::new(memory.clone());
    let mut get = Request::new("get", 0);
    get.filename = Some("a".try_into().unwrap());
    get.offset = Some(990);
    let (calls, head) = reads(&mut service, &get);
    assert!(calls >= 25);
    assert_eq!((head.offset, head.total_size), (Some(990), 10));
}

#[test]
fn files_that_are_not_there() {
    let memory = memory(b"");
    memory.0.borrow_mut().directories.insert("d".into());
    for op in ["get", "stat", "list"] {
        let message = "there is no `b`";
        refused(
            ask(&memory, json!({"op": op, "filename": "b"})),
            Code::NotFound,
            message,
        );
    }
    refused(
        ask(&memory, json!({"op": "get", "filename": "d"})),
        Code::NotFound,
        "there is no `d`",
    );
}

#[test]
fn only_put_has_a_body() {
    for op in ["get", "stat", "list"] {
        let header = json!({"op": op, "filename": "a"});
        let memory = memory(b"");
        refused(
            ask_in::<8>(&memory, &header, b"?"),
            Code::TooLarge,
            &format!("`{op}` takes a body of at most 0 octets"),
        );
    }
}

#[test]
fn other_operations_are_not_for_files() {
    let files = Files::<_, 8>::new(Memory::default());
    for op in ["get", "put", "list", "stat"] {
        assert!(files.serves(op));
    }
    assert!(!files.serves("echo") && !files.serves(""));
    for header in [json!({"op": "echo"}), json!({})] {
        refused(
            ask(&Memory::default(), header),
            Code::UnknownOp,
            "files have no such op",
        );
    }
}

/// What no connection does.
#[test]
fn without_a_request_there_is_nothing_to_say() {
    let mut files = Files::<_, 8>::new(Memory::default());
    files.cancel();
    assert!(files.reply(&mut context()).is_pending());
    assert_eq!(files.fill(&mut context(), &mut [0; 8]), Poll::Ready(Ok(0)));
    assert_eq!(files.body(b"abc"), Ok(3));
}

#[test]
fn what_is_open_is_let_go_of() {
    let memory = memory(&body(500));
    let open = || Rc::strong_count(&memory.0.borrow().open) - 1;
    let mut peer = Peer::new(Files::<_, 1024>::new(memory.clone()));
    let get = request(&json!({"op": "get", "filename": "a"}), b"");
    let stat = request(&json!({"op": "stat", "filename": "a", "offset": 9}), b"");
    let mut input = [&get[..], &get, &stat].concat();
    // The peer is gone while it reads.
    let room = peer.session.room();
    room[..get.len()].copy_from_slice(&get);
    peer.session.received(get.len(), Duration::ZERO);
    peer.session.advance(&mut context(), Duration::ZERO);
    assert_eq!(open(), 1);
    drop(peer);
    assert_eq!(open(), 0);
    // It stays, and asks nothing more.
    let mut peer = Peer::new(Files::<_, 1024>::new(memory.clone()));
    peer.say(&input, &mut Choices(&[]));
    assert_eq!(open(), 0);
    // A digest that is given up.
    input.clear();
    let mut files = Files::<_, 1024>::new(memory.clone());
    let mut look = Request::new("stat", 0);
    look.filename = Some("a".try_into().unwrap());
    look.offset = Some(500);
    files.begin(&look).unwrap();
    assert_eq!(open(), 1);
    files.cancel();
    assert_eq!(open(), 0);
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

// ---------------------------------------------------------------------------------------------------------------
// stat and list.

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

/// All lines of a listing, whose frames have at most `B` octets.
fn list_in<const B: usize>(memory: &Memory, header: &Value) -> Vec<Value> {
    let sent = ask_in::<B>(memory, header, b"");
    let (last, others) = sent.split_last().unwrap();
    assert!(!last.head.more && others.iter().all(|frame| frame.head.more));
    assert!(others.iter().all(|frame| frame.body.ends_with(b"\n")));
    assert!(sent.iter().all(|frame| frame.body.len() <= B));
    let lines: Vec<u8> = sent.into_iter().flat_map(|frame| frame.body).collect();
    let lines = std::str::from_utf8(&lines).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
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

// ---------------------------------------------------------------------------------------------------------------
// Names.

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
fn a_line_has_at_most_640_octets() {
    let quotes = "\"".repeat(255);
    let header = json!({"op": "stat", "filename": quotes});
    let mut peer = Peer::new(Files::<_, 640>::new(Uptime(0)));
    peer.say(&request(&header, b""), &mut Choices(&[]));
    let known: Value = serde_json::from_slice(&one(peer.frames()).body).unwrap();
    assert_eq!(known["name"], quotes);
    assert_eq!(known["size"], u64::MAX);
}

/// What names are made of that are hardly any.
const ODD: &[char] = &['.', 'a', '/', '\\', ':', '\u{1b}', '\u{85}', 'é'];

proptest! {
    #![proptest_config(common::config(2000))]

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

// ---------------------------------------------------------------------------------------------------------------
// Datagrams, and a storage that offers little.

/// The datagrams of the reply to this request.
fn datagrams(memory: &Memory, header: &Value, content: &[u8]) -> Vec<Frame> {
    let service = Files::<_, 200>::new(memory.clone()).with_frame_len(20);
    let mut connection = Connection::<_, 512>::new(service).for_datagrams();
    let stream = request(header, content);
    let (mut input, mut sent, mut out) = (&stream[..], Vec::new(), [0; 400]);
    loop {
        match connection.wants() {
            Wants::Input if input.is_empty() => return sent,
            Wants::Input => connection.receive(&mut input),
            Wants::Output | Wants::Pending => {
                let len = connection.transmit(&mut context(), &mut out);
                assert!(connection.is_between_frames());
                sent.extend(frames(&out[..len]));
            }
            Wants::Close => panic!("{:?}", connection.fault()),
        }
    }
}

#[test]
fn datagrams_carry_small_files() {
    for len in [0, 1, 19, 20, 21, 100] {
        let memory = memory(b"");
        let content = body(len);
        let header = json!({"op": "put", "id": 1, "filename": "a"});
        assert_eq!(
            one(datagrams(&memory, &header, &content)).head.sha256,
            Some(sha256(&content))
        );
        let header = json!({"op": "get", "id": 2, "filename": "a"});
        let sent = datagrams(&memory, &header, b"");
        is_content(&sent, &content, 0);
        // One with `more` has a body, and says where.
        for frame in &sent {
            assert!(!frame.head.more || !frame.body.is_empty() && frame.head.offset.is_some());
        }
    }
}

#[test]
fn datagrams_begin_at_the_start() {
    let content = body(100);
    let memory = memory(&content);
    let get = |offset: u64, has: &[u8]| {
        let header =
            json!({"op": "get", "id": 2, "filename": "a", "offset": offset, "sha256": hex(has)});
        datagrams(&memory, &header, b"")
    };
    refused(
        get(40, &content[..40]),
        Code::Denied,
        "datagrams are counted from the start of the file: resume over TCP",
    );
    assert_eq!(Rc::strong_count(&memory.0.borrow().open), 1);
    is_content(&get(40, b"other"), &content, 0);
    // A client that has all learns that it has.
    let last = one(get(100, &content));
    assert_eq!(last.head.offset, None);
    assert_eq!(last.head.sha256, Some(sha256(&content)));

    let header = json!({"op": "stat", "id": 3, "filename": "a", "offset": 40});
    let looked = one(datagrams(&memory, &header, b""));
    assert_eq!(looked.head.offset, None);
    assert_eq!(looked.head.sha256, Some(sha256(&content[..40])));

    // Resuming a put is another matter.
    memory.0.borrow_mut().partials.insert("a".into(), body(40));
    let header = json!({"op": "put", "id": 4, "filename": "a", "offset": 40});
    let done = one(datagrams(&memory, &header, &content[40..]));
    assert_eq!(done.head.sha256, Some(sha256(&content)));
}

#[test]
fn datagrams_carry_listings() {
    let memory = memory(b"");
    for number in 0..40 {
        let name = format!("{number:02}");
        memory.0.borrow_mut().files.insert(name, vec![]);
    }
    let sent = datagrams(&memory, &json!({"op": "list", "id": 5}), b"");
    let mut at = 0;
    for frame in &sent {
        assert_eq!(frame.head.offset, Some(at));
        assert!(!frame.head.more || !frame.body.is_empty());
        at += frame.body.len() as u64;
    }
    let lines: Vec<u8> = sent.into_iter().flat_map(|frame| frame.body).collect();
    assert_eq!(std::str::from_utf8(&lines).unwrap().lines().count(), 41);
}

/// One file, made when it is opened: what a board offers.
struct Uptime(u64);

impl Storage for Uptime {
    type Reader = String;
    type Writer = std::convert::Infallible;
    type Listing = ();

    fn stat(&mut self, _: Name<'_>) -> Result<Stat, Refusal> {
        Ok(Stat {
            kind: Kind::File,
            // Not known before it is made.
            size: Some(u64::MAX),
            writable: false,
            partial: Some(u64::MAX),
        })
    }

    fn open(&mut self, _: Name<'_>) -> Result<(String, u64), Refusal> {
        self.0 += 1;
        let text = format!("{} s\n", self.0);
        let len = text.len() as u64;
        Ok((text, len))
    }

    fn read(&mut self, text: &mut String, at: u64, out: &mut [u8]) -> Result<usize, Refusal> {
        let rest = &text.as_bytes()[usize::try_from(at).unwrap()..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write(&mut self, writer: &mut Self::Writer, _: u64, _: &[u8]) -> Result<usize, Refusal> {
        match *writer {}
    }

    fn read_back(
        &mut self,
        writer: &mut Self::Writer,
        _: u64,
        _: &mut [u8],
    ) -> Result<usize, Refusal> {
        match *writer {}
    }

    fn commit(&mut self, writer: Self::Writer) -> Result<(), Refusal> {
        match writer {}
    }

    fn discard(&mut self, writer: Self::Writer) {
        match writer {}
    }

    fn list(&mut self, _: Option<Name<'_>>) -> Result<(), Refusal> {
        Ok(())
    }

    fn entry<'a>(&'a mut self, (): &'a mut (), place: u64) -> Result<Option<Entry<'a>>, Refusal> {
        let stat = self.stat(Name::new("uptime")?)?;
        let entry = Entry {
            name: "uptime",
            stat,
        };
        Ok((place == 0).then_some(entry))
    }
}

#[test]
fn a_storage_need_not_be_for_writing() {
    let mut peer = Peer::new(Files::<_, 128>::new(Uptime(0)));
    let mut ask = |header: Value, content: &[u8]| {
        peer.say(&request(&header, content), &mut Choices(&[]));
        peer.frames()
    };
    for text in ["1 s\n", "2 s\n"] {
        let sent = ask(json!({"op": "get", "filename": "uptime"}), b"");
        is_content(&sent, text.as_bytes(), 0);
    }
    refused(
        ask(json!({"op": "put", "filename": "uptime"}), b"0 s\n"),
        Code::Denied,
        "`uptime` is for reading only",
    );
    refused(
        ask(
            json!({"op": "stat", "filename": "uptime", "offset": 1}),
            b"",
        ),
        Code::NotFound,
        "there is no part of `uptime`",
    );
    assert_eq!(
        one(ask(json!({"op": "list"}), b""))
            .body
            .split(|octet| *octet == b'\n')
            .count(),
        2
    );
}

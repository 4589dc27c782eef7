//! Datagrams, and a storage that offers little.

use std::rc::Rc;

use serde_json::{Value, json};
use unstick_core::services::{Attributes, Entry, Files, Kind, Name, Stat, Storage};
use unstick_core::{Code, Connection, Mode, Refusal, Wants};

use crate::common::memory::Memory;
use crate::common::scenario::Choices;
use crate::common::{Frame, body, context, frames};
use crate::peer::{Peer, hex, is_content, memory, one, refused, request, sha256};

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
pub struct Uptime(pub u64);

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
            attributes: Attributes {
                mode: Mode::new(0o777),
                mtime_ns: Some(u64::MAX),
            },
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
    let mut peer = Peer::new(Files::<_, 192>::new(Uptime(0)));
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

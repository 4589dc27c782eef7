//! Which requests there are, and what becomes of what they open.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use serde_json::json;
use unstick_core::services::Files;
use unstick_core::{Code, Request, Route, Service};

use crate::common::memory::Memory;
use crate::common::scenario::Choices;
use crate::common::{body, context};
use crate::peer::{Peer, ask, ask_in, memory, refused, request};

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

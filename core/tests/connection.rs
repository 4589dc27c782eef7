//! The connection: a model of whole conversations, and what each method promises.

mod common;

use common::scenario::{Choices, Scenario, converse};
use common::{BODY, Frame, Mood, Plan, Script, body, context, frame, frames};
use proptest::collection::vec;
use proptest::prelude::*;
use unstick_core::services::{Echo, Output, Responder};
use unstick_core::{
    Code, Connection, DecodeError, Fault, HeaderError, HeaderErrorKind, PREFIX_LEN, Phase, Refusal,
    Reply, Service, Wants, encode,
};

proptest! {
    #![proptest_config(common::config(4000))]

    /// Replies in order, with the right ids, one final frame each, whatever the peer and the service do.
    #[test]
    fn every_conversation_is_that_of_the_model(octets in vec(any::<u8>(), 0..300)) {
        let mut choices = Choices(&octets);
        Scenario::new(&mut choices).check(&mut choices);
    }

    /// Nor does it matter to the order of things what the peer sends.
    #[test]
    fn any_octets_get_an_answer(stream in vec(any::<u8>(), 0..100), octets in vec(any::<u8>(), 0..50)) {
        let script = Script::default();
        let mood = script.mood.clone();
        let mut connection = Connection::<_, 64>::new(script);
        converse(&mut connection, &mood, &stream, &mut Choices(&octets), |_, _| ());
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Helpers.

const HELLO: &[u8] = b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}hello";

fn request(total_size: u64) -> Vec<u8> {
    frame(&format!(r#"{{"id":7,"total_size":{total_size}}}"#), b"")
}

fn script(plan: Plan) -> Connection<Script, 128> {
    Connection::new(Script::new([plan]))
}

fn receive<S: Service, const N: usize>(
    connection: &mut Connection<S, N>,
    mut octets: &[u8],
) -> usize {
    let len = octets.len();
    connection.receive(&mut octets);
    len - octets.len()
}

fn transmit<S: Service, const N: usize>(connection: &mut Connection<S, N>, room: usize) -> Vec<u8> {
    let mut out = vec![0; room];
    let len = connection.transmit(&mut context(), &mut out);
    out.truncate(len);
    out
}

/// The one error frame that is sent.
#[track_caller]
fn last_words<S: Service, const N: usize>(connection: &mut Connection<S, N>) -> Reply {
    let sent = frames(&transmit(connection, 512));
    let [
        Frame {
            head, cut: false, ..
        },
    ] = sent.as_slice()
    else {
        panic!("{sent:?} instead of an error frame");
    };
    assert_eq!(connection.wants(), Wants::Close);
    head.clone()
}

// ---------------------------------------------------------------------------------------------------------------
// Requests.

#[test]
fn a_request_without_a_body_is_complete_with_its_header() {
    let mut connection = script(Plan::default());
    assert_eq!(receive(&mut connection, &request(0)), 27);
    connection.finish();
    assert_eq!(
        transmit(&mut connection, 512),
        frame(r#"{"total_size":0,"id":7}"#, b"")
    );
    assert_eq!(
        (connection.wants(), connection.fault()),
        (Wants::Close, None)
    );
}

#[test]
fn a_request_is_complete_with_the_last_octet_of_its_body() {
    let mut connection = script(Plan::default());
    receive(&mut connection, &request(2));
    assert_eq!(connection.wants(), Wants::Output);
    assert_eq!(transmit(&mut connection, 512), b"");
    assert_eq!(connection.wants(), Wants::Input);
    assert_eq!(receive(&mut connection, &body(2)), 2);
    assert_eq!(connection.wants(), Wants::Output);
    assert_eq!(
        transmit(&mut connection, 512),
        frame(r#"{"total_size":0,"id":7}"#, b"")
    );
    assert_eq!(
        (connection.wants(), connection.phase()),
        (Wants::Input, Phase::Idle)
    );
}

#[test]
fn an_echo_comes_back_while_it_is_spoken() {
    let mut connection = Connection::<_, 64>::new(Echo::<64>::new());
    let mut sent = Vec::new();
    for octet in HELLO.chunks(1) {
        assert_eq!(receive(&mut connection, octet), 1);
        while connection.wants() == Wants::Output {
            sent.extend(transmit(&mut connection, 512));
        }
        assert_eq!(connection.wants(), Wants::Input);
        let spoken = sent.strip_prefix(b"\x10\0\0\0{\"total_size\":5}");
        assert!(spoken.is_none_or(|spoken| spoken.last() == octet.last() || spoken.is_empty()));
    }
    assert_eq!(sent, b"\x10\0\0\0{\"total_size\":5}hello");
}

#[test]
fn octets_of_the_next_request_are_left() {
    let mut connection = Connection::<_, 64>::new(Echo::<64>::new());
    let input = [HELLO, HELLO].concat();
    let first = receive(&mut connection, &input);
    assert!(first < HELLO.len());
    transmit(&mut connection, 512);
    assert_eq!(
        first + receive(&mut connection, &input[first..]),
        HELLO.len()
    );
}

#[test]
fn many_replies_fill_one_buffer() {
    let mut connection = script(Plan {
        frames: vec![5; 20],
        ..Plan::default()
    });
    receive(&mut connection, &request(0));
    assert_eq!(frames(&transmit(&mut connection, 4096)).len(), 20);
}

#[test]
fn a_service_says_not_now() {
    let mut connection = script(Plan {
        takes: vec![0, 1, 0],
        fills: vec![0, 0],
        reply_after: Some(0),
        ..Plan::default()
    });
    let mut input = &[request(4), body(4)].concat()[..];
    connection.receive(&mut input);
    // Neither has the reply begun,
    assert_eq!(transmit(&mut connection, 512), b"");
    assert_eq!(connection.wants(), Wants::Input);
    // nor is the body taken,
    connection.receive(&mut input);
    assert_eq!((connection.wants(), input.len()), (Wants::Pending, 4));
    // until it is asked again.
    assert_eq!(transmit(&mut connection, 512), b"");
    assert_eq!(connection.wants(), Wants::Input);
    connection.receive(&mut input);
    assert_eq!((connection.wants(), input.len()), (Wants::Output, 3));
    assert_eq!(transmit(&mut connection, 512).len(), 27);
    // The reply was early: nobody needs the rest of the body.
    connection.receive(&mut input);
    assert_eq!((connection.wants(), input.len()), (Wants::Input, 0));
    assert_eq!(connection.phase(), Phase::Idle);
}

/// Takes and fills more than it is given.
struct Greedy;

impl Service for Greedy {
    fn begin(&mut self, _: &unstick_core::Request) -> Result<(), Refusal> {
        Ok(())
    }

    fn body(&mut self, _: &[u8]) -> Result<usize, Refusal> {
        Ok(usize::MAX)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    fn reply(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<Reply, Refusal>> {
        std::task::Poll::Ready(Ok(Reply::new(3)))
    }

    fn fill(
        &mut self,
        _: &mut std::task::Context<'_>,
        _: &mut [u8],
    ) -> std::task::Poll<Result<usize, Refusal>> {
        std::task::Poll::Ready(Ok(usize::MAX))
    }
}

#[test]
fn a_service_that_miscounts_harms_nobody() {
    let mut connection = Connection::<_, 64>::new(Greedy);
    let mut sent = Vec::new();
    let requests = [request(5), body(5), request(0)].concat();
    let mut input = &requests[..];
    while connection.wants() == Wants::Output || !input.is_empty() {
        connection.receive(&mut input);
        sent.extend(transmit(&mut connection, 512));
    }
    assert_eq!(frames(&sent).len(), 2);
    assert_eq!(connection.phase(), Phase::Idle);
    // It need not mind being given up, either.
    receive(&mut connection, &request(5));
    connection.abort(Refusal::new(Code::Deadline, ""));
    assert_eq!(last_words(&mut connection).id, Some(7));
}

// ---------------------------------------------------------------------------------------------------------------
// Limits.

#[test]
fn a_body_over_the_limit_is_refused_and_never_seen() {
    let limit = |total_size: u64| {
        let mut connection = script(Plan::default()).with_limits(128, 4);
        receive(&mut connection, &request(total_size));
        connection
    };
    assert_eq!(limit(4).fault(), None);
    let mut connection = limit(5);
    assert_eq!(connection.fault(), Some(Fault::BodyTooLarge(5)));
    assert_eq!(connection.service().mood.get(), Mood::Idle);
    let head = last_words(&mut connection);
    assert_eq!((head.id, head.error), (Some(7), Some(Code::TooLarge)));
    assert_eq!(head.message.unwrap(), "a body of 5 octets: the limit is 4");
}

#[test]
fn a_header_over_the_limit_is_refused() {
    let mut connection = script(Plan::default()).with_limits(22, u64::MAX);
    assert_eq!(receive(&mut connection, &request(0)), PREFIX_LEN);
    assert_eq!(
        connection.fault(),
        Some(Fault::Peer(DecodeError::HeaderTooLong(23)))
    );
    let head = last_words(&mut connection);
    assert_eq!((head.id, head.error), (None, Some(Code::TooLarge)));
    assert_eq!(
        head.message.unwrap(),
        "the prefix announces a header of 23 octets: the limit is 22"
    );
}

#[test]
fn a_header_is_written_whole_or_not_at_all() {
    let head = PREFIX_LEN + r#"{"total_size":3,"id":7}"#.len();
    let early = || {
        let mut connection = script(Plan {
            frames: vec![3, 3, 3],
            reply_after: Some(0),
            ..Plan::default()
        });
        receive(&mut connection, &request(1));
        connection
    };
    let head = head + r#","more":true"#.len();
    for room in 1..head {
        let mut connection = early();
        assert_eq!(transmit(&mut connection, room), b"");
        assert_eq!(connection.wants(), Wants::Close);
        assert_eq!(connection.fault(), Some(Fault::BufferTooSmall));
        assert!(connection.is_between_frames());
        assert_eq!(connection.service().mood.get(), Mood::Idle);
    }
    // Behind another frame it waits for more room.
    let mut connection = early();
    assert_eq!(transmit(&mut connection, 0), b"");
    assert_eq!(connection.wants(), Wants::Output);
    let mut sent = transmit(&mut connection, head);
    assert_eq!(sent.len(), head);
    assert!(!connection.is_between_frames());
    sent.extend(transmit(&mut connection, head));
    assert_eq!(sent.len(), head + 3);
    assert!(connection.is_between_frames());
    sent.extend(transmit(&mut connection, head));
    assert_eq!(frames(&sent).len(), 2);
    assert!(!connection.is_between_frames());
}

#[test]
fn an_error_frame_needs_room_too() {
    let mut connection = script(Plan::default());
    receive(&mut connection, &[0; 4]);
    assert_eq!(transmit(&mut connection, 20), b"");
    assert_eq!(connection.wants(), Wants::Close);
    assert_eq!(
        connection.fault(),
        Some(Fault::Peer(DecodeError::PrefixNotPositive(0)))
    );
}

// ---------------------------------------------------------------------------------------------------------------
// The end of the peer's octets, and giving up.

#[test]
fn finish_closes_or_complains() {
    let truncated = Some(Fault::Peer(DecodeError::Truncated));
    // Between requests.
    let mut connection = script(Plan::default());
    connection.finish();
    assert_eq!(
        (connection.wants(), connection.fault()),
        (Wants::Close, None)
    );
    assert_eq!(connection.phase(), Phase::Idle);

    // Inside a header, and inside a body before the reply.
    for octets in [&request(0)[..9], &request(9)] {
        let mut connection = script(Plan::default());
        receive(&mut connection, octets);
        connection.finish();
        assert_eq!(connection.fault(), truncated);
        let head = last_words(&mut connection);
        assert_eq!(head.error, Some(Code::BadHeader));
        assert_eq!(head.message.unwrap(), "the stream ended inside a frame");
    }

    // Inside a body that nobody needs, before its refusal is sent and after.
    for sent in [false, true] {
        let mut connection = script(Plan {
            begin_refused: true,
            ..Plan::default()
        });
        receive(&mut connection, &request(9));
        if sent {
            assert_eq!(frames(&transmit(&mut connection, 512)).len(), 1);
            assert_eq!(connection.wants(), Wants::Input);
        }
        connection.finish();
        assert_eq!(connection.fault(), truncated);
        if !sent {
            assert_eq!(last_words(&mut connection).error, Some(Code::Denied));
        }
        assert_eq!(connection.wants(), Wants::Close);
    }

    // Inside a body, inside its echo.
    let mut connection = Connection::<_, 64>::new(Echo::<64>::new());
    receive(&mut connection, &HELLO[..HELLO.len() - 1]);
    transmit(&mut connection, 512);
    connection.finish();
    assert_eq!(
        (connection.wants(), connection.fault()),
        (Wants::Close, truncated)
    );
    assert!(!connection.is_between_frames());
}

#[test]
fn abort_has_the_last_word() {
    let code = Some(Fault::Aborted(Code::Busy));
    let abort = |connection: &mut Connection<Script, 128>| {
        connection.abort(Refusal::busy("too many", 250));
        connection.finish();
        assert_eq!(connection.fault(), code);
        assert_eq!(connection.service().mood.get(), Mood::Idle);
    };
    let error_frame =
        r#"{"total_size":0,"error":"busy","message":"too many","retry_after_ms":250}"#;

    // Between requests.
    let mut connection = script(Plan::default());
    abort(&mut connection);
    assert_eq!(transmit(&mut connection, 512), frame(error_frame, b""));
    assert_eq!(connection.wants(), Wants::Close);

    // Instead of the service's own frame that says no, or what is to come after it.
    let mut connection = script(Plan {
        frames: vec![0, 0],
        errors: true,
        ..Plan::default()
    });
    receive(&mut connection, &request(0));
    transmit(&mut connection, 61);
    abort(&mut connection);
    assert_eq!(last_words(&mut connection).message.unwrap(), "too many");

    // Inside a frame there is none.
    let mut connection = script(Plan {
        frames: vec![9],
        fills: vec![1, 1, 0],
        ..Plan::default()
    });
    receive(&mut connection, &request(0));
    assert_eq!(transmit(&mut connection, 512).len(), 29);
    assert_eq!(connection.wants(), Wants::Pending);
    abort(&mut connection);
    assert_eq!(connection.wants(), Wants::Close);
    assert!(!connection.is_between_frames());

    // Nor after the reply, while the body is still coming.
    let mut connection = script(Plan {
        reply_after: Some(0),
        ..Plan::default()
    });
    receive(&mut connection, &request(9));
    transmit(&mut connection, 512);
    assert_eq!(
        (connection.wants(), connection.phase()),
        (Wants::Input, Phase::Turn)
    );
    abort(&mut connection);
    assert_eq!(connection.wants(), Wants::Close);
}

#[test]
fn cancel_ends_one_request() {
    let no = || Refusal::new(Code::Denied, "no");
    let mut connection = script(Plan::default());
    connection.cancel(no());
    assert_eq!(connection.wants(), Wants::Input);

    // Before its body is complete, the rest of which goes nowhere.
    receive(&mut connection, &request(5));
    connection.cancel(no());
    connection.cancel(Refusal::new(Code::Busy, "once more"));
    assert_eq!(connection.service().mood.get(), Mood::Idle);
    let sent = frames(&transmit(&mut connection, 512));
    assert_eq!(
        (sent[0].head.error, sent[0].head.id),
        (Some(Code::Denied), Some(7))
    );
    assert_eq!(
        (connection.wants(), connection.fault()),
        (Wants::Input, None)
    );
    receive(&mut connection, b"?????");
    assert_eq!(connection.phase(), Phase::Idle);

    // Inside a frame there is no other end than this.
    let mut connection = Connection::<_, 64>::new(Echo::<64>::new());
    receive(&mut connection, HELLO);
    transmit(&mut connection, 512);
    connection.cancel(no());
    assert_eq!(
        (connection.wants(), connection.fault()),
        (Wants::Close, Some(Fault::ReplyCut))
    );
}

#[test]
fn a_refusal_inside_a_frame_cuts_it() {
    let mut connection = script(Plan {
        frames: vec![9],
        fills: vec![1, 1, 0],
        reply_after: Some(0),
        body_refused_at: Some(0),
        ..Plan::default()
    });
    receive(&mut connection, &request(1));
    transmit(&mut connection, 512);
    receive(&mut connection, &body(1));
    assert_eq!(
        (connection.wants(), connection.fault()),
        (Wants::Close, Some(Fault::ReplyCut))
    );
    assert!(!connection.is_between_frames());
}

#[test]
fn the_deadlines_that_apply() {
    let header = r#"{"timeout_ms":250,"total_size":1}"#;
    let octets = frame(header, &body(1));
    let mut connection = script(Plan::default());
    assert_eq!(
        (connection.phase(), connection.timeout_ms()),
        (Phase::Idle, None)
    );
    receive(&mut connection, &octets[..1]);
    assert_eq!(
        (connection.phase(), connection.timeout_ms()),
        (Phase::Header, None)
    );
    receive(&mut connection, &octets[1..octets.len() - 1]);
    assert_eq!(
        (connection.phase(), connection.timeout_ms()),
        (Phase::Turn, Some(250))
    );
    transmit(&mut connection, 512);
    receive(&mut connection, &octets[octets.len() - 1..]);
    assert_eq!(
        (connection.phase(), connection.timeout_ms()),
        (Phase::Turn, Some(250))
    );
    assert_eq!(connection.requests(), 1);
    transmit(&mut connection, 512);
    assert_eq!(
        (connection.phase(), connection.timeout_ms()),
        (Phase::Idle, None)
    );
}

#[test]
fn faults_say_what_is_wrong() {
    let header = HeaderError {
        offset: 0,
        kind: HeaderErrorKind::NotAnObject,
    };
    for (fault, sentence) in [
        (
            Fault::Peer(header.into()),
            "header: not a JSON object (octet 0)",
        ),
        (
            Fault::BodyTooLarge(9),
            "a body of 9 octets is over the limit",
        ),
        (Fault::Aborted(Code::Deadline), "given up: deadline"),
        (Fault::ReplyCut, "the service broke off inside a reply"),
        (
            Fault::BufferTooSmall,
            "the reply's header does not fit the output buffer",
        ),
    ] {
        assert_eq!(fault.to_string(), sentence);
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Datagrams.

/// One datagram: all of a frame, however often the service has to be asked for it.
fn datagram<S: Service, const N: usize>(
    connection: &mut Connection<S, N>,
    input: &mut &[u8],
    room: usize,
) -> Vec<u8> {
    let (mut out, mut len) = (vec![0; room], 0);
    while len == 0 || !connection.is_between_frames() {
        connection.receive(input);
        len += connection.transmit(&mut context(), &mut out[len..]);
    }
    out.truncate(len);
    out
}

#[test]
fn each_datagram_is_one_frame() {
    let mut connection = script(Plan {
        frames: vec![3, 0, 5, 2],
        fills: vec![1, 1, 1, 1, 1, 1, 1, 0, 2],
        ..Plan::default()
    })
    .for_datagrams();
    let octets = request(0);
    let mut input = &octets[..];
    let mut offsets = Vec::new();
    for len in [3, 0, 5, 2] {
        let sent = frames(&datagram(&mut connection, &mut input, 512));
        let [
            Frame {
                head, cut: false, ..
            },
        ] = sent.as_slice()
        else {
            panic!("{sent:?} is not one frame");
        };
        assert_eq!((head.total_size, head.id), (len, Some(7)));
        offsets.push(head.offset);
    }
    assert_eq!(offsets, [Some(0), Some(3), Some(3), Some(8)]);
    assert_eq!(connection.phase(), Phase::Idle);

    // An echo of which less is held than its frame.
    let mut connection = Connection::<_, 64>::new(Echo::<2>::new()).for_datagrams();
    let mut input = HELLO;
    let sent = datagram(&mut connection, &mut input, 64);
    assert_eq!(sent, b"\x10\0\0\0{\"total_size\":5}hello");
}

#[test]
fn a_frame_that_fits_no_datagram_is_refused() {
    let with = |frames, errors| {
        let mut connection = script(Plan {
            frames,
            errors,
            ..Plan::default()
        })
        .for_datagrams();
        receive(&mut connection, &request(0));
        connection
    };
    let head = Reply::new(100);
    let head_len = encode(&head, &mut [0; 64]).unwrap() + r#","id":7"#.len();
    let mut connection = with(vec![100], false);
    assert_eq!(
        transmit(&mut connection, head_len + 100).len(),
        head_len + 100
    );

    for errors in [false, true] {
        let mut connection = with(vec![200], errors);
        let sent = frames(&transmit(&mut connection, 199));
        assert_eq!(sent[0].head.error, Some(Code::TooLarge));
        assert_eq!((sent.len(), sent[0].head.offset), (1, None));
        assert_eq!(connection.service().mood.get(), Mood::Idle);
        assert_eq!(connection.phase(), Phase::Idle);
    }

    let mut connection = with(vec![5, 200], false);
    assert_eq!(frames(&transmit(&mut connection, 199)).len(), 1);
    let sent = frames(&transmit(&mut connection, 199));
    assert_eq!(
        (sent[0].head.error, sent[0].head.offset),
        (Some(Code::TooLarge), Some(5))
    );
    let message = sent[0].head.message.as_ref().unwrap();
    assert_eq!(
        message.as_str(),
        "a frame of 240 octets: a datagram holds 199; ask over TCP"
    );
}

#[test]
fn replies_to_one_datagram_may_be_refusals() {
    let shout = |_: &[u8], _: &mut Output<'_>| Err(Refusal::new(BODY, "no"));
    let service = Responder::<_, 8, 8>::new("shout", shout);
    let mut connection = Connection::<_, 64>::new(service).for_datagrams();
    let sent = frames(&datagram(&mut connection, &mut &request(0)[..], 128));
    assert_eq!((sent.len(), sent[0].head.error), (1, Some(BODY)));
}

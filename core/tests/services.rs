//! The services that need no operating system, each behind a connection as it is used.

mod common;

use common::scenario::{Choices, converse};
use common::{Frame, Script, body, frame};
use proptest::collection::vec;
use proptest::prelude::*;
use unstick_core::services::{Command, Commands, Echo, Info, Output, Responder};
use unstick_core::{Code, Connection, Route, Service, Stream};

/// What is sent in answer to a request with this body, if there is an op.
fn answer(service: impl Service, op: Option<&str>, body: &[u8], choices: &[u8]) -> Vec<Frame> {
    let op = op.map_or(String::new(), |op| format!(r#""op":"{op}","#));
    let header = format!(r#"{{{op}"total_size":{}}}"#, body.len());
    // A second one shows that the first has left nothing behind.
    let stream = frame(&header, body).repeat(2);
    let mut connection = Connection::<_, 128>::new(service);
    let mood = Script::default().mood;
    let mut sent = converse(
        &mut connection,
        &mood,
        &stream,
        &mut Choices(choices),
        |_, _| (),
    );
    assert_eq!(connection.fault(), None);
    let second = sent.split_off(sent.len() / 2);
    assert_eq!(second, sent);
    sent
}

/// The one frame that is sent.
fn answer_once(service: impl Service, op: &str, body: &[u8]) -> Frame {
    let mut sent = answer(service, Some(op), body, &[]);
    assert_eq!(sent.len(), 1);
    sent.remove(0)
}

#[track_caller]
fn refused(frame: &Frame, code: Code, message: &str) {
    assert_eq!(frame.head.error, Some(code));
    assert_eq!(frame.head.message.as_deref(), Some(message));
    assert_eq!(frame.body, b"");
}

// ---------------------------------------------------------------------------------------------------------------
// Echo.

proptest! {
    #![proptest_config(common::config(500))]

    #[test]
    fn an_echo_is_what_was_said(
        said in vec(any::<u8>(), 0..if cfg!(miri) { 30 } else { 300 }),
        choices in vec(any::<u8>(), 0..100),
    ) {
        for sent in [
            answer(Echo::<1>::new(), Some("echo"), &said, &choices),
            answer(Echo::<7>::new(), Some("echo"), &said, &choices),
            answer(Echo::<512>::default(), Some("echo"), &said, &choices),
        ] {
            prop_assert_eq!(sent.len(), 1);
            prop_assert_eq!(&sent[0].body, &said);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Responder.

#[test]
fn a_responder_has_its_limits() {
    let twice = || {
        Responder::<_, 4, 6>::new("twice", |body: &[u8], out: &mut Output<'_>| {
            out.write(body);
            out.write(body);
            Ok(())
        })
    };
    assert!(twice().serves("twice") && !twice().serves("once"));
    for len in 0..=3 {
        assert_eq!(
            answer_once(twice(), "twice", &body(len)).body,
            body(len).repeat(2)
        );
    }
    refused(
        &answer_once(twice(), "twice", &body(4)),
        Code::TooLarge,
        "the answer is longer than 6 octets",
    );
    refused(
        &answer_once(twice(), "twice", &body(5)),
        Code::TooLarge,
        "`twice` takes a body of at most 4 octets",
    );
}

#[test]
fn a_responder_writes_text() {
    let hello = Responder::<_, 4, 16>::new("hello", |_: &[u8], out: &mut Output<'_>| {
        write!(out, "{}-o", 41);
        out.exit(-3);
        Ok(())
    });
    let Frame { head, body, .. } = answer_once(hello, "hello", b"");
    assert_eq!(body, b"41-o");
    assert_eq!((head.exit, head.stream), (Some(-3), Some(Stream::Stdout)));

    let long = Responder::<_, 4, 3>::new("long", |_: &[u8], out: &mut Output<'_>| {
        write!(out, "{}-o", 41);
        Ok(())
    });
    refused(
        &answer_once(long, "long", b""),
        Code::TooLarge,
        "the answer is longer than 3 octets",
    );
}

// ---------------------------------------------------------------------------------------------------------------
// Info.

const INFO: Info = Info {
    name: "a \"board\"",
    version: "1.2.3",
    max_header: 128,
    max_body: u64::MAX,
    max_datagram: 0,
    ops: &["info", "echo"],
};

#[test]
fn info_is_json_and_true() {
    let Frame { body, .. } = answer_once(INFO.into_service(), "info", b"");
    let info: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        info,
        serde_json::json!({
            "name": "a \"board\"",
            "version": "1.2.3",
            "max_header": 128,
            "max_body": u64::MAX,
            "max_datagram": 0,
            "ops": ["info", "echo"],
        })
    );
    refused(
        &answer_once(INFO.into_service(), "info", b"?"),
        Code::TooLarge,
        "`info` takes a body of at most 0 octets",
    );
}

#[test]
fn info_that_has_no_room_is_refused() {
    let info = Info {
        ops: &["an operation with a rather long name"; 8],
        ..INFO
    };
    let Frame { head, .. } = answer_once(info.into_service(), "info", b"");
    assert_eq!(head.error, Some(Code::Internal));
}

// ---------------------------------------------------------------------------------------------------------------
// Commands.

const COMMANDS: &[Command<u32>] = &[
    Command {
        name: "add",
        help: "NUMBER: add to the sum",
        run: |sum, arguments, out| match arguments.parse::<u32>() {
            Ok(number) => {
                *sum += number;
                writeln!(out, "{sum}");
                0
            }
            Err(error) => {
                write!(out, "`{arguments}`: {error}");
                2
            }
        },
    },
    Command {
        name: "zero",
        help: "forget the sum",
        run: |sum, arguments, _| {
            assert_eq!(arguments, "");
            *sum = 0;
            0
        },
    },
];

fn exec(line: &[u8]) -> Frame {
    let commands = Commands::new(0, COMMANDS).into_service::<64, 128>();
    let header = format!(r#"{{"op":"exec","total_size":{}}}"#, line.len());
    let mut connection = Connection::<_, 128>::new(commands);
    let mood = Script::default().mood;
    let stream = frame(&header, line);
    let mut sent = converse(
        &mut connection,
        &mood,
        &stream,
        &mut Choices(&[]),
        |_, _| (),
    );
    assert_eq!(sent.len(), 1);
    sent.remove(0)
}

#[test]
fn commands_are_carried_out() {
    for (line, text, exit) in [
        (&b"add 5"[..], "5\n", 0),
        (b"  add \t 5 \r\n", "5\n", 0),
        (b"add", "``: cannot parse integer from empty string", 2),
        (b"add a b", "`a b`: invalid digit found in string", 2),
        (b"zero", "", 0),
        (
            b"help",
            "add  NUMBER: add to the sum\nzero  forget the sum\n",
            0,
        ),
        (
            b"help me",
            "add  NUMBER: add to the sum\nzero  forget the sum\n",
            0,
        ),
    ] {
        let Frame { head, body, .. } = exec(line);
        assert_eq!(String::from_utf8(body).unwrap(), text);
        assert_eq!((head.exit, head.stream), (Some(exit), Some(Stream::Stdout)));
    }
}

#[test]
fn what_is_no_command_is_not_found() {
    refused(
        &exec(b"fly away"),
        Code::NotFound,
        "no command `fly`; `help` lists them",
    );
    refused(
        &exec(b" "),
        Code::NotFound,
        "no command ``; `help` lists them",
    );
    refused(
        &exec(b"add \xFF"),
        Code::NotFound,
        "a command is a line of UTF-8",
    );
}

#[test]
fn a_command_may_have_the_name_help() {
    const OWN: &[Command<()>] = &[Command {
        name: "help",
        help: "help yourself",
        run: |(), _, _| 5,
    }];
    let commands = Commands::new((), OWN).into_service::<64, 128>();
    assert_eq!(answer_once(commands, "exec", b"help").head.exit, Some(5));
}

// ---------------------------------------------------------------------------------------------------------------
// Several services side by side.

fn named<const ANSWER: u8>(op: &'static str) -> impl Route {
    Responder::<_, 4, 4>::new(op, |_: &[u8], out: &mut Output<'_>| {
        out.write(&[ANSWER]);
        Ok(())
    })
}

#[test]
fn a_request_goes_to_the_first_that_serves_its_op() {
    let pairs = || {
        let left = named::<b'1'>("one").or(named::<b'2'>("two"));
        let right = named::<b'3'>("three").or(named::<b'4'>("one").or(named::<b'5'>("five")));
        left.or(right)
    };
    for (op, answer) in [
        ("one", b"1"),
        ("two", b"2"),
        ("three", b"3"),
        ("five", b"5"),
    ] {
        assert!(pairs().serves(op));
        assert_eq!(answer_once(pairs(), op, b"").body, answer);
    }
    // A place without a service serves nothing.
    let absent = named::<b'0'>("one");
    let absent = Some(absent).filter(|_| false);
    assert_eq!(
        answer_once(Route::or(absent, pairs()), "one", b"").body,
        b"1"
    );
    let present = Some(named::<b'0'>("one"));
    assert_eq!(
        answer_once(Route::or(present, pairs()), "one", b"").body,
        b"0"
    );
    for (op, name) in [(Some("four"), "four"), (Some(""), ""), (None, "")] {
        assert!(!pairs().serves(name));
        let message = format!("there is no op `{name}` here; `info` lists those there are");
        // Its body is drained, whatever it is.
        let sent = answer(pairs(), op, &body(100), &[]);
        assert_eq!(sent.len(), 1);
        refused(&sent[0], Code::UnknownOp, &message);
    }
}

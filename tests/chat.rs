//! `unstick chat` in frames: an operator and peers, over TCP and UDP.

mod chat_common;
mod common;

use std::process::Command;

use chat_common::{Talker, event};
use common::{Server, run, unstick};
use rustix::process::Signal;

const TRANSPORTS: [&[&str]; 2] = [&[], &["--udp"]];

#[test]
fn two_peers_and_an_operator_and_one_is_killed() {
    for transport in TRANSPORTS {
        let (mut operator, address) = Talker::operator(transport);
        let mut first = Talker::guest(&address, transport);
        first.say("hello 世界");
        assert_eq!(operator.event(), "#1 comes");
        assert_eq!(operator.event(), "#1: hello 世界");
        operator.say("hello, first");
        assert_eq!(first.event(), ": hello, first");

        let mut second = Talker::guest(&address, transport);
        second.say("I am the second 😀");
        assert_eq!(operator.event(), "#2 comes");
        let line = operator.next();
        assert_eq!(event(&line), "#2: I am the second 😀");
        operator.say("@1 to one");
        operator.say("to one again");
        assert_eq!(
            [first.event(), first.event()],
            [": to one", ": to one again"]
        );
        // By its address, which is in front of what it says.
        let second_at = line.split(' ').nth(2).expect("an address");
        let second_at = second_at.trim_end_matches(':');
        operator.say(&format!("@{second_at} to two"));
        operator.say("@@2 to two again");
        assert_eq!(
            [second.event(), second.event()],
            [": to two", ": @2 to two again"]
        );
        // Who speaks is answered.
        first.say("and me?");
        assert_eq!(operator.event(), "#1: and me?");
        operator.say("you too");
        assert_eq!(first.event(), ": you too");

        operator.say("   ");
        let refused = "unstick: an empty line is no message: not sent";
        assert_eq!(operator.error(), refused);
        first.say("");
        assert_eq!(first.error(), refused);
        operator.say("@");
        assert!(operator.error().contains("here: #1 127.0.0.1:"));
        operator.say("@7 hello");
        assert!(operator.error().contains("nobody here is @7: here: #1 "));

        second.signal(Signal::KILL);
        second.exit();
        let gone = operator.event();
        let why = match transport {
            [] => "its connection ended without a goodbye",
            _ => "no answer for 5 seconds",
        };
        assert_eq!(gone, format!("#2 is gone: {why}"));
        operator.say("@2 hello?");
        assert!(operator.error().contains("nobody here is @2"));

        // The next one is served, and those who are there are told goodbye.
        let mut third = Talker::guest(&address, transport);
        third.say("and I am the third");
        assert_eq!(operator.event(), "#3 comes");
        assert_eq!(operator.event(), "#3: and I am the third");
        first.say("Q");
        assert_eq!(operator.event(), "#1 leaves");
        first.exits_well();
        operator.say("bye then");
        operator.say("q");
        assert_eq!([third.event(), third.event()], [": bye then", " leaves"]);
        third.exits_well();
        operator.exits_well();
    }
}

#[test]
fn an_operator_that_vanishes_is_told_of() {
    for transport in TRANSPORTS {
        let (operator, address) = Talker::operator(transport);
        let mut guest = Talker::guest(&address, transport);
        guest.say("hello");
        assert_eq!(operator.event(), "#1 comes");
        operator.signal(Signal::KILL);
        drop(operator);
        let (status, lines, errors) = guest.exit();
        assert_eq!((status.code(), lines.len()), (Some(1), 0));
        let start = format!("unstick: {address} is gone: ");
        assert!(
            errors.len() == 1 && errors[0].starts_with(&start),
            "{errors:?}"
        );
    }
}

#[test]
fn piped_lines_are_all_said_and_the_last_answer_is_heard() {
    for transport in TRANSPORTS {
        let (mut operator, address) = Talker::operator(transport);
        let mut guest = Talker::guest(&address, transport);
        for line in 0..200 {
            guest.say(&format!("line {line}"));
        }
        guest.end_input();
        assert_eq!(operator.event(), "#1 comes");
        for line in 0..200 {
            assert_eq!(operator.event(), format!("#1: line {line}"));
        }
        operator.say("200 lines, and the last answer");
        assert_eq!(guest.event(), ": 200 lines, and the last answer");
        guest.exits_well();
        assert_eq!(operator.event(), "#1 leaves");
        operator.signal(Signal::TERM);
        operator.exits_well();
    }
}

#[test]
fn signals_leave_as_a_q_does() {
    for transport in TRANSPORTS {
        for signal in [Signal::TERM, Signal::INT] {
            let (mut operator, address) = Talker::operator(transport);
            let mut staying = Talker::guest(&address, transport);
            let mut leaving = Talker::guest(&address, transport);
            for guest in [&mut staying, &mut leaving] {
                guest.say("here");
            }
            let mut events = [operator.event(), operator.event(), operator.event()].to_vec();
            events.push(operator.event());
            assert!(events.contains(&"#2: here".to_owned()), "{events:?}");
            leaving.signal(signal);
            assert!(operator.event().ends_with(" leaves"));
            leaving.exits_well();
            operator.signal(signal);
            assert_eq!(staying.event(), " leaves");
            staying.exits_well();
            operator.exits_well();
        }
    }
}

#[test]
fn input_that_cannot_be_read_is_told_of_once_and_is_the_end() {
    let (operator, address) = Talker::operator(&[]);
    let mut command = Command::new("/bin/sh");
    // A directory.
    let script = "exec \"$0\" chat \"$1\" < /";
    command.args(["-c", script, env!("CARGO_BIN_EXE_unstick"), &address]);
    let mut guest = Talker::start(command);
    assert_eq!(
        [operator.event(), operator.event()],
        ["#1 comes", "#1 leaves"]
    );
    let (status, _, errors) = guest.exit();
    assert!(status.success());
    assert_eq!(
        errors,
        ["unstick: cannot read standard input: is a directory"]
    );
}

#[test]
fn a_server_that_does_not_chat_says_so() {
    let server = Server::start(&[]);
    for (address, transport) in [(&server.tcp, TRANSPORTS[0]), (&server.udp, TRANSPORTS[1])] {
        let mut guest = Talker::guest(address, transport);
        guest.say("hello");
        let (status, lines, errors) = guest.exit();
        assert_eq!((status.code(), lines), (Some(1), Vec::new()));
        let sentence = format!("unstick: {address} refuses: there is no op `chat` here");
        assert!(
            errors.len() == 1 && errors[0].starts_with(&sentence),
            "{errors:?}"
        );
        assert!(errors[0].ends_with("(unknown_op)"), "{errors:?}");
    }
}

#[test]
fn what_cannot_be_said_is_refused_and_not_changed() {
    let gbk = ["--wire", "raw", "--encoding", "gbk"];
    let (mut operator, address) = Talker::operator(&gbk);
    let mut guest = Talker::guest(&address, &gbk);
    guest.say("a smile: 😀");
    assert_eq!(
        guest.error(),
        "unstick: `a smile: 😀` cannot be said in this --encoding: not sent"
    );
    guest.say(&"x".repeat(65_537));
    assert!(guest.error().contains("65537 octets is too long"));
    guest.say("words");
    assert_eq!(
        [operator.event(), operator.event()],
        ["#1 comes", "#1: words"]
    );
    operator.say("q");
    assert_eq!(guest.event(), " leaves");
    guest.exits_well();
    operator.exits_well();

    let udp = ["--udp", "--wire", "raw"];
    let (operator, address) = Talker::operator(&udp);
    let mut guest = Talker::guest(&address, &udp);
    guest.say(&"x".repeat(65_508));
    assert!(
        guest
            .error()
            .contains("65508 octets is too long: the limit is 65507")
    );
    guest.say(&"x".repeat(65_507));
    assert_eq!(operator.event(), "#1 comes");
    assert_eq!(operator.event().len(), "#1: ".len() + 65_507);
}

#[test]
fn events_are_lines_of_json_too() {
    let (mut operator, address) = {
        let arguments = ["chat", "--json", "--listen", "127.0.0.1:0"];
        let operator = Talker::start(unstick(arguments));
        let line = json(&operator.next());
        assert_eq!(line["event"], "listening");
        assert_eq!(line["transport"], "tcp");
        let address = line["address"].as_str().expect("a string").to_owned();
        (operator, address)
    };
    let mut guest = Talker::guest(&address, &["--json"]);
    guest.say("one \u{202e} two");
    let comes = json(&operator.next());
    assert_eq!(
        (&comes["event"], &comes["peer"]),
        (&"comes".into(), &1.into())
    );
    let says = json(&operator.next());
    assert_eq!((&says["event"], &says["peer"]), (&"says".into(), &1.into()));
    assert_eq!(says["text"], "one \u{202e} two");
    assert!(says["time"].as_str().is_some_and(|time| time.contains('T')));
    operator.say("three");
    let says = json(&guest.next());
    assert_eq!(
        (&says["address"], &says["text"]),
        (&address.into(), &"three".into())
    );
    assert_eq!(says.get("peer"), None);
    operator.signal(Signal::KILL);
    let gone = json(&guest.next());
    assert_eq!(gone["event"], "gone");
    assert!(gone["why"].as_str().is_some_and(|why| !why.is_empty()));
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn wrong_command_lines() {
    for (wrong, code) in [
        (&["chat"][..], 2),
        (&["chat", "--listen", "127.0.0.1:0", "127.0.0.1:1"], 2),
        (&["chat", "--encoding", "gbk", "127.0.0.1:1"], 2),
        (&["chat", "--udp", "--wire", "length", "127.0.0.1:1"], 2),
        (
            &[
                "chat",
                "--wire",
                "raw",
                "--encoding",
                "utf-16",
                "127.0.0.1:1",
            ],
            2,
        ),
        (&["chat", "127.0.0.1:1"], 1),
        (&["chat", "--listen", "192.0.2.1:1"], 1),
    ] {
        let output = run(unstick(wrong));
        assert_eq!(output.status.code(), Some(code), "{wrong:?}");
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
}

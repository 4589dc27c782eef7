//! `unstick chat` with the programs that people learn from: stock Python, `input()` in a loop, in UTF-8 and in GBK.

mod chat_common;
mod common;

use std::thread;

use chat_common::Talker;
use rustix::process::Signal;

const ENCODINGS: [&str; 2] = ["utf-8", "gbk"];
const WIRES: [&str; 3] = ["raw", "length", "header"];

/// Each transport and wire with the programs for it: a client, a server and the options.
fn programs() -> Vec<(String, String, Vec<&'static str>)> {
    let tcp = WIRES.map(|wire| {
        let names = (format!("chat_client_{wire}"), format!("chat_server_{wire}"));
        (names.0, names.1, vec!["--wire", wire])
    });
    let udp = (
        "chat_udp_client".to_owned(),
        "chat_udp_server".to_owned(),
        vec!["--udp", "--wire", "raw"],
    );
    tcp.into_iter().chain([udp]).collect()
}

/// Side by side: most of the time all wait.
fn each(test: impl Fn(&str, &str, &[&str], &str) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for encoding in ENCODINGS {
            for (client, server, options) in programs() {
                let options = [&options[..], &["--encoding", encoding]].concat();
                scope.spawn(move || test(&client, &server, &options, encoding));
            }
        }
    });
}

#[test]
fn python_talks_to_an_operator() {
    each(|client, _, options, encoding| {
        let (mut operator, address) = Talker::operator(options);
        // One leaves, one is told goodbye, one is killed; each time the next is served.
        for round in [1, 4, 7] {
            let mut python = Talker::older(client, &[&address, encoding]);
            python.say("你好");
            assert_eq!(operator.event(), format!("#{round} comes"), "{options:?}");
            assert_eq!(operator.event(), format!("#{round}: 你好"));
            operator.say("hello 世界");
            assert_eq!(python.next(), "server: hello 世界", "{options:?}");
            python.say("again");
            assert_eq!(operator.event(), format!("#{round}: again"));
            operator.say("and again");
            assert_eq!(python.next(), "server: and again");
            python.say("Q");
            assert_eq!(operator.event(), format!("#{round} leaves"));
            python.exits_well();

            let number = round + 1;
            let mut python = Talker::older(client, &[&address, encoding]);
            python.say("me too");
            assert_eq!(operator.event(), format!("#{number} comes"));
            assert_eq!(operator.event(), format!("#{number}: me too"));
            operator.say(&format!("@{number} q"));
            assert_eq!(operator.event(), format!("#{number} is said goodbye to"));
            assert_eq!(python.next(), "the server has left", "{options:?}");
            python.exits_well();

            let number = round + 2;
            let mut python = Talker::older(client, &[&address, encoding]);
            python.say("wait for me");
            assert_eq!(operator.event(), format!("#{number} comes"));
            assert_eq!(operator.event(), format!("#{number}: wait for me"));
            python.signal(Signal::KILL);
            python.exit();
            if !options.contains(&"--udp") {
                let gone = operator.event();
                assert!(gone.starts_with(&format!("#{number} is gone: ")), "{gone}");
            }
        }
        operator.say("q");
        operator.exits_well();
    });
}

#[test]
fn we_talk_to_a_server_in_python() {
    each(|_, server, options, encoding| {
        let (mut python, address) = Talker::older_server(server, encoding);
        for goodbye in ["q", "Q"] {
            let mut guest = Talker::guest(&address, options);
            guest.say("你好");
            assert_eq!(python.next(), "client: 你好", "{options:?}");
            python.say("hello 世界");
            assert_eq!(guest.event(), ": hello 世界", "{options:?}");
            guest.say("again");
            assert_eq!(python.next(), "client: again");
            python.say("and again");
            assert_eq!(guest.event(), ": and again");
            guest.say(goodbye);
            assert_eq!(python.next(), "the client has left");
            guest.exits_well();
        }
        let mut guest = Talker::guest(&address, options);
        guest.say("a last time");
        assert_eq!(python.next(), "client: a last time");
        python.say("q");
        assert_eq!(guest.event(), " leaves");
        guest.exits_well();
    });
}

#[test]
fn piped_lines_wait_for_their_turn() {
    let lines = ["一", "two", "three", "四"];
    each(|client, server, options, encoding| {
        // All of it is there at once, and yet each line is a message.
        let (mut python, address) = Talker::older_server(server, encoding);
        let mut guest = Talker::guest(&address, options);
        for line in lines {
            guest.say(line);
            python.say(&format!("{line}, indeed"));
        }
        guest.end_input();
        for line in lines {
            assert_eq!(python.next(), format!("client: {line}"), "{options:?}");
            assert_eq!(guest.event(), format!(": {line}, indeed"), "{options:?}");
        }
        assert_eq!(python.next(), "the client has left");
        guest.exits_well();

        let (mut operator, address) = Talker::operator(options);
        for line in lines {
            operator.say(&format!("{line}, indeed"));
        }
        // Two peers, one after the other; lines are not spent on nobody.
        for (number, lines) in [(1, &lines[..2]), (2, &lines[2..])] {
            let mut python = Talker::older(client, &[&address, encoding]);
            for line in lines {
                python.say(line);
            }
            python.say("q");
            assert_eq!(operator.event(), format!("#{number} comes"), "{options:?}");
            for line in lines {
                assert_eq!(operator.event(), format!("#{number}: {line}"));
                assert_eq!(python.next(), format!("server: {line}, indeed"));
            }
            assert_eq!(operator.event(), format!("#{number} leaves"));
            python.exits_well();
            if number == 1 {
                let waits = operator.error();
                let end = " is gone: a line waits for who speaks next";
                assert!(
                    waits.starts_with("unstick: #1 ") && waits.ends_with(end),
                    "{waits}"
                );
            }
        }
        operator.end_input();
        operator.exits_well();
    });
}

#[test]
fn a_server_that_is_killed_is_told_of() {
    for wire in WIRES {
        let (mut python, address) = Talker::older_server(&format!("chat_server_{wire}"), "gbk");
        let options = ["--wire", wire, "--encoding", "gbk"];
        let mut guest = Talker::guest(&address, &options);
        guest.say("你好");
        assert_eq!(python.next(), "client: 你好");
        python.signal(Signal::KILL);
        python.exit();
        let (status, lines, errors) = guest.exit();
        assert_eq!((status.code(), lines), (Some(1), Vec::new()), "{wire}");
        let start = format!("unstick: {address} is gone: ");
        assert!(
            errors.len() == 1 && errors[0].starts_with(&start),
            "{errors:?}"
        );
    }
    let (mut python, address) = Talker::older_server("chat_udp_server", "gbk");
    let mut guest = Talker::guest(&address, &["--udp", "--wire", "raw"]);
    guest.say("hello");
    assert_eq!(python.next(), "client: hello");
    python.signal(Signal::KILL);
    python.exit();
    // The system says so to who sends to it.
    guest.say("are you there?");
    let (status, _, errors) = guest.exit();
    assert_eq!(status.code(), Some(1));
    let sentence = format!("unstick: {address} is gone: nothing listens there");
    assert_eq!(errors, [sentence]);
}

#[test]
fn long_messages_arrive_whole() {
    // 9000 octets, and 6000 in GBK: several receives of 1024.
    let long = "测试不断".repeat(750);
    for encoding in ENCODINGS {
        for wire in ["length", "header"] {
            let options = ["--wire", wire, "--encoding", encoding];
            let (mut python, address) =
                Talker::older_server(&format!("chat_server_{wire}"), encoding);
            let mut guest = Talker::guest(&address, &options);
            guest.say("?");
            python.say(&long);
            assert!(guest.event() == format!(": {long}"), "{options:?}");

            let (mut operator, address) = Talker::operator(&options);
            let mut python = Talker::older(&format!("chat_client_{wire}"), &[&address, encoding]);
            python.say(&long);
            assert_eq!(operator.event(), "#1 comes");
            assert!(heard(&operator, long.len()) == long, "{options:?}");
            operator.say(&long);
            assert!(python.next() == format!("server: {long}"), "{options:?}");
        }
        for (client, transport) in [
            ("chat_client_raw", &[][..]),
            ("chat_udp_client", &["--udp"]),
        ] {
            let options = [&["--wire", "raw", "--encoding", encoding], transport].concat();
            let (operator, address) = Talker::operator(&options);
            let mut python = Talker::older(client, &[&address, encoding]);
            python.say(&long);
            assert_eq!(operator.event(), "#1 comes");
            assert!(heard(&operator, long.len()) == long, "{options:?}");
        }
    }
}

/// What peer 1 says, in as many messages as the network makes of it, until there are so many octets.
fn heard(operator: &Talker, len: usize) -> String {
    let mut heard = String::new();
    while heard.len() < len {
        let event = operator.event();
        heard += event.strip_prefix("#1: ").expect("a message");
    }
    heard
}

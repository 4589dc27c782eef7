//! The log of `unstick serve`: what peers send stays inside of it, and colours are for who wants them.

mod common;

use std::net::UdpSocket;

use common::{SOON, Server, python, run, text, unstick};
use rustix::process::Signal;
use serde_json::Value;

/// An operation that clears the screen, turns text around and passes for another line of a log.
const HOSTILE: &str = r"\u001b[2J\u009b31m\u202e\n2026-01-01T00:00:00Z ERROR forged";

/// What a server logs of a peer that asks for that.
fn log_of(arguments: &[&str]) -> Vec<String> {
    let mut server = Server::start_logging(arguments);
    let log = server.log.take().expect("asked for");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    let header = format!("{{\"op\":\"{HOSTILE}\",\"total_size\":0}}");
    let len = u32::try_from(header.len()).expect("short").to_le_bytes();
    let frame = [&len, header.as_bytes()].concat();
    // Twice the prefix: what is behind it is not what is announced.
    let broken = [&len[..], &frame].concat();
    for datagram in [frame, broken] {
        socket.send_to(&datagram, &server.udp).expect("sent");
        socket.recv(&mut [0; 2048]).expect("an answer");
    }
    server.signal(Signal::TERM);
    assert!(server.exit().success());
    log.rest()
}

#[test]
fn json_is_an_object_a_line() {
    let lines = log_of(&["-vvv", "--log-format", "json"]);
    let mut messages = Vec::new();
    for line in &lines {
        assert!(
            line.chars().all(|c| !c.is_control() && c != '\u{202e}'),
            "{line:?}"
        );
        let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for key in ["timestamp", "level", "target", "message"] {
            assert!(object[key].is_string(), "{line}");
        }
        messages.push(object["message"].as_str().expect("text").to_owned());
    }
    assert!(messages.contains(&"stopped".to_owned()), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.contains("bad_header")),
        "{lines:?}"
    );
}

#[test]
fn text_is_a_line_an_event_whatever_peers_send() {
    let lines = log_of(&["-vvv"]);
    assert!(
        lines.iter().any(|line| line.contains("bad_header")),
        "{lines:?}"
    );
    for line in &lines {
        assert!(
            line.chars().all(|c| !c.is_control() && c != '\u{202e}'),
            "{line:?}"
        );
        assert!(!line.starts_with("2026-01-01"), "{line:?}");
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    let mut server = Server::start_logging(&["-vvv"]);
    drop(server.log.take());
    // Whoever reads the log gives up with the first line that is too many.
    for _ in 0..5 {
        server.assert_alive();
    }
    server.signal(Signal::TERM);
    assert!(server.exit().success());
}

#[test]
fn why_it_does_not_start_is_in_the_log() {
    for (arguments, code) in [
        (&["--tcp", "192.0.2.1:1"][..], 1),
        (&["--tcp", "0.0.0.0:0", "--allow-exec"], 2),
    ] {
        let mut command = unstick(["serve", "--log-format", "json"]);
        command.args(arguments);
        let output = run(command);
        assert_eq!(output.status.code(), Some(code));
        let line: Value = serde_json::from_slice(&output.stderr).expect("one object");
        assert_eq!(line["level"], "ERROR");
        assert!(
            line["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
}

#[test]
fn why_it_does_not_start_is_said_where_the_log_leaves_it_out() {
    let mut command = unstick(["serve", "--log-format", "json", "--tcp", "192.0.2.1:1"]);
    command.env("RUST_LOG", "unstick_std=debug");
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("unstick: cannot listen on tcp 192.0.2.1:1: "),
        "{stderr:?}"
    );
}

#[test]
fn no_color_is_heeded_everywhere() {
    let shown = |no_color: Option<&str>, arguments: &[&str]| {
        let mut command = python("terminal.py");
        command.arg(env!("CARGO_BIN_EXE_unstick")).args(arguments);
        command
            .env_remove("RUST_LOG")
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        command.envs(no_color.map(|value| ("NO_COLOR", value)));
        let output = run(command);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let serve = &["serve", "-v", "--tcp", "127.0.0.1:0"][..];
    let wrong = &["serve", "--fly"][..];
    let help = &["--help"][..];
    for (arguments, said) in [(serve, "stopped"), (wrong, "--fly"), (help, "serve")] {
        for (no_color, coloured) in [(None, true), (Some(""), true), (Some("1"), false)] {
            let shown = shown(no_color, arguments);
            assert!(shown.contains(said), "{shown:?}");
            assert_eq!(shown.contains("\x1b["), coloured, "{no_color:?} {shown:?}");
        }
    }
}

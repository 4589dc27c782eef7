//! `--json` of `ping` and `exec`: lines for a script to read.

mod common;

use std::net::UdpSocket;

use common::{Running, Server, run, text, unstick};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Each line an object.
fn objects(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Value> {
    let lines = lines.into_iter();
    lines
        .map(|line| serde_json::from_str(line.as_ref()).expect("JSON"))
        .collect()
}

#[test]
fn each_piece_of_output_is_a_line_and_the_exit_status_the_last() {
    let server = Server::start(&["--allow-exec"]);
    for transport in [&[&*server.tcp][..], &["--udp", &server.udp]] {
        // A character in two pieces, one that is none, and what would steer a terminal.
        let command = "printf 'a\\344\\270'; sleep 0.3; printf '\\226\\n'; sleep 0.3; \
            printf '\\033[2J\\377' >&2; printf '\\344' ; exit 7";
        let mut words = vec!["exec", "--json"];
        words.extend(transport);
        words.extend(["--", command]);
        let output = run(unstick(words));
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(text(&output.stderr), "");
        let stdout = text(&output.stdout);
        assert!(!stdout.contains('\x1b'), "{stdout:?}");
        let lines = objects(stdout.lines());
        assert_eq!(lines.last(), Some(&json!({"exit": 7})));
        let of = |stream: &str, key: &str| -> String {
            let lines = lines.iter().filter(|line| line["stream"] == stream);
            lines.filter_map(|line| line[key].as_str()).collect()
        };
        assert_eq!(of("stdout", "text"), "a世\n");
        assert_eq!(of("stdout", "hex"), "e4");
        assert_eq!(of("stderr", "hex"), "1b5b324aff");
    }
}

#[test]
fn what_goes_wrong_is_said_as_ever() {
    let server = Server::start(&[]);
    let output = run(unstick(["exec", "--json", &server.tcp, "--", "true"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("denied"));
    assert_eq!(text(&output.stdout), "");
    let wire = ["exec", "--json", "--wire", "raw", &server.tcp, "--", "true"];
    let output = run(unstick(wire));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--json goes with frames"));
}

#[test]
fn each_answer_is_a_line_and_all_of_them_the_last() {
    let server = Server::start(&[]);
    for transport in [&[&*server.tcp][..], &["--udp", &server.udp]] {
        let mut words = vec!["ping", "--json", "-c", "3", "-i", "0"];
        words.extend(transport);
        let output = run(unstick(words));
        assert!(output.status.success());
        let lines = objects(text(&output.stdout).lines());
        assert_eq!(lines.len(), 4, "{lines:?}");
        for (line, seq) in lines.iter().zip(1..=3) {
            assert_eq!(line["seq"], seq);
            assert_eq!(line["octets"], 0);
            assert!(line["time_ms"].as_f64() > Some(0.0), "{line}");
        }
        let last = &lines[3];
        assert_eq!((&last["asked"], &last["answered"]), (&json!(3), &json!(3)));
        let [min, avg, max] = ["min_ms", "avg_ms", "max_ms"].map(|key| last[key].as_f64());
        assert!(min.is_some() && min <= avg && avg <= max, "{last}");
    }
}

#[test]
fn what_is_lost_has_an_error_and_an_interrupt_the_summary() {
    // Nobody answers here.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = silent.local_addr().expect("bound").to_string();
    drop(silent);
    let output = run(unstick(["ping", "--json", "--udp", "-c", "1", &address]));
    assert_eq!(output.status.code(), Some(1));
    let lines = objects(text(&output.stdout).lines());
    assert_eq!(lines[0]["seq"], 1);
    assert!(
        lines[0]["error"]
            .as_str()
            .is_some_and(|text| text.contains(&address))
    );
    assert_eq!(lines[1], json!({"asked": 1, "answered": 0}));

    let server = Server::start(&[]);
    let mut ping = Running::start(unstick(["ping", "--json", "-i", "600", &server.tcp]));
    let stdout = ping.stdout();
    assert_eq!(objects([stdout.next()])[0]["seq"], 1);
    ping.signal(Signal::INT);
    assert!(ping.exit().success());
    assert_eq!(objects(stdout.rest())[0]["answered"], 1);
}

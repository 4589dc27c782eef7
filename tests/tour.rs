//! The tour: each program of `examples/` runs by itself to its end, and shows what it says.
//!
//! `cargo test` builds them. `cargo test --test tour` does not: `cargo build --examples` before it does.

mod common;

use std::path::Path;
use std::process::Command;

use common::{run, text};

/// What an example prints.
fn example(name: &str) -> String {
    let command = Path::new(env!("CARGO_BIN_EXE_unstick"));
    let path = command.with_file_name("examples").join(name);
    assert!(path.exists(), "{name} is not built: cargo build --examples");
    let mut command = Command::new(path);
    command.env_remove("RUST_LOG");
    let output = run(command);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{name}: {stderr}");
    assert_eq!(stderr, "", "{name}");
    text(&output.stdout).to_owned()
}

/// Fails unless these lines are there, in this order, others between them or not; what comes behind the last one.
#[track_caller]
fn in_order<'o>(output: &'o str, expected: &[&str]) -> &'o str {
    let mut rest = output;
    for line in expected {
        // A whole line but for what it is indented by.
        let found = rest.match_indices(line).find(|(at, _)| {
            let before = rest[..*at].rsplit('\n').next().unwrap_or_default();
            let behind = &rest[at + line.len()..];
            before.trim().is_empty() && (behind.is_empty() || behind.starts_with('\n'))
        });
        let Some((at, _)) = found else {
            panic!("no line {line:?} where it should be:\n{output}");
        };
        rest = &rest[at + line.len()..];
    }
    rest
}

/// The number in front of `what`.
#[track_caller]
fn number(output: &str, what: &str) -> u64 {
    let before = output.split(what).next().unwrap_or_default();
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).expect(what)
}

#[test]
fn sticky() {
    let output = example("sticky");
    let rest = in_order(
        &output,
        &[
            r#"send "hello""#,
            r#"send "world""#,
            r#"recv(1024) returns 10: "helloworld""#,
            r#"send "hello world""#,
            r#"recv(4) returns 4: "hell""#,
            r#"recv(4) returns 4: "o wo""#,
            r#"recv(4) returns 3: "rld""#,
        ],
    );
    assert!(number(rest, " recvs, the longest of ") > 1, "{output}");
    in_order(
        rest,
        &[
            "set_nonblocking(true)",
            "recv(1024) fails: would block",
            "set_read_timeout(50 ms)",
            "recv(1024) fails: would block",
            r#"recv(1024) returns 3: "bye""#,
            "recv(1024) returns 0",
            "recv(1024) returns 0",
            r#"\x10\x00\x00\x00{\"total_size\":5}hello"#,
            r#"\x10\x00\x00\x00{\"total_size\":5}world"#,
            r#"recv(1), as often as it takes: 50; messages ["hello", "world"]"#,
            r#"recv(4), as often as it takes: 13; messages ["hello", "world"]"#,
            r#"recv(1024), as often as it takes: 1; messages ["hello", "world"]"#,
        ],
    );
}

#[test]
fn length() {
    let received = [
        r#"received "hello""#,
        r#"received """#,
        r#"received "世界""#,
    ];
    let output = example("length");
    let rest = in_order(&output, &[r#"sent     [00, 05] "hello""#]);
    let rest = in_order(rest, &received);
    let rest = in_order(rest, &[r#"sent     [09, 00, 00, 00] "hello""#]);
    let rest = in_order(rest, &received);
    let refused = "refused: the prefix announces a body of 65535 octets: too long";
    in_order(rest, &[refused]);
}

#[test]
fn framed() {
    let output = example("framed");
    let mut rest = in_order(&output, &["prefix [2d, 00, 00, 00]"]);
    for len in [1, 7, 4096] {
        rest = in_order(
            rest,
            &[
                &format!("read at most {len} at a time:"),
                r#"Samples { total_size: 3, sensor: "温度", hertz: 10 }"#,
                "[21, 22, 22]",
                r#"Samples { total_size: 5, sensor: "noise 🔊", hertz: 10 }"#,
                "[3, 1, 4, 1, 5]",
            ],
        );
    }
}

#[test]
fn responder() {
    in_order(
        &example("responder"),
        &[
            r#"echo "hello 世界""#,
            "hello 世界",
            "the server refuses: I count words of UTF-8 only (internal)",
            r#"count "how many words?""#,
            "3 words",
        ],
    );
}

#[test]
fn udp() {
    let output = example("udp");
    assert!(output.contains(r#": "payment 1: 1 coin""#), "{output}");
    let reply = r#"sent 45 octets; the reply: {"total_size":18,"id":7}payment 2: 2 coins"#;
    in_order(
        &output,
        &[reply, reply, reply, "Four datagrams, 2 payments."],
    );
}

#[test]
fn chat() {
    let output = example("chat");
    let talk = [
        "A guest comes:",
        r#"operator: it says "hello 世界""#,
        r#"guest: the operator says "8 characters, I see""#,
        r#"guest: the operator says "go on""#,
    ];
    let rest = in_order(&output, &talk);
    let rest = in_order(rest, &["operator: it leaves"]);
    let rest = in_order(rest, &talk);
    let vanished = [
        "operator: an empty message, of which nothing is shown",
        "operator: it has vanished, without a word",
    ];
    in_order(rest, &vanished);
}

#[test]
fn remote_command() {
    let output = example("remote_command");
    // The times are as they are, and so is what comes first of two streams.
    let lines = output.lines().map(|line| match line.split_once(" s  ") {
        Some((_seconds, rest)) => rest,
        None => line,
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    in_order(
        &lines,
        &["stdout  1", "stdout  2", "stdout  3", "exit status 0"],
    );
    in_order(&lines, &["stdout  fine", "exit status 7"]);
    in_order(&lines, &["stderr  not so fine", "exit status 7"]);
}

#[test]
fn file_transfer() {
    let output = example("file_transfer");
    let rest = in_order(
        &output,
        &[
            "the same: true",
            "get once more: there is a file of this name already",
            "A connection that breaks half way:",
        ],
    );
    assert!(rest.contains("put, interrupted: "), "{output}");
    let rest = in_order(rest, &["is there such a file: false"]);
    let kept = number(rest, " of them there before; sha256 ");
    assert!(kept > 0 && kept < 1 << 20, "{output}");
    in_order(rest, &["the same: true"]);
}

#[test]
fn socketserver() {
    let output = example("socketserver");
    in_order(
        &output,
        &[
            "tcp hello -> HELLO",
            "tcp straße -> STRASSE",
            "udp datagram -> DATAGRAM",
        ],
    );
    assert_eq!(output.matches(" is here\n").count(), 2, "{output}");
    assert_eq!(output.matches(" is gone\n").count(), 2, "{output}");
}

#[test]
fn nal_echo() {
    let answers = ["echo: hello", "upper: HELLO"];
    let output = example("nal_echo");
    let rest = in_order(&output, &["on embedded-nal:"]);
    let rest = in_order(rest, &answers);
    let rest = in_order(rest, &["on threads:"]);
    in_order(in_order(rest, &answers), &["the same: true"]);
}

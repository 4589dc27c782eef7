//! The server against a stock Python: its frames in all pieces, and octets that are none.

mod common;

use std::process::Command;

use common::{Server, python, run, text};

const README: &str = include_str!("../README.md");

fn passes(script: &str, addresses: &[&str]) {
    let mut command = python(script);
    command.args(addresses);
    let output = run(command);
    assert!(
        output.status.success(),
        "{script}: {}",
        text(&output.stderr)
    );
}

#[test]
fn frames_in_any_pieces_are_answered_in_order() {
    let mut server = Server::start(&[]);
    passes("frames.py", &[&server.tcp, &server.udp]);
    server.assert_alive();
}

#[test]
fn what_is_no_frame_gets_an_error_frame_and_the_end() {
    let mut server = Server::start(&[]);
    passes("malformed.py", &[&server.tcp, "4096"]);
    server.assert_alive();
    // Room for all of the brackets.
    let mut server = Server::start(&["--max-header", "16384"]);
    passes("malformed.py", &[&server.tcp, "16384"]);
    server.assert_alive();
}

#[test]
fn the_readme_asks_in_python() {
    let server = Server::start(&[]);
    let (_, script) = README.split_once("```python\n").expect("a script");
    let (script, _) = script.split_once("```").expect("its end");
    let (_, port) = server.tcp.rsplit_once(':').expect("a port");
    assert!(script.contains("8896"), "the default port");
    let mut command = Command::new("python3");
    command.args(["-s", "-c", &script.replace("8896", port)]);
    let output = run(command);
    let echo = "({'total_size': 12, 'id': 1}, b'hello \\xe4\\xb8\\x96\\xe7\\x95\\x8c')\n";
    assert_eq!(text(&output.stdout), echo, "{}", text(&output.stderr));
}

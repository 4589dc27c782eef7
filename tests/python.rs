//! The server against a stock Python: its frames in all pieces, and octets that are none.

mod common;

use common::{Server, python, run, text};

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
    let mut server = Server::start(&["--max-header", "8192"]);
    passes("malformed.py", &[&server.tcp, "8192"]);
    server.assert_alive();
}

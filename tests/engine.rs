//! `unstick serve --engine nal`: the same answers from the engine for microcontrollers.

mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::{Gate, Running, Server, connect, run, text, unstick};
use rustix::process::Signal;

#[test]
fn echo_and_info_over_tcp_and_udp() {
    let server = Server::start(&["--engine", "nal"]);
    for (transport, address) in [(None, &server.tcp), (Some("--udp"), &server.udp)] {
        let ask = |what: &[&str]| {
            let mut command = unstick([what[0]]);
            command.args(transport).arg(address).args(&what[1..]);
            let output = run(command);
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).to_owned()
        };
        assert_eq!(ask(&["echo", "hello 世界"]), "hello 世界");
        assert!(ask(&["info"]).contains("echo"));
    }
}

#[test]
fn commands_write_as_they_go_and_exit_as_they_do() {
    let server = Server::start(&["--engine", "nal", "--allow-exec"]);
    let mut gate = Gate::new("engine");
    let command = format!("echo one; {}; echo two >&2; exit 7", gate.wait());
    let mut running = Running::start(unstick(["exec", &server.tcp, "--", &command]));
    let (stdout, stderr) = (running.stdout(), running.stderr());
    assert_eq!(stdout.next(), "one");
    // While it waits, others are served.
    let output = run(unstick(["echo", &server.tcp, "hello"]));
    assert_eq!(text(&output.stdout), "hello");
    gate.open();
    assert_eq!(stderr.next(), "two");
    assert_eq!(running.exit().code(), Some(7));
}

#[test]
fn a_signal_ends_it_once_nothing_is_in_flight() {
    let mut server = Server::start(&["--engine", "nal"]);
    let mut idle = connect(&server.tcp);
    idle.write_all(b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}hello")
        .expect("sent");
    idle.read_exact(&mut [0; 25]).expect("the echo");
    let begun = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(idle.read(&mut [0]).expect("the end"), 0);
    drop(idle);
    assert!(server.exit().success());
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[test]
fn an_address_of_its_own_cannot_be_had() {
    let output = run(unstick([
        "serve",
        "--engine",
        "nal",
        "--tcp",
        "192.0.2.1:0",
    ]));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("every address"));
}

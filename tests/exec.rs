//! `unstick exec`: output as it is written, the exit code, many at once, and nobody left behind.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Gate, Running, Server, eventually, is_running, run, text, unstick};
use rustix::process::{Pid, Signal};

fn exec(server: &Server, line: &str) -> std::process::Command {
    unstick(["exec", &server.tcp, "--", line])
}

#[test]
fn output_is_printed_when_it_is_written() {
    let server = Server::start(&["--allow-exec"]);
    for udp in [false, true] {
        let mut gate = Gate::new("live");
        let wait = gate.wait();
        let line = format!("echo one; {wait}; echo two >&2; {wait}; printf three; {wait}; exit 7");
        let mut arguments = vec!["exec"];
        arguments.extend(server.address(udp));
        arguments.extend(["--", &line]);
        let mut exec = Running::start(unstick(arguments));
        let (stdout, stderr) = (exec.stdout(), exec.stderr());
        // Nothing goes on before what was written so far is here.
        assert_eq!(stdout.next(), "one");
        gate.open();
        assert_eq!(stderr.next(), "two");
        gate.open();
        gate.open();
        assert_eq!(exec.exit().code(), Some(7));
        assert_eq!(stdout.rest(), ["three"]);
        assert_eq!(stderr.rest(), [""; 0]);
    }
}

#[test]
fn the_exit_code_is_the_remote_one() {
    let server = Server::start(&["--allow-exec"]);
    for (line, code) in [
        ("true", 0),
        ("false", 1),
        ("exit 42", 42),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("/no/such/program", 127),
    ] {
        for udp in [false, true] {
            let mut arguments = vec!["exec"];
            arguments.extend(server.address(udp));
            arguments.extend(["--", line]);
            let output = run(unstick(arguments));
            assert_eq!(output.status.code(), Some(code), "{line}");
        }
    }
    // Words are joined, as ssh does it.
    let output = run(unstick([
        "exec",
        &server.tcp,
        "--",
        "echo",
        "a  b",
        "'c  d'",
        "-n",
    ]));
    assert_eq!(text(&output.stdout), "a b c  d -n\n");
}

#[test]
fn much_output_arrives_whole() {
    let server = Server::start(&["--allow-exec"]);
    let output = run(exec(&server, "seq 1 400000; seq 1 400000 >&2"));
    let expected: String = (1..=400_000).map(|number| format!("{number}\n")).collect();
    assert!(output.stdout == expected.as_bytes());
    assert!(output.stderr == expected.as_bytes());
}

#[test]
fn fifty_at_once_do_not_mix() {
    let server = Server::start(&["--allow-exec"]);
    let mut gate = Gate::new("fifty");
    let mut running: Vec<_> = (0..50)
        .map(|number| {
            let line = format!(
                "echo {number} ready; {}; for i in 1 2 3 4 5 6 7 8 9; do echo {number} $i; \
                 echo {number} $i >&2; done; exit {number}",
                gate.wait()
            );
            let mut exec = Running::start(exec(&server, &line));
            let streams = (exec.stdout(), exec.stderr());
            (exec, streams)
        })
        .collect();
    for (number, (_, (stdout, _))) in running.iter().enumerate() {
        assert_eq!(stdout.next(), format!("{number} ready"));
    }
    // All of them run now.
    for _ in 0..50 {
        gate.open();
    }
    for (number, (exec, (stdout, stderr))) in running.iter_mut().enumerate() {
        let expected: Vec<_> = (1..=9).map(|i| format!("{number} {i}")).collect();
        assert_eq!(stdout.rest(), expected);
        assert_eq!(stderr.rest(), expected);
        assert_eq!(exec.exit().code(), Some(number as i32));
    }
}

/// Starts a command that tells its process group and goes on for long.
fn start_long(server: &Server) -> (Running, common::Lines, Pid) {
    let line = "echo $$; sleep 600 & sleep 600";
    let mut exec = Running::start(exec(server, line));
    let stdout = exec.stdout();
    let group = stdout.next().parse().ok().and_then(Pid::from_raw);
    let group = group.expect("the shell's number");
    assert!(is_running(group));
    (exec, stdout, group)
}

fn await_end_of(group: Pid) -> Duration {
    let start = Instant::now();
    eventually("the group is gone", || (!is_running(group)).then_some(()));
    start.elapsed()
}

#[test]
fn a_client_that_is_killed_takes_its_command_along() {
    let mut server = Server::start(&["--allow-exec"]);
    // Not SIGINT: whoever runs the tests in the background may have it ignored.
    for signal in [Signal::KILL, Signal::TERM] {
        // One slow moment of the machine is not the server's.
        let quickest = (0..3).map(|_| {
            let (exec, _stdout, group) = start_long(&server);
            exec.signal(signal);
            await_end_of(group)
        });
        let quickest = quickest.min().expect("three");
        assert!(quickest < Duration::from_secs(1), "{quickest:?}");
    }
    server.assert_alive();
}

#[test]
fn a_timeout_kills_the_command_and_says_so() {
    let server = Server::start(&["--allow-exec"]);
    for udp in [false, true] {
        let mut arguments = vec!["exec", "--timeout", "0.5"];
        arguments.extend(server.address(udp));
        arguments.extend(["--", "echo $$; sleep 600 & sleep 600"]);
        let start = Instant::now();
        let output = run(unstick(arguments));
        assert!(start.elapsed() >= Duration::from_millis(500));
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).ends_with("(deadline)\n"), "{output:?}");
        let group = text(&output.stdout)
            .trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw);
        await_end_of(group.expect("the shell's number"));
    }
}

#[test]
fn output_that_nobody_reads_ends_the_command_quietly() {
    let server = Server::start(&["--allow-exec"]);
    for udp in [false, true] {
        let mut arguments = vec!["exec"];
        arguments.extend(server.address(udp));
        arguments.extend(["--", "echo $$; exec yes"]);
        let mut command = unstick(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut exec = Running(command.spawn().expect("the command starts"));
        let mut stdout = exec.0.stdout.take().expect("piped");
        let mut start = [0; 2];
        std::io::Read::read_exact(&mut stdout, &mut start).expect("a number");
        drop(stdout);
        assert_eq!(exec.exit().code(), Some(128 + 13));
        assert_eq!(exec.stderr().rest(), [""; 0]);
    }
}

#[test]
fn without_allow_exec_nothing_is_run() {
    let mut server = Server::start(&[]);
    let output = run(exec(&server, "echo no"));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    let refusal = format!(
        "unstick: {} refuses: exec is off on this server; start it with --allow-exec (denied)\n",
        server.tcp
    );
    assert_eq!(text(&output.stderr), refusal);
    server.assert_alive();
}

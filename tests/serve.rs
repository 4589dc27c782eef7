//! `unstick serve`: its limits and deadlines, and how it ends.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use common::{Gate, Running, Server, connect, eventually, is_running, run, unstick};
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// Sends a small echo.
fn ask(stream: &mut TcpStream, body: &str) {
    let header = format!("{{\"op\":\"echo\",\"total_size\":{}}}", body.len());
    let len = i32::try_from(header.len()).expect("short").to_le_bytes();
    let frame = [&len, header.as_bytes(), body.as_bytes()].concat();
    // A server that is busy closes at any moment.
    let _ = stream.write_all(&frame);
}

/// Reads a frame.
fn answer(stream: &mut TcpStream) -> (Value, String) {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).expect("a prefix");
    let header = exactly(stream, u64::from(u32::from_le_bytes(prefix)));
    let header: Value = serde_json::from_str(&header).expect("JSON");
    let body = exactly(stream, header["total_size"].as_u64().expect("a length"));
    (header, body)
}

fn exactly(stream: &mut TcpStream, len: u64) -> String {
    let mut text = String::new();
    stream.take(len).read_to_string(&mut text).expect("text");
    assert_eq!(text.len() as u64, len);
    text
}

fn assert_ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .expect("the end, and no reset");
    assert_eq!(rest, b"");
}

#[test]
fn the_surplus_is_told_busy_and_nobody_else_notices() {
    const CLIENTS: usize = 300;
    const LIMIT: usize = 256;
    let mut server = Server::start(&["--max-connections", "256"]);
    let address = server.tcp.clone();
    for _ in 0..2 {
        let (connected, answered) = (Barrier::new(CLIENTS), Barrier::new(CLIENTS));
        let client = |number: usize| {
            let mut stream = connect(&address);
            connected.wait();
            ask(&mut stream, &format!("first {number}"));
            let (header, body) = answer(&mut stream);
            // Whoever is served stays until everybody has an answer.
            answered.wait();
            let served = header.get("error").is_none();
            if served {
                assert_eq!(body, format!("first {number}"));
                ask(&mut stream, &format!("second {number}"));
                assert_eq!(answer(&mut stream).1, format!("second {number}"));
            } else {
                assert_eq!(header["error"], "busy");
                assert!(header["retry_after_ms"].as_u64() > Some(0), "{header}");
                assert_ended(&mut stream);
            }
            served
        };
        let served = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let client = &client;
                    scope.spawn(move || client(number))
                })
                .collect();
            let served = clients.into_iter().map(|client| client.join());
            served
                .filter(|served| *served.as_ref().expect("a client"))
                .count()
        });
        assert_eq!(served, LIMIT);
        // The places are free again as soon as the server has seen that they are.
        eventually("new clients are served", || {
            let mut stream = connect(&server.tcp);
            ask(&mut stream, "new");
            (answer(&mut stream).1 == "new").then_some(())
        });
        for _ in 0..10 {
            server.assert_alive();
        }
    }
}

#[test]
fn silence_in_a_header_has_a_deadline() {
    let mut server = Server::start(&["--header-timeout", "0.5"]);
    let mut idle = connect(&server.tcp);
    for octets in [&b"\x1c\0\0"[..], b"\x1c\0\0\0{\"op\":"] {
        let mut stream = connect(&server.tcp);
        let start = Instant::now();
        stream.write_all(octets).expect("it reads");
        let (header, _) = answer(&mut stream);
        assert_eq!(header["error"], "deadline");
        assert_ended(&mut stream);
        let time = start.elapsed();
        assert!(time >= Duration::from_millis(500), "{time:?}");
        assert!(time < Duration::from_secs(5), "{time:?}");
    }
    // Octets that trickle in do not put it off.
    let mut stream = connect(&server.tcp);
    let start = Instant::now();
    let mut trickle = stream.try_clone().expect("a descriptor");
    thread::spawn(move || {
        for octet in b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\"  " {
            if trickle.write_all(&[*octet]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(answer(&mut stream).0["error"], "deadline");
    let time = start.elapsed();
    assert!(time < Duration::from_secs(2), "{time:?}");
    // Silence between requests is another matter.
    ask(&mut idle, "awake");
    assert_eq!(answer(&mut idle).1, "awake");
    server.assert_alive();
}

#[test]
fn silence_between_requests_has_one_too() {
    let mut server = Server::start(&["--idle-timeout", "0.5"]);
    let mut stream = connect(&server.tcp);
    ask(&mut stream, "once");
    assert_eq!(answer(&mut stream).1, "once");
    let start = Instant::now();
    assert_ended(&mut stream);
    let time = start.elapsed();
    assert!(
        time >= Duration::from_millis(400) && time < Duration::from_secs(5),
        "{time:?}"
    );
    // And inside one.
    let mut stream = connect(&server.tcp);
    stream
        .write_all(b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}h")
        .expect("it reads");
    let start = Instant::now();
    let _ = stream.read_to_end(&mut Vec::new());
    assert!(start.elapsed() < Duration::from_secs(5));
    server.assert_alive();
}

#[test]
fn a_signal_lets_finish_what_is_in_flight() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(&["--allow-exec"]);
        let mut idle = connect(&server.tcp);
        ask(&mut idle, "here");
        assert_eq!(answer(&mut idle).1, "here");
        let mut gate = Gate::new("finish");
        let line = format!("echo started; {}; echo finished; exit 3", gate.wait());
        let mut exec = Running::start(unstick(["exec", &server.tcp, "--", &line]));
        let stdout = exec.stdout();
        assert_eq!(stdout.next(), "started");

        server.signal(signal);
        // It stops accepting, and closes what is idle.
        assert_ended(&mut idle);
        let mut late = TcpStream::connect(&server.tcp).ok();
        if let Some(stream) = &mut late {
            ask(stream, "late");
        }
        gate.open();
        assert_eq!(stdout.rest(), ["finished"]);
        assert_eq!(exec.exit().code(), Some(3));
        assert_eq!(server.exit().code(), Some(0));
        // Whoever came after the signal was not served.
        if let Some(mut stream) = late {
            let mut octets = Vec::new();
            let _ = stream.read_to_end(&mut octets);
            assert!(!octets.ends_with(b"late"));
        }
    }
}

#[test]
fn what_takes_too_long_to_finish_is_given_up() {
    let mut server = Server::start(&["--allow-exec"]);
    let mut exec = Running::start(unstick([
        "exec",
        &server.tcp,
        "--",
        "echo started; sleep 600",
    ]));
    let (stdout, stderr) = (exec.stdout(), exec.stderr());
    assert_eq!(stdout.next(), "started");
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().code(), Some(0));
    let time = start.elapsed();
    assert!(time < Duration::from_secs(10), "{time:?}");
    assert_eq!(exec.exit().code(), Some(1));
    assert_eq!(stderr.rest().len(), 1, "one sentence");
}

/// What sees to it that a hangup is not ignored, whatever this runs under.
const UNIGNORED: &str = r#"exec env --default-signal=HUP "$0" "$@""#;

#[test]
fn a_terminal_that_is_closed_takes_the_commands_along() {
    let mut server = Server::start_under(UNIGNORED, &["--allow-exec"]);
    let line = "echo $$; exec sleep 1000";
    let mut exec = Running::start(unstick(["exec", &server.tcp, "--", line]));
    let command = exec.stdout().next().parse().ok().and_then(Pid::from_raw);
    let command = command.expect("the shell's number");
    server.signal(Signal::HUP);
    assert_eq!(server.exit().code(), Some(0));
    eventually("the command is gone", || {
        (!is_running(command)).then_some(())
    });
}

#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let mut server = Server::start_under("trap '' HUP", &[]);
    server.signal(Signal::HUP);
    server.assert_alive();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut server = Server::start_logging(&["-v", "--allow-exec"]);
        let log = server.log.take().expect("asked for");
        let mut exec = Running::start(unstick([
            "exec",
            &server.tcp,
            "--",
            "echo $$; exec sleep 1000",
        ]));
        let command = exec.stdout().next().parse().ok().and_then(Pid::from_raw);
        let command = command.expect("the shell's number");
        server.signal(signal);
        // Two signals that are not taken yet would be one.
        while !log.next().contains("finishing what is in flight") {}
        server.signal(signal);
        assert_eq!(server.exit().code(), Some(code));
        // Its connection is gone, unless the news of the command's end was quicker.
        let exit = exec.exit().code();
        assert!(matches!(exit, Some(1 | 137)), "{exit:?}");
        eventually("the command is gone", || {
            (!is_running(command)).then_some(())
        });
    }
}

#[test]
fn only_what_is_asked_for_is_served() {
    for (option, transport) in [("--tcp", "tcp"), ("--udp", "udp")] {
        let mut serve = Running::start(unstick(["serve", option, "127.0.0.1:0"]));
        let stdout = serve.stdout();
        let line = stdout.next();
        let address = line
            .strip_prefix(&format!("listening {transport} "))
            .expect("its address");
        let mut arguments = vec!["echo", address, "hi"];
        if transport == "udp" {
            arguments.insert(1, "--udp");
        }
        assert_eq!(run(unstick(arguments)).stdout, b"hi");
        serve.signal(Signal::TERM);
        assert_eq!(serve.exit().code(), Some(0));
        assert_eq!(stdout.rest(), [""; 0]);
        assert_eq!(serve.stderr().rest(), [""; 0], "it is quiet unless asked");
    }
}

#[test]
fn an_address_of_ipv6_is_served() {
    let mut serve = Running::start(unstick(["serve", "--tcp", "[::1]:0", "--allow-exec"]));
    let line = serve.stdout().next();
    let address = line.strip_prefix("listening tcp ").expect("its address");
    let output = run(unstick(["exec", address, "--", "echo six"]));
    assert_eq!(output.stdout, b"six\n");
}

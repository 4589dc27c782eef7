//! `unstick serve` under systemd: its unit files, and sockets that are handed over.

mod common;
mod files_common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use common::{Lines, Running, SOON, eventually, python, run, text, unstick};
use files_common::Place;
use rustix::process::Signal;

const UNSTICK: &str = env!("CARGO_BIN_EXE_unstick");

/// A program of systemd.
fn systemd(program: &str) -> Command {
    let found = Command::new(program).arg("--version").output();
    assert!(
        found.is_ok_and(|found| found.status.success()),
        "`{program}` is needed: apt-get install systemd"
    );
    let mut command = Command::new(program);
    command.env_remove("RUST_LOG");
    command
}

/// The unit files with the command under test in them, in a directory of their own.
fn units(place: &Place) -> [String; 2] {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd");
    ["unstick.service", "unstick.socket"].map(|name| {
        let unit = fs::read_to_string(examples.join(name)).expect("the unit");
        let installed = "ExecStart=/usr/local/bin/unstick ";
        assert_eq!(unit.contains(installed), name == "unstick.service");
        let unit = unit.replace(installed, &format!("ExecStart={UNSTICK} "));
        let path = place.local(name);
        fs::write(&path, unit).expect("room");
        path.to_str().expect("UTF-8").to_owned()
    })
}

#[test]
fn systemd_takes_the_units_and_finds_little_exposed() {
    let place = Place::new("systemd");
    let units = units(&place);
    let mut verify = systemd("systemd-analyze");
    verify.args(["verify", "--man=no"]).args(&units);
    let output = run(verify);
    assert!(output.status.success(), "{output:?}");
    // What it would rather have otherwise is a warning, and the exit code the same. It reads units of the machine too.
    let warnings = text(&output.stderr).lines();
    let ours = warnings.filter(|line| line.contains("unstick"));
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0]);
    let mut security = systemd("systemd-analyze");
    security.args([
        "security",
        "--offline=true",
        "--threshold=20",
        "--no-pager",
        &units[0],
    ]);
    let output = run(security);
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("Overall exposure level"));
}

/// systemd-socket-activate for the command, and its address. It takes no port 0, and a port that was free may not be any more.
fn activated(options: &[&str], arguments: &[&str]) -> (Running, Lines, String) {
    eventually("a free port", || {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = port.expect("a port").to_string();
        let mut command = systemd("systemd-socket-activate");
        command
            .args(options)
            .args(["-l", &address, UNSTICK, "serve"])
            .args(arguments);
        let mut running = Running::start(command);
        let log = running.stderr();
        let begun = log.next();
        begun
            .starts_with(&format!("Listening on {address}"))
            .then_some((running, log, address))
    })
}

#[test]
fn a_socket_of_tcp_is_served() {
    let (mut running, _log, address) = activated(&[], &["--allow-exec"]);
    let output = run(unstick(["echo", &address, "hello"]));
    assert_eq!(text(&output.stdout), "hello");
    let stdout = running.stdout();
    assert_eq!(stdout.next(), format!("listening tcp {address}"));
    // What it runs has neither the socket nor word of it.
    let command = "test ! -e /proc/self/fd/3 && echo ${LISTEN_FDS-none}";
    let output = run(unstick(["exec", &address, "--", command]));
    assert_eq!(text(&output.stdout), "none\n");
    running.signal(Signal::TERM);
    assert!(running.exit().success());
    assert_eq!(stdout.rest(), [""; 0]);
}

#[test]
fn a_socket_of_udp_is_served() {
    let (mut running, _log, address) = activated(&["-d"], &[]);
    let output = run(unstick(["echo", "--udp", &address, "hello"]));
    assert_eq!(text(&output.stdout), "hello");
    assert_eq!(running.stdout().next(), format!("listening udp {address}"));
    running.signal(Signal::TERM);
    assert!(running.exit().success());
}

#[test]
fn older_wires_take_sockets_too() {
    let (mut running, _log, address) = activated(&[], &["--wire", "length", "--allow-exec"]);
    let wire = ["exec", "--wire", "length", &address, "--", "echo hello"];
    assert_eq!(text(&run(unstick(wire)).stdout), "hello\n");
    running.signal(Signal::TERM);
    assert!(running.exit().success());
}

/// The command, handed sockets of these kinds.
fn handed(kinds: &[&str], arguments: &[&str]) -> Command {
    let mut command = python("activate.py");
    command
        .args(kinds)
        .args(["--", UNSTICK, "serve"])
        .args(arguments);
    command.env_remove("RUST_LOG");
    command
}

#[test]
fn both_are_served_and_systemd_is_told() {
    let place = Place::new("systemd.notify");
    let path = place.local("notify");
    let notify = UnixDatagram::bind(&path).expect("a socket");
    notify.set_read_timeout(Some(SOON)).expect("a timeout");
    let told = || {
        let mut state = [0; 100];
        let len = notify.recv(&mut state).expect("a state");
        text(&state[..len]).to_owned()
    };
    let mut command = handed(&["udp", "tcp"], &["--metrics", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path);
    let mut running = Running::start(command);
    let stdout = running.stdout();
    let (udp, tcp) = (stdout.next(), stdout.next());
    assert_eq!(stdout.next(), format!("listening tcp {tcp}"));
    assert_eq!(stdout.next(), format!("listening udp {udp}"));
    assert!(stdout.next().starts_with("listening metrics http://"));
    assert_eq!(told(), "READY=1\n");
    for address in [&[&*tcp][..], &["--udp", &udp]] {
        let mut words = vec!["echo"];
        words.extend(address);
        words.push("hello");
        assert_eq!(text(&run(unstick(words)).stdout), "hello");
    }
    running.signal(Signal::TERM);
    assert_eq!(told(), "STOPPING=1\n");
    assert!(running.exit().success());
}

#[test]
fn a_socket_and_an_address_go_side_by_side() {
    let mut running = Running::start(handed(&["tcp"], &["--udp", "127.0.0.1:0"]));
    let stdout = running.stdout();
    let tcp = stdout.next();
    assert_eq!(stdout.next(), format!("listening tcp {tcp}"));
    assert!(stdout.next().starts_with("listening udp 127.0.0.1:"));
    running.signal(Signal::TERM);
    assert!(running.exit().success());
}

#[test]
fn what_cannot_be_served_is_said() {
    for (kinds, arguments, code, said) in [
        (&["unix"][..], &[][..], 2, "neither of TCP nor of UDP"),
        (&["tcp", "tcp"], &[], 2, "more than one socket of TCP"),
        (&["connected"], &[], 1, "does not listen"),
        (
            &["tcp"],
            &["--tcp", "127.0.0.1:0"],
            2,
            "leave the other out",
        ),
        (
            &["tcp"],
            &["--engine", "nal"],
            2,
            "--engine nal opens its own",
        ),
        (&["tcp-anywhere"], &["--allow-exec"], 2, "loopback"),
        (&["udp"], &["--wire", "length"], 2, "for TCP"),
    ] {
        let output = run(handed(kinds, arguments));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{kinds:?}: {stderr}");
        assert!(
            stderr.starts_with("unstick: ") && stderr.contains(said),
            "{kinds:?}: {stderr}"
        );
    }
}

#[test]
fn sockets_of_another_process_are_not_ours() {
    let mut command = unstick(["serve", "--tcp", "127.0.0.1:0"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let mut running = Running::start(command);
    assert!(
        running
            .stdout()
            .next()
            .starts_with("listening tcp 127.0.0.1:")
    );
}

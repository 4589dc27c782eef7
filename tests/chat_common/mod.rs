//! Those who talk: processes whose lines are written and read one by one.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::io::Write;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::Signal;

use crate::common::{Lines, Running, python, unstick};

/// A process that is talked through; killed when dropped.
pub struct Talker {
    running: Running,
    stdin: Option<ChildStdin>,
    lines: Lines,
    errors: Lines,
}

impl Talker {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!("{:?} is needed: {error}", command.get_program());
        });
        let stdin = child.stdin.take();
        let mut running = Running(child);
        Self {
            lines: running.stdout(),
            errors: running.stderr(),
            running,
            stdin,
        }
    }

    /// An operator with these arguments, and its address.
    pub fn operator(arguments: &[&str]) -> (Self, String) {
        let listen = ["chat", "--listen", "127.0.0.1:0"];
        let operator = Self::start(unstick([&listen, arguments].concat()));
        let line = operator.next();
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("listening"), "{line}");
        let transport = match arguments.contains(&"--udp") {
            true => "udp",
            false => "tcp",
        };
        assert_eq!(words.next(), Some(transport), "{line}");
        let address = words.next().expect("an address").to_owned();
        (operator, address)
    }

    /// The other side.
    pub fn guest(address: &str, arguments: &[&str]) -> Self {
        Self::start(unstick([&["chat", address], arguments].concat()))
    }

    /// A program of tests/peers/older.
    pub fn older(script: &str, arguments: &[&str]) -> Self {
        let mut command = python(&format!("older/{script}.py"));
        // What is typed and printed is UTF-8, whatever goes over the wire.
        command.args(arguments).env("PYTHONUTF8", "1");
        Self::start(command)
    }

    /// A server of tests/peers/older, and its address.
    pub fn older_server(script: &str, encoding: &str) -> (Self, String) {
        let server = Self::older(script, &[encoding]);
        let line = server.next();
        let port = line.strip_prefix("listening ").expect("a port");
        let address = format!("127.0.0.1:{port}");
        (server, address)
    }

    /// Types a line.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it listens");
        writeln!(stdin, "{line}").expect("it reads");
    }

    /// Types no more.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The next line it prints, soon.
    pub fn next(&self) -> String {
        self.lines.next()
    }

    /// The next thing that happens, soon: without its time and the peer's address.
    pub fn event(&self) -> String {
        event(&self.next())
    }

    /// The next line of its standard error, soon.
    pub fn error(&self) -> String {
        self.errors.next()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Its exit status, soon, and what it had not said before.
    pub fn exit(&mut self) -> (ExitStatus, Vec<String>, Vec<String>) {
        let status = self.running.exit();
        (status, self.lines.rest(), self.errors.rest())
    }

    /// Fails unless it exits with success, without anything more to say.
    #[track_caller]
    pub fn exits_well(&mut self) {
        let (status, lines, errors) = self.exit();
        assert!(status.success(), "{status}: {errors:?}");
        assert_eq!((lines, errors), (Vec::new(), Vec::new()));
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.running.0.id()
    }
}

/// A line of what happens without its time and the peer's address: `#1 comes`, `#1: hello`; of a guest `: hello`.
#[track_caller]
pub fn event(line: &str) -> String {
    let (time, rest) = line.split_at_checked(9).unwrap_or(("", line));
    let is_time = time.chars().enumerate().all(|(place, c)| match place {
        2 | 5 => c == ':',
        8 => c == ' ',
        _ => c.is_ascii_digit(),
    });
    assert!(is_time && !time.is_empty(), "no time in front: `{line}`");
    let (number, rest) = match rest.starts_with('#') {
        true => rest.split_once(' ').expect("an address"),
        false => ("", rest),
    };
    let port = rest.strip_prefix("127.0.0.1:").expect("an address");
    let what = port.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{number}{what}")
}

//! `unstick chat` at a terminal: what a person types, and what is then on the screen.

mod chat_common;
mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chat_common::Talker;
use common::{Running, SOON, eventually, unstick};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(60).unwrap();

/// A command on a terminal of its own.
struct Terminal {
    running: Running,
    keyboard: File,
    slave: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    fn start(command: Command) -> Self {
        Self::start_as("xterm", command)
    }

    /// With a terminal of this kind.
    fn start_as(kind: &str, mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let name = name.into_string().expect("text");
        let slave = File::options().read(true).write(true).open(name);
        let slave = slave.expect("the other end");
        let size = Winsize {
            ws_row: ROWS.get(),
            ws_col: COLUMNS.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).expect("a size");
        let end = || Stdio::from(OwnedFd::from(slave.try_clone().expect("a descriptor")));
        let command = command.env("TERM", kind).stdin(end());
        let child = command.stdout(end()).stderr(end()).spawn();
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let mut output = keyboard.try_clone().expect("a descriptor");
        let drawn = Arc::clone(&screen);
        thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(len) = output.read(&mut octets) {
                drawn.lock().expect("no panic").process(&octets[..len]);
            }
        });
        Self {
            running: Running(child.expect("it starts")),
            keyboard,
            slave,
            screen,
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("room");
    }

    /// The lines on the screen that are not empty, without the times in front.
    fn lines(&self) -> Vec<String> {
        let text = self.screen.lock().expect("no panic").screen().contents();
        let lines = text.lines().map(|line| {
            let has_time = line.get(2..3) == Some(":") && line.get(5..6) == Some(":");
            line[if has_time { 9 } else { 0 }..].trim_end().to_owned()
        });
        lines.filter(|line| !line.is_empty()).collect()
    }

    /// Waits until these lines are the last on the screen.
    #[track_caller]
    fn shows(&self, expected: &[&str]) {
        let deadline = Instant::now() + SOON;
        loop {
            let lines = self.lines();
            let last = lines.len().saturating_sub(expected.len());
            if lines[last..] == *expected {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not {expected:#?} but {lines:#?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the terminal is as a shell expects it.
    fn is_as_before(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("its modes").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Its exit code, soon; and the terminal is as it was.
    #[track_caller]
    fn exits(&mut self, code: i32) {
        assert_eq!(
            self.running.exit().code(),
            Some(code),
            "{:#?}",
            self.lines()
        );
        assert!(self.is_as_before());
    }
}

/// An operator at a terminal, and its address.
fn operator(options: &[&str]) -> (Terminal, String) {
    let listen = ["chat", "--listen", "127.0.0.1:0"];
    let terminal = Terminal::start(unstick([&listen, options].concat()));
    let address = eventually("it listens", || {
        let line = terminal.lines().into_iter().next()?;
        let address = line.split(' ').nth(2)?.to_owned();
        terminal.lines().last()?.starts_with('>').then_some(address)
    });
    (terminal, address)
}

/// A guest whose address is known.
fn guest(address: &str, options: &[&str], operator: &Terminal, number: u32) -> (Talker, String) {
    let mut guest = Talker::guest(address, options);
    guest.say("hello");
    let start = format!("#{number} 127.0.0.1:");
    let name = eventually("it comes", || {
        let lines = operator.lines();
        let line = lines
            .iter()
            .find(|line| line.starts_with(&start) && line.ends_with(": hello"))?;
        Some(line.strip_suffix(": hello")?.to_owned())
    });
    (guest, name)
}

#[test]
fn an_operator_types_while_others_speak() {
    for options in [&[][..], &["--udp"]] {
        let (mut operator, address) = operator(options);
        operator.shows(&[">"]);
        operator.type_in("anybody?\r");
        operator.shows(&[
            "nobody has spoken yet: not sent; nobody is here",
            ">     anybody?",
        ]);
        operator.type_in("\u{15}");
        let (mut first, one) = guest(&address, options, &operator, 1);
        operator.shows(&[&format!("{one} comes"), &format!("{one}: hello"), "#1>"]);

        // What is typed is not torn, and goes to whom the prompt shows.
        operator.type_in("half 测试");
        operator.shows(&["#1>   half 测试"]);
        let (mut second, two) = guest(&address, options, &operator, 2);
        operator.shows(&[&format!("{two}: hello"), "#1>   half 测试"]);
        second.say("\u{1b}[2J gone?");
        operator.shows(&[&format!("{two}: \\u001b[2J gone?"), "#1>   half 测试"]);
        operator.type_in(" and whole\r");
        assert_eq!(first.event(), ": half 测试 and whole");
        operator.shows(&["#1>   half 测试 and whole", "#2>"]);
        operator.type_in("to two\r");
        assert_eq!(second.event(), ": to two");

        operator.type_in("   \r");
        operator.shows(&["an empty line is no message: not sent", "#2>"]);
        operator.type_in("@1 you\r");
        assert_eq!(first.event(), ": you");
        operator.shows(&["#2>   @1 you", "#1>"]);
        // The history has it.
        operator.type_in("\u{1b}[A too\r");
        assert_eq!(first.event(), ": you too");

        // Who is gone is not written to, and what was typed is not lost.
        operator.type_in("for one");
        operator.shows(&["#1>   for one"]);
        first.say("q");
        operator.shows(&[&format!("{one} leaves"), "#1>   for one"]);
        operator.type_in("\r");
        let told = format!("#1 is gone: not sent; here: {two}");
        operator.shows(&[&told, ">     for one"]);
        operator.type_in("\u{15}q\r");
        assert_eq!(second.event(), " leaves");
        operator.exits(0);
    }
}

#[test]
fn a_guest_is_told_that_the_operator_is_gone() {
    let (mut operator, address) = Talker::operator(&[]);
    let mut guest = Terminal::start(unstick(["chat", &address]));
    guest.shows(&[&format!("Talking to {address}; q leaves."), ">"]);
    guest.type_in("hello\r");
    assert_eq!(
        [operator.event(), operator.event()],
        ["#1 comes", "#1: hello"]
    );
    guest.type_in("half a li");
    guest.shows(&["> half a li"]);
    operator.say("I am here");
    guest.shows(&[&format!("{address}: I am here"), "> half a li"]);
    operator.signal(Signal::KILL);
    operator.exit();
    guest.exits(1);
    guest.shows(&[
        "> half a li",
        &format!("unstick: {address} is gone: its connection ended without a goodbye"),
    ]);
}

#[test]
fn a_guest_leaves_in_every_way() {
    for leaving in ["q\r", "Q\r", "\u{3}", "\u{4}"] {
        let (operator, address) = Talker::operator(&["--wire", "raw"]);
        let mut guest = Terminal::start(unstick(["chat", "--wire", "raw", &address]));
        assert_eq!(operator.event(), "#1 comes");
        guest.shows(&[">"]);
        guest.type_in(leaving);
        assert_eq!(operator.event(), "#1 leaves", "{leaving:?}");
        guest.exits(0);
    }
    for signal in [Signal::TERM, Signal::INT] {
        let (operator, address) = Talker::operator(&[]);
        let mut guest = Terminal::start(unstick(["chat", &address]));
        assert_eq!(operator.event(), "#1 comes");
        guest.shows(&[">"]);
        guest.running.signal(signal);
        assert_eq!(operator.event(), "#1 leaves");
        guest.exits(0);
    }
}

#[test]
fn what_is_typed_in_another_encoding_is_refused() {
    let (operator, address) = Talker::operator(&[]);
    let mut guest = Terminal::start(unstick(["chat", &address]));
    assert_eq!(operator.event(), "#1 comes");
    guest.shows(&[">"]);
    // In GBK.
    guest.keyboard.write_all(b"\xb2\xe2\xca\xd4").expect("room");
    guest.shows(&["what is not UTF-8 is not sent", ">"]);
    guest.type_in("still here\r");
    assert_eq!(operator.event(), "#1: still here");
}

#[test]
fn a_terminal_that_nobody_reads_is_not_waited_for() {
    let (mut operator, address) = Talker::operator(&[]);
    let mut guest = Terminal::start(unstick(["chat", &address]));
    assert_eq!(operator.event(), "#1 comes");
    guest.shows(&[">"]);
    guest.type_in("hello\r");
    assert_eq!(operator.event(), "#1: hello");
    guest.shows(&["> hello", ">"]);
    let screen = Arc::clone(&guest.screen);
    let reading = screen.lock().expect("no panic");
    for _ in 0..100 {
        operator.say(&"x".repeat(10_000));
    }
    eventually("it is full", || {
        let mut fds = [PollFd::new(&guest.slave, PollFlags::OUT)];
        let writable = poll(&mut fds, Some(&Timespec::default()));
        (writable == Ok(0)).then_some(())
    });
    guest.running.signal(Signal::TERM);
    assert_eq!(operator.event(), "#1 leaves");
    assert_eq!(guest.running.exit().code(), Some(0));
    assert!(guest.is_as_before());
    drop(reading);
}

#[test]
fn a_terminal_that_cannot_edit_will_do() {
    let (mut operator, address) = Talker::operator(&[]);
    let mut guest = Terminal::start_as("dumb", unstick(["chat", &address]));
    assert_eq!(operator.event(), "#1 comes");
    guest.type_in("hello\n");
    assert_eq!(operator.event(), "#1: hello");
    operator.say("yes?");
    guest.shows(&[&format!("{address}: yes?")]);
    operator.say("q");
    guest.exits(0);
}

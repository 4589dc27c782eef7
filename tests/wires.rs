//! The wires of older peers: `unstick serve` and `unstick exec` against stock Python, as people learn it.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown as Direction, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Gate, Lines, Running, Server, connect, eventually, is_running, python, run, run_with, text,
    unstick,
};
use rustix::process::{Pid, Signal};

const ENCODINGS: [&str; 2] = ["utf-8", "gbk"];
const WIRES: [&str; 3] = ["raw", "length", "header"];
/// Writes 1,988,895 octets, and some that are not ASCII.
const MUCH: &str = "seq 1 300000; echo 完";

fn much() -> String {
    let numbers: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    numbers + "完\n"
}

/// A program of tests/peers/older. Each stands alone, as a textbook prints it, and repeats what the others have.
fn older(script: &str, arguments: &[&str]) -> Command {
    let mut command = python(&format!("older/{script}.py"));
    // What is printed is UTF-8, whatever goes over the wire.
    command.args(arguments).env("PYTHONUTF8", "1");
    command
}

/// A client in Python that is told these lines: what it prints.
fn client(script: &str, address: &str, encoding: &str, lines: &str) -> String {
    let output = run_with(older(script, &[address, encoding]), lines.as_bytes());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// A server in Python, its address and what it prints.
fn server(script: &str, encoding: &str) -> (Running, String, Lines) {
    let mut running = Running::start(older(script, &[encoding]));
    let lines = running.stdout();
    let line = lines.next();
    let port = line.strip_prefix("listening ").expect("a port");
    (running, format!("127.0.0.1:{port}"), lines)
}

fn exec(wire: &str, encoding: &str, address: &str, line: &str) -> Command {
    // Silence is only what it takes for the machine to be slow.
    let quiet = ["--quiet-after", "1"];
    let mut command = unstick(["exec", "--wire", wire, "--encoding", encoding]);
    command.args(quiet).args([address, "--", line]);
    command
}

fn exec_udp(encoding: &str, address: &str, line: &str) -> Command {
    let wire = ["exec", "--udp", "--wire", "raw", "--timeout", "20"];
    let mut command = unstick(wire);
    command.args(["--encoding", encoding, address, "--", line]);
    command
}

fn printed(output: &Output) -> &str {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn serve(wire: &str, encoding: &str, arguments: &[&str]) -> Server {
    let dialect = ["--wire", wire, "--encoding", encoding];
    Server::start_tcp(&[&dialect, arguments].concat())
}

/// The client that textbooks have for a wire.
fn client_of(wire: &str) -> &'static str {
    match wire {
        "raw" => "talk_client",
        "length" => "command_client_length",
        _ => "command_client_header",
    }
}

#[test]
fn python_runs_commands_on_our_server() {
    for (wire, encoding) in WIRES.iter().flat_map(|wire| ENCODINGS.map(|e| (*wire, e))) {
        let server = serve(wire, encoding, &["--allow-exec"]);
        // Standard error comes last, and the next client is as welcome as the first.
        for goodbye in ["q", "Q"] {
            let lines = format!("echo 错误 >&2; echo 测试 ok\nprintf %s 好\n{goodbye}\n");
            let printed = client(client_of(wire), &server.tcp, encoding, &lines);
            assert_eq!(printed, "测试 ok\n错误\n好", "{wire} {encoding}");
        }
    }
}

#[test]
fn we_run_commands_on_a_server_in_python() {
    for (wire, encoding) in WIRES.iter().flat_map(|wire| ENCODINGS.map(|e| (*wire, e))) {
        let script = format!("command_server_{wire}");
        let (_server, address, heard) = server(&script, encoding);
        for _ in 0..2 {
            let output = run(exec(
                wire,
                encoding,
                &address,
                "echo 错误 >&2; echo 测试 ok",
            ));
            assert_eq!(printed(&output), "测试 ok\n错误\n", "{wire} {encoding}");
            assert_eq!(heard.next(), "goodbye");
        }
    }
}

#[test]
fn much_output_arrives_whole() {
    for (wire, encoding) in WIRES.iter().flat_map(|wire| ENCODINGS.map(|e| (*wire, e))) {
        let ours = serve(wire, encoding, &["--allow-exec"]);
        let output = run(exec(wire, encoding, &ours.tcp, MUCH));
        assert!(
            printed(&output) == much(),
            "{wire} {encoding}: both are ours"
        );
        if wire != "raw" {
            let printed = client(
                client_of(wire),
                &ours.tcp,
                encoding,
                &format!("{MUCH}\nq\n"),
            );
            assert!(printed == much(), "{wire} {encoding}: the client is Python");
        }
        let (_server, address, _heard) = server(&format!("command_server_{wire}"), encoding);
        let output = run(exec(wire, encoding, &address, MUCH));
        assert!(
            printed(&output) == much(),
            "{wire} {encoding}: the server is Python"
        );
    }
}

#[test]
fn without_exec_text_comes_back_and_a_q_ends_it() {
    for encoding in ENCODINGS {
        let ours = serve("raw", encoding, &[]);
        let printed_there = client("talk_client", &ours.tcp, encoding, "你好\n\nrm -r\nq\n");
        assert_eq!(printed_there, "你好rm -r");

        let (_server, address, heard) = server("talk_server", encoding);
        let output = run(exec("raw", encoding, &address, "hello 世界"));
        assert_eq!(printed(&output), "HELLO 世界");
        let line = r"heard 'hello \u4e16\u754c'";
        assert_eq!([heard.next(), heard.next()], [line, "goodbye"]);
    }
}

#[test]
fn a_datagram_in_a_datagram_out() {
    for encoding in ENCODINGS {
        let ours = Server::start(&["--wire", "raw", "--encoding", encoding]);
        let echoed = client("udp_client", &ours.udp, encoding, "你好\n\nagain\nq\n");
        assert_eq!(echoed, "你好again");

        let ours = Server::start(&["--wire", "raw", "--encoding", encoding, "--allow-exec"]);
        let ran = client(
            "udp_client",
            &ours.udp,
            encoding,
            "echo 你好\nseq 9000\nq\n",
        );
        let numbers: String = (1..=9000).map(|number| format!("{number}\n")).collect();
        assert!(ran == format!("你好\n{numbers}"));

        let (_server, address, heard) = server("udp_server", encoding);
        for _ in 0..2 {
            let output = run(exec_udp(encoding, &address, "hello 世界"));
            assert_eq!(printed(&output), "HELLO 世界");
            assert_eq!(heard.next(), r"heard 'hello \u4e16\u754c'");
        }
    }
}

#[test]
fn a_server_of_socketserver_serves_us_side_by_side() {
    let (_server, address, heard) = server("threading_server", "gbk");
    let mut gate = Gate::new("threading");
    let waits = format!("{}; echo 一", gate.wait());
    let mut first = Running::start(exec("length", "gbk", &address, &waits));
    assert_eq!(heard.next(), "here");
    let output = run(exec("length", "gbk", &address, "echo 二"));
    assert_eq!(printed(&output), "二\n");
    assert_eq!([heard.next(), heard.next()], ["here", "goodbye"]);
    gate.open();
    assert_eq!(first.stdout().next(), "一");
    assert!(first.exit().success());
    assert_eq!(heard.next(), "goodbye");
}

/// A file that a command leaves its shell's number in, which is its group's too if a server of ours has started it;
/// removed when dropped.
struct Note(PathBuf);

impl Note {
    fn new(name: &str) -> Self {
        let name = format!("note.{name}.{}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&path);
        Self(path)
    }

    /// What the command does for it.
    fn write(&self) -> String {
        format!("echo $$ > '{}'", self.0.display())
    }

    /// The number, soon.
    fn number(&self) -> Pid {
        eventually("the command runs", || {
            let number = fs::read_to_string(&self.0).ok()?;
            Pid::from_raw(number.strip_suffix('\n')?.parse().ok()?)
        })
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_peer_that_vanishes_takes_its_command_along_and_nobody_else() {
    for wire in WIRES {
        let server = serve(wire, "utf-8", &["--allow-exec", "--max-connections", "1"]);
        for theirs in [false, true] {
            let note = Note::new(&format!("{wire}.{theirs}"));
            // It floods, and never waits.
            let line = format!("{}; exec yes", note.write());
            let mut gone = match theirs {
                false => Running::start(exec(wire, "utf-8", &server.tcp, &line)),
                true => {
                    let mut command = older(client_of(wire), &[&server.tcp, "utf-8"]);
                    let mut child = command.stdin(Stdio::piped()).spawn().expect("python3");
                    let stdin = child.stdin.as_mut().expect("piped");
                    writeln!(stdin, "{line}").expect("it reads");
                    Running(child)
                }
            };
            let group = note.number();
            gone.signal(Signal::KILL);
            eventually("the command is gone", || (!is_running(group)).then_some(()));
            gone.exit();
            // Its place is free again.
            eventually("the next is served", || {
                let output = run(exec(wire, "utf-8", &server.tcp, "echo next"));
                (output.stdout == b"next\n").then_some(())
            });
        }
    }
}

#[test]
fn a_server_that_vanishes_is_an_error() {
    for wire in ["length", "header"] {
        let (mut python, address, _heard) = server(&format!("command_server_{wire}"), "utf-8");
        let mut gate = Gate::new(&format!("gone.{wire}"));
        let note = Note::new(&format!("gone.{wire}"));
        let line = format!("{}; {}", note.write(), gate.wait());
        let mut ours = Running::start(exec(wire, "utf-8", &address, &line));
        let errors = ours.stderr();
        note.number();
        python.signal(Signal::KILL);
        python.exit();
        assert_eq!(ours.exit().code(), Some(1), "{wire}");
        let sentence = format!(
            "unstick: {address}: the server closed the connection before the reply was complete"
        );
        assert_eq!(errors.rest(), [sentence]);
        gate.open();
    }
}

/// Everything up to the end of the stream, which is no reset.
fn rest(stream: &mut TcpStream) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("no reset");
    rest
}

fn say(stream: &mut TcpStream, octets: &[u8]) -> String {
    stream.write_all(octets).expect("room");
    let mut reply = vec![0; 4096];
    let len = stream.read(&mut reply).expect("a reply");
    text(&reply[..len]).to_owned()
}

#[test]
fn what_one_receive_returns_is_one_request() {
    let server = serve("raw", "utf-8", &["--allow-exec"]);
    let mut peer = connect(&server.tcp);
    // 1024 octets are a command, and the octet behind them is another: `q`.
    let command = format!("printf %s {:>1$}q", "all", 1024 - "printf %s ".len());
    peer.write_all(command.as_bytes()).expect("room");
    assert_eq!(rest(&mut peer), "all");
}

#[test]
fn a_browser_has_nothing_carried_out() {
    let server = serve("raw", "utf-8", &["--allow-exec"]);
    let mark = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("browser.mark");
    let _ = fs::remove_file(&mark);
    // What a page can have a browser send to a loopback address: the lines of the body would be commands.
    let body = format!("touch '{}'\n", mark.display()).repeat(40);
    for begin in [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET /chat HTTP/1.1\r\n\r\n",
    ] {
        let mut peer = connect(&server.tcp);
        // It is closed at any moment.
        let _ = peer.write_all(format!("{begin}{body}").as_bytes());
        assert_eq!(rest(&mut peer), "");
        assert!(!mark.exists(), "{begin}");
    }
    let mut peer = connect(&server.tcp);
    assert_eq!(say(&mut peer, b"echo on"), "on\n");
}

#[test]
fn a_command_that_says_nothing_is_answered() {
    let server = serve("raw", "utf-8", &["--allow-exec"]);
    let mut peer = connect(&server.tcp);
    assert_eq!(say(&mut peer, b"true"), "\n");
    assert_eq!(say(&mut peer, b"echo on"), "on\n");
    let nul =
        "unstick: a command line has no NUL octet: a shell would see only what is before it\n";
    assert_eq!(say(&mut peer, b"echo \0"), nul);
    peer.shutdown(Direction::Write).expect("connected");
    assert_eq!(rest(&mut peer), "");
}

#[test]
fn without_room_for_the_output_that_is_said() {
    let start = |before: &str| {
        let arguments = ["--allow-exec", "--wire", "raw"];
        Server::start_under(before, &arguments)
    };
    let mut servers = vec![start("export TMPDIR=/nowhere"), start("ulimit -f 2000")];
    for server in &mut servers {
        // More than is kept in memory.
        let mut stream = connect(&server.tcp);
        let reply = say(&mut stream, b"seq 1 300000");
        assert!(reply.starts_with("unstick: "), "{reply}");
        assert_eq!(reply.lines().count(), 1, "{reply}");
        let output = exec("raw", "utf-8", &server.tcp, "echo on");
        assert_eq!(printed(&run(output)), "on\n");
    }
}

#[test]
fn text_that_is_none_is_replaced() {
    let server = serve("raw", "gbk", &["--allow-exec"]);
    let mut peer = connect(&server.tcp);
    // U+FFFD is three octets for the command, and nothing that this encoding has.
    assert_eq!(say(&mut peer, b"printf %s '\xff' | wc -c"), "3\n");
    assert_eq!(say(&mut peer, b"printf '\\360\\237\\230\\200 ok'"), "? ok");
    let utf8 = serve("raw", "utf-8", &["--allow-exec"]);
    let mut peer = connect(&utf8.tcp);
    assert_eq!(say(&mut peer, b"printf '\\377'"), "\u{fffd}");
}

#[test]
fn a_peer_too_many_is_closed_and_the_idle_are_too() {
    let limits = ["--max-connections", "1", "--idle-timeout", "2"];
    let server = serve("length", "utf-8", &limits);
    let mut first = connect(&server.tcp);
    assert_eq!(say(&mut first, b"hi"), "\x02\0\0\0hi");
    let mut second = connect(&server.tcp);
    assert_eq!(rest(&mut second), "");
    assert_eq!(say(&mut first, b"hi"), "\x02\0\0\0hi");
    assert_eq!(rest(&mut first), "", "the idle one");
    eventually("there is a place again", || {
        let mut third = connect(&server.tcp);
        third.write_all(b"hi").ok()?;
        third.read_exact(&mut [0; 6]).ok()
    });
}

#[test]
fn a_running_command_is_not_idle_and_a_shutdown_lets_it_end() {
    let mut server = serve("raw", "utf-8", &["--allow-exec", "--idle-timeout", "0.6"]);
    let (mut busy, mut at_rest) = (connect(&server.tcp), connect(&server.tcp));
    assert_eq!(say(&mut at_rest, b"echo rest"), "rest\n");
    busy.write_all(b"echo $$; sleep 1; echo done")
        .expect("room");
    thread::sleep(Duration::from_millis(100));
    server.signal(Signal::TERM);
    assert_eq!(rest(&mut at_rest), "");
    let reply = rest(&mut busy);
    assert!(reply.ends_with("\ndone\n"), "{reply:?}");
    assert!(server.exit().success());
}

#[test]
fn over_udp_a_command_has_its_time_and_a_reply_its_length() {
    let server = Server::start(&["--wire", "raw", "--allow-exec", "--idle-timeout", "0.3"]);
    let start = Instant::now();
    let slow = run(exec_udp("utf-8", &server.udp, "sleep 60"));
    assert_eq!(
        printed(&slow),
        "unstick: the command took longer than 300ms\n"
    );
    assert!(start.elapsed() < Duration::from_secs(20));
    let long = run(exec_udp("utf-8", &server.udp, "yes"));
    let most =
        "unstick: the command has written more than the 65507 octets that a reply can have\n";
    assert_eq!(printed(&long), most);
    let whole = run(exec_udp("utf-8", &server.udp, "yes | head -c 65507"));
    assert_eq!(whole.stdout.len(), 65_507);
    assert_eq!(printed(&run(exec_udp("utf-8", &server.udp, "true"))), "\n");
}

#[test]
fn what_cannot_be_sent_as_one_message_is_refused() {
    let long = "x".repeat(1025);
    for (encoding, line, sentence) in [
        ("utf-8", &*long, "has 1025 octets"),
        ("utf-8", "q", "says goodbye"),
        ("utf-8", "", "empty command"),
        ("gbk", "rm 😀", "cannot be said"),
    ] {
        let output = run(exec("raw", encoding, "127.0.0.1:1", line));
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(text(&output.stderr).contains(sentence), "{output:?}");
    }
    for wrong in [
        ["serve", "--wire", "length", "--udp", "127.0.0.1:0"].as_slice(),
        &["serve", "--encoding", "gbk"],
        &["serve", "--wire", "raw", "--engine", "nal"],
        &["serve", "--wire", "raw", "--encoding", "utf-16"],
        &[
            "exec",
            "--wire",
            "header",
            "--udp",
            "127.0.0.1:1",
            "--",
            "true",
        ],
    ] {
        let output = run(unstick(wrong));
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_raw_reply_ends_with_silence_or_with_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut chunk = [0; 1024];
        let len = stream.read(&mut chunk).expect("a command");
        stream.write_all(b"one, ").expect("room");
        thread::sleep(Duration::from_millis(100));
        stream.write_all(b"two").expect("room");
        let goodbye = rest(&mut stream);
        (text(&chunk[..len]).to_owned(), goodbye)
    });
    let output = run(exec("raw", "utf-8", &address, "count"));
    assert_eq!(printed(&output), "one, two");
    assert_eq!(
        peer.join().expect("no panic"),
        ("count".to_owned(), "q".to_owned())
    );
}

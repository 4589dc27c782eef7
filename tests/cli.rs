//! `unstick` echo, info, ping and decode, and what it says when something is wrong.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;

use common::{Running, Server, run, run_with, text, unstick};
use rustix::process::Signal;

/// What the command prints on standard error when it fails: one sentence.
fn sentence(output: &std::process::Output, code: i32) -> &str {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
        .strip_prefix("unstick: ")
        .expect("its name first")
        .trim_end()
}

/// A file that no other test uses.
fn scratch(name: &str) -> PathBuf {
    let name = format!("{name}.{}", std::process::id());
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Octets without a pattern that a mistake could be hidden in.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut octets = Vec::with_capacity(len + 8);
    while octets.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets.extend(state.to_le_bytes());
    }
    octets.truncate(len);
    octets
}

#[test]
fn echo_prints_what_was_sent_octet_by_octet() {
    let server = Server::start(&[]);
    for udp in [false, true] {
        let echo = |words: &[&str], input: &[u8]| {
            let output = run_with(
                unstick(
                    ["echo"]
                        .into_iter()
                        .chain(server.address(udp))
                        .chain(words.iter().copied()),
                ),
                input,
            );
            assert!(output.status.success(), "{output:?}");
            assert_eq!(text(&output.stderr), "");
            output.stdout
        };
        assert_eq!(echo(&["测试 😀"], b"unread"), "测试 😀".as_bytes());
        assert_eq!(echo(&[""], b"unread"), b"");
        assert_eq!(
            echo(&["-"], b"from\0\xff\r\nthe pipe"),
            b"from\0\xff\r\nthe pipe"
        );
        assert_eq!(echo(&[], b""), b"");
        let long = noise(200_000);
        assert!(echo(&["-"], &long) == long);
    }
}

#[test]
fn echo_of_a_large_file_takes_constant_memory() {
    const LEN: usize = 64 << 20;
    let server = Server::start(&[]);
    let (sent, received) = (scratch("sent"), scratch("received"));
    let noise = noise(LEN);
    let echo = |len: usize| {
        File::create(&sent)
            .and_then(|mut file| file.write_all(&noise[..len]))
            .expect("room");
        let mut command = unstick(["echo", &server.tcp]);
        command
            .stdin(File::open(&sent).expect("the file"))
            .stdout(File::create(&received).expect("another file"))
            .stderr(Stdio::inherit());
        let mut echo = Running(command.spawn().expect("the command starts"));
        assert!(echo.exit().success());
        let mut back = Vec::new();
        File::open(&received)
            .and_then(|mut file| file.read_to_end(&mut back))
            .expect("the file");
        assert!(back == noise[..len], "not what was sent");
    };
    echo(1 << 20);
    #[cfg(target_os = "linux")]
    let before = server.peak_memory();
    echo(LEN);
    #[cfg(target_os = "linux")]
    {
        let after = server.peak_memory();
        assert!(after < 16 << 20, "{after} octets");
        // The system counts pages loosely.
        assert!(
            after < before + (2 << 20),
            "{before} octets for 1 MiB, {after} for 64 MiB"
        );
    }
    let _ = (std::fs::remove_file(sent), std::fs::remove_file(received));
}

#[test]
fn a_refusal_is_read_although_more_was_to_be_sent() {
    let server = Server::start(&["--max-body", "1000"]);
    let sent = scratch("refused");
    File::create(&sent)
        .and_then(|file| file.set_len(64 << 20))
        .expect("a file");
    for _ in 0..20 {
        let mut command = unstick(["echo", &server.tcp]);
        command
            .stdin(File::open(&sent).expect("the file"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut echo = Running(command.spawn().expect("the command starts"));
        let said = echo.stderr().rest();
        assert_eq!(echo.exit().code(), Some(1));
        let expected = format!(
            "unstick: {} refuses: a body of 67108864 octets: the limit is 1000 (too_large)",
            server.tcp
        );
        assert_eq!(said, [expected]);
    }
    let _ = std::fs::remove_file(sent);
}

#[test]
fn info_says_the_true_limits() {
    let limits = [
        "--max-header",
        "8192",
        "--max-body",
        "123456789",
        "--allow-exec",
    ];
    let server = Server::start(&limits);
    for udp in [false, true] {
        let info = |options: &[&str]| {
            let arguments = ["info"]
                .iter()
                .chain(options)
                .copied()
                .chain(server.address(udp));
            let output = run(unstick(arguments));
            assert!(output.status.success(), "{output:?}");
            text(&output.stdout).to_owned()
        };
        let json: serde_json::Value = serde_json::from_str(&info(&["--json"])).expect("JSON");
        let expected = serde_json::json!({
            "name": "unstick",
            "version": env!("CARGO_PKG_VERSION"),
            "max_header": 8192,
            "max_body": 123_456_789,
            "max_datagram": 65_507,
            "ops": ["echo", "exec", "info"],
        });
        assert_eq!(json, expected);
        let lines = info(&[]);
        assert!(lines.starts_with("name         unstick\n"), "{lines}");
        assert!(lines.contains("max_body     123456789 octets\n"), "{lines}");
        assert!(lines.contains("ops          echo exec info\n"), "{lines}");
    }
    let server = Server::start(&[]);
    let output = run(unstick(["info", &server.tcp]));
    assert!(text(&output.stdout).contains("max_body     no limit\n"));
    assert!(text(&output.stdout).contains("ops          echo info\n"));
}

#[test]
fn ping_counts() {
    let server = Server::start(&[]);
    for udp in [false, true] {
        let mut arguments = vec!["ping", "-c", "3", "-i", "0.01"];
        arguments.extend(server.address(udp));
        let output = run(unstick(arguments));
        assert!(output.status.success(), "{output:?}");
        let lines: Vec<_> = text(&output.stdout).lines().collect();
        assert_eq!(lines.len(), 6, "{lines:?}");
        for (seq, line) in (1..).zip(&lines[..3]) {
            let start = format!(
                "0 octets from {}: seq={seq} time=",
                server.address(udp).last().expect("one")
            );
            assert!(line.starts_with(&start) && line.ends_with(" ms"), "{line}");
        }
        assert_eq!(lines[4], "3 asked, 3 answered, 0% lost");
        assert!(lines[5].starts_with("min/avg/max = "), "{}", lines[5]);
    }
}

#[test]
fn ping_goes_on_when_the_server_does_and_sums_up_when_interrupted() {
    let mut server = Server::start(&[]);
    let mut ping = Running::start(unstick(["ping", "-i", "0.01", &server.tcp]));
    let (stdout, stderr) = (ping.stdout(), ping.stderr());
    assert!(stdout.next().contains("seq=1 "));
    server.signal(Signal::TERM);
    assert_eq!(server.exit().code(), Some(0));
    // The connection first, then each attempt at another.
    let refused = format!(
        "unstick: cannot connect to {}: connection refused",
        server.tcp
    );
    while !stderr.next().starts_with(&refused) {}
    ping.signal(Signal::INT);
    assert_eq!(ping.exit().code(), Some(0), "something was answered");
    let lines = stdout.rest();
    let summary = lines.iter().find(|line| line.contains(" asked, "));
    assert!(
        summary.is_some_and(|line| !line.contains(" 0% lost")),
        "{lines:?}"
    );
}

#[test]
fn what_goes_wrong_is_one_sentence() {
    let (tcp, udp) = (free_tcp(), free_udp());
    let output = run(unstick(["info", &tcp]));
    let expected = format!(
        "cannot connect to {tcp}: connection refused; is a server running there? (unstick serve)"
    );
    assert_eq!(sentence(&output, 1), expected);
    let output = run(unstick(["ping", "-c", "1", &tcp]));
    assert_eq!(sentence(&output, 1), expected);
    let output = run(unstick(["info", "--udp", &udp]));
    let expected = format!(
        "cannot connect to {udp}: connection refused; is a server running there? (unstick serve)"
    );
    assert_eq!(sentence(&output, 1), expected);
    let output = run(unstick(["decode", "/no such file"]));
    assert_eq!(
        sentence(&output, 1),
        "cannot open /no such file: no such file or directory"
    );

    let server = Server::start(&[]);
    let output = run(unstick(["serve", "--tcp", &server.tcp]));
    assert_eq!(
        sentence(&output, 1),
        format!(
            "cannot listen on tcp {}: address already in use",
            server.tcp
        )
    );
    assert_eq!(output.stdout, b"");
}

/// An address that nothing listens at.
fn free_tcp() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}

/// The same for UDP.
fn free_udp() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("its address").to_string()
}

/// A header as a frame begins with it.
fn head(header: &str) -> Vec<u8> {
    let len = i32::try_from(header.len()).expect("short").to_le_bytes();
    [&len, header.as_bytes()].concat()
}

#[test]
fn a_peer_that_is_none_is_one_sentence_too() {
    let says = |octets: &[u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let octets = octets.to_vec();
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.write_all(&octets).expect("it reads");
            stream.shutdown(Shutdown::Write).expect("a stream");
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let output = run(unstick(["info", &address]));
        peer.join().expect("the peer");
        assert_eq!(output.stdout, b"");
        let said = sentence(&output, 1).strip_prefix(&address);
        said.expect("who").to_owned()
    };
    let closed = ": the server closed the connection before the reply was complete";
    assert_eq!(says(b""), closed);
    let cut = [head(r#"{"total_size":100,"id":1}"#), b"{".to_vec()].concat();
    assert_eq!(says(&cut), closed);
    assert_eq!(
        says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ": the server does not speak in frames: the prefix announces a header of 1347703880 octets: too long"
    );
    assert_eq!(
        says(&head(r#"{"total_size":0,"id":7}"#)),
        ": the server answers another request than number 1: number 7"
    );
    // What steers a terminal is spelled out.
    let hostile = r#"{"total_size":0,"error":"busy","message":"\u001b[2Jno\nno"}"#;
    assert_eq!(
        says(&head(hostile)),
        r" refuses: \u001b[2Jno\u000ano (busy)"
    );
    let unknown = r#"{"total_size":0,"id":1,"error":"tired","retry_after_ms":20}"#;
    assert_eq!(
        says(&head(unknown)),
        " refuses: no reason given (unknown); try again in 20 ms"
    );
    let garbage = [head(r#"{"total_size":1,"id":1}"#), b"[".to_vec()].concat();
    assert!(says(&garbage).starts_with(" sends no JSON object: "));
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for (arguments, said) in [
        (&[][..], "Usage: unstick"),
        (&["fly"], "fly"),
        (&["echo"], "ADDR"),
        (
            &["info", "localhost:99999"],
            "a port is a number up to 65535",
        ),
        (&["exec", "localhost"], "COMMAND"),
        (&["exec", "localhost", "ls"], "ls"),
        (&["ping", "-c", "0", "localhost"], "0"),
        (&["serve", "--max-header", "16385"], "at most 16384"),
        (&["serve", "--max-connections", "0"], "at least 1"),
        (&["serve", "--header-timeout", "0"], "more than 0"),
        (&["serve", "--allow-exec", "--tcp", "0.0.0.0:0"], "loopback"),
        (
            &[
                "serve",
                "--allow-exec",
                "--udp",
                "[::]:0",
                "--tcp",
                "127.0.0.1:0",
            ],
            "loopback",
        ),
    ] {
        let output = run(unstick(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(said),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn help_and_version_are_on_standard_output() {
    for (arguments, said) in [
        (
            &["--version"][..],
            concat!("unstick ", env!("CARGO_PKG_VERSION"), "\n"),
        ),
        (&["--help"], "Exit codes:"),
        (&["serve", "--help"], "127.0.0.1:8896"),
        (&["echo", "--help"], "64 KiB"),
        (&["exec", "--help"], "-- <COMMAND>..."),
        (&["info", "--help"], "--json"),
        (&["ping", "--help"], "-c <COUNT>"),
        (&["decode", "--help"], "xxd"),
    ] {
        let output = run(unstick(arguments));
        assert!(output.status.success());
        assert!(
            text(&output.stdout).contains(said),
            "{}",
            text(&output.stdout)
        );
    }
}

#[test]
fn what_is_printed_to_nobody_ends_without_a_word() {
    for arguments in [&["completions", "zsh"][..], &["man"], &["man", "serve"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut child = unstick(arguments);
        let child = child.stdout(writer).stderr(Stdio::piped()).spawn();
        let mut child = Running(child.expect("it starts"));
        assert_eq!(child.exit().code(), Some(141), "{arguments:?}");
        assert_eq!(child.stderr().rest(), [""; 0], "{arguments:?}");
    }
}

#[test]
fn decode_prints_frames_and_says_where_they_end() {
    const HEX: &str = "\
        00000000: 2300 0000 7b22 6f70 223a 2265 6368 6f22  #...{\"op\":\"echo\"\n\
        00000010: 2c22 6964 223a 372c 2274 6f74 616c 5f73  ,\"id\":7,\"total_s\n\
        00000020: 697a 6522 3a35 7d68 656c 6c6f 1000 0000  ize\":5}hello....\n\
        00000030: 7b22 746f 7461 6c5f 7369 7a65 223a 787d  {\"total_size\":x}\n";
    const LINE: &str = "{\"offset\":0,\"header_len\":35,\"header\":{\"op\":\"echo\",\"id\":7,\"total_size\":5},\
        \"body_offset\":39,\"body_len\":5,\"body\":\"hello\"}\n";
    let output = run_with(unstick(["decode", "--hex"]), HEX.as_bytes());
    assert_eq!(text(&output.stdout), LINE);
    assert_eq!(
        sentence(&output, 1),
        "bad input at offset 62, in the frame that starts at 44: header: not valid JSON (octet 14)"
    );

    let octets = b"\x23\0\0\0{\"op\":\"echo\",\"id\":7,\"total_size\":5}hello";
    let output = run_with(unstick(["decode", "-"]), octets);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), LINE);
    let file = scratch("frame");
    std::fs::write(&file, octets).expect("room");
    let output = run(unstick([std::ffi::OsStr::new("decode"), file.as_os_str()]));
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), LINE);
    let _ = std::fs::remove_file(file);
}

#[test]
fn decode_prints_a_frame_while_the_next_is_awaited() {
    let mut command = unstick(["decode"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut decode = Running(command.spawn().expect("the command starts"));
    let mut stdin = decode.0.stdin.take().expect("piped");
    let stdout = decode.stdout();
    for offset in [0, 20] {
        stdin
            .write_all(b"\x10\0\0\0{\"total_size\":0}")
            .expect("it reads");
        let line = stdout.next();
        assert!(
            line.starts_with(&format!("{{\"offset\":{offset},")),
            "{line}"
        );
    }
    drop(stdin);
    assert!(decode.exit().success());
}

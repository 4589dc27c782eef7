//! `unstick chat` in frames: an operator and peers, over TCP and UDP.

mod chat_common;
mod common;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::thread;
use std::time::Instant;

use chat_common::{Talker, event};
use common::{SOON, Server, connect, eventually, python, run, unstick};
use rustix::process::Signal;

const TRANSPORTS: [&[&str]; 2] = [&[], &["--udp"]];

/// A frame.
fn frame(header: &str, body: &str) -> Vec<u8> {
    let len = i32::try_from(header.len()).expect("short").to_le_bytes();
    [&len, header.as_bytes(), body.as_bytes()].concat()
}

/// A message without anything but its text.
fn message(body: &str) -> Vec<u8> {
    frame(&format!("{{\"total_size\":{}}}", body.len()), body)
}

#[test]
fn two_peers_and_an_operator_and_one_is_killed() {
    for transport in TRANSPORTS {
        let (mut operator, address) = Talker::operator(transport);
        let mut first = Talker::guest(&address, transport);
        first.say("hello 世界");
        assert_eq!(operator.event(), "#1 comes");
        assert_eq!(operator.event(), "#1: hello 世界");
        operator.say("hello, first");
        assert_eq!(first.event(), ": hello, first");

        let mut second = Talker::guest(&address, transport);
        second.say("I am the second 😀");
        assert_eq!(operator.event(), "#2 comes");
        let line = operator.next();
        assert_eq!(event(&line), "#2: I am the second 😀");
        operator.say("@1 to one");
        operator.say("to one again");
        assert_eq!(
            [first.event(), first.event()],
            [": to one", ": to one again"]
        );
        // By its address, which is in front of what it says.
        let second_at = line.split(' ').nth(2).expect("an address");
        let second_at = second_at.trim_end_matches(':');
        operator.say(&format!("@{second_at} to two"));
        operator.say("@@2 to two again");
        assert_eq!(
            [second.event(), second.event()],
            [": to two", ": @2 to two again"]
        );
        // Who speaks is answered.
        first.say("and me?");
        assert_eq!(operator.event(), "#1: and me?");
        operator.say("you too");
        assert_eq!(first.event(), ": you too");

        operator.say("   ");
        let refused = "unstick: an empty line is no message: not sent";
        assert_eq!(operator.error(), refused);
        first.say("");
        assert_eq!(first.error(), refused);
        operator.say("@");
        assert!(operator.error().contains("here: #1 127.0.0.1:"));
        operator.say("@7 hello");
        assert!(operator.error().contains("nobody here is @7: here: #1 "));

        second.signal(Signal::KILL);
        second.exit();
        let gone = operator.event();
        let why = match transport {
            [] => "its connection ended without a goodbye",
            _ => "no answer for 5 seconds",
        };
        assert_eq!(gone, format!("#2 is gone: {why}"));
        operator.say("@2 hello?");
        assert!(operator.error().contains("nobody here is @2"));

        // The next one is served, and those who are there are told goodbye.
        let mut third = Talker::guest(&address, transport);
        third.say("and I am the third");
        assert_eq!(operator.event(), "#3 comes");
        assert_eq!(operator.event(), "#3: and I am the third");
        first.say("Q");
        assert_eq!(operator.event(), "#1 leaves");
        first.exits_well();
        operator.say("bye then");
        operator.say("q");
        assert_eq!([third.event(), third.event()], [": bye then", " leaves"]);
        third.exits_well();
        operator.exits_well();
    }
}

#[test]
fn an_operator_that_vanishes_is_told_of() {
    for transport in TRANSPORTS {
        let (operator, address) = Talker::operator(transport);
        let mut guest = Talker::guest(&address, transport);
        guest.say("hello");
        assert_eq!(operator.event(), "#1 comes");
        operator.signal(Signal::KILL);
        drop(operator);
        let (status, lines, errors) = guest.exit();
        assert_eq!((status.code(), lines.len()), (Some(1), 0));
        let start = format!("unstick: {address} is gone: ");
        assert!(
            errors.len() == 1 && errors[0].starts_with(&start),
            "{errors:?}"
        );
    }
}

#[test]
fn piped_lines_are_all_said_and_the_last_answer_is_heard() {
    for transport in TRANSPORTS {
        let (mut operator, address) = Talker::operator(transport);
        let mut guest = Talker::guest(&address, transport);
        for line in 0..200 {
            guest.say(&format!("line {line}"));
        }
        guest.end_input();
        assert_eq!(operator.event(), "#1 comes");
        for line in 0..200 {
            assert_eq!(operator.event(), format!("#1: line {line}"));
        }
        operator.say("200 lines, and the last answer");
        assert_eq!(guest.event(), ": 200 lines, and the last answer");
        guest.exits_well();
        assert_eq!(operator.event(), "#1 leaves");
        operator.signal(Signal::TERM);
        operator.exits_well();
    }
}

#[test]
fn signals_leave_as_a_q_does() {
    for transport in TRANSPORTS {
        for signal in [Signal::TERM, Signal::INT] {
            let (mut operator, address) = Talker::operator(transport);
            let mut staying = Talker::guest(&address, transport);
            let mut leaving = Talker::guest(&address, transport);
            for guest in [&mut staying, &mut leaving] {
                guest.say("here");
            }
            let mut events = [operator.event(), operator.event(), operator.event()].to_vec();
            events.push(operator.event());
            assert!(events.contains(&"#2: here".to_owned()), "{events:?}");
            leaving.signal(signal);
            assert!(operator.event().ends_with(" leaves"));
            leaving.exits_well();
            operator.signal(signal);
            assert_eq!(staying.event(), " leaves");
            staying.exits_well();
            operator.exits_well();
        }
    }
}

#[test]
fn text_of_peers_cannot_drive_the_terminal() {
    let hostile = "a\u{1b}[2Jb\rc\u{202e}d\u{7}\n12:00:00 #2 127.0.0.1:1: I am another\n";
    let shown = [
        "#1: a\\u001b[2Jb\\u000dc\\u202ed\\u0007",
        "#1: 12:00:00 #2 127.0.0.1:1: I am another",
    ];
    let (operator, address) = Talker::operator(&[]);
    let mut peer = connect(&address);
    peer.write_all(&message(hostile)).expect("room");
    assert_eq!(operator.event(), "#1 comes");
    assert_eq!([operator.event(), operator.event()], shown);

    let (operator, address) = Talker::operator(&["--wire", "raw"]);
    let mut peer = connect(&address);
    peer.write_all(hostile.as_bytes()).expect("room");
    assert_eq!(operator.event(), "#1 comes");
    assert_eq!([operator.event(), operator.event()], shown);
    // What is no text, and a character that comes in two pieces.
    peer.write_all(b"\xff \xe6\xb5").expect("room");
    assert_eq!(operator.event(), "#1: \u{fffd} ");
    peer.write_all(b"\x8b!").expect("room");
    assert_eq!(operator.event(), "#1: 测!");

    let (operator, address) = Talker::operator(&[]);
    let mut peer = connect(&address);
    peer.write_all(&frame(
        "{\"total_size\":0,\"error\":\"x\\u001b\",\"message\":\"\\u001b[0m\"}",
        "",
    ))
    .expect("room");
    assert_eq!(operator.event(), "#1 comes");
    assert_eq!(operator.event(), "#1 refuses: \\u001b[0m (unknown)");
}

#[test]
fn who_does_not_read_holds_up_nobody() {
    let (mut operator, address) = Talker::operator(&[]);
    let mut deaf = connect(&address);
    deaf.write_all(&message("hi")).expect("room");
    assert_eq!([operator.event(), operator.event()], ["#1 comes", "#1: hi"]);
    let mut other = Talker::guest(&address, &[]);
    other.say("me too");
    assert_eq!(
        [operator.event(), operator.event()],
        ["#2 comes", "#2: me too"]
    );
    // Until the system holds no more, and then until the operator does not.
    let line = format!("@1 {}", "x".repeat(60_000));
    let mut said = 0;
    let told = thread::scope(|scope| {
        let operator = &mut operator;
        let typing = scope.spawn(move || {
            for _ in 0..1000 {
                operator.say(&line);
                said += 1;
                if said % 100 == 0 {
                    operator.say("@2 still there?");
                }
            }
            operator.error()
        });
        for _ in 0..10 {
            assert_eq!(other.event(), ": still there?");
        }
        typing.join().expect("no panic")
    });
    assert!(told.contains("does not read: "), "{told}");
    assert!(told.starts_with("unstick: #1 127.0.0.1:"), "{told}");
    drop(deaf);
}

#[test]
fn who_floods_holds_up_nobody_and_fills_no_memory() {
    let (mut operator, address) = Talker::operator(&[]);
    let flood = message(&"x".repeat(1000)).repeat(64);
    let mut flooding = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&address).expect("it accepts");
        let flood = flood.clone();
        flooding.push(thread::spawn(
            move || {
                while stream.write_all(&flood).is_ok() {}
            },
        ));
    }
    let mut guest = Talker::guest(&address, &[]);
    guest.say("am I heard?");
    let deadline = Instant::now() + SOON;
    while !operator.next().ends_with(": am I heard?") {
        assert!(Instant::now() < deadline, "it is not heard");
    }
    operator.say("@4 yes");
    assert_eq!(guest.event(), ": yes");
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string(format!("/proc/{}/status", operator.id()));
        let status = status.expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok());
        assert!(peak.expect("a number of kB") < 64 * 1024, "{status}");
    }
    operator.say("q");
    let (status, ..) = operator.exit();
    assert!(status.success());
    for flooding in flooding {
        flooding.join().expect("no panic");
    }
}

/// Everything until the end of the stream.
fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("no reset");
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn frames_of_others() {
    let (mut operator, address) = Talker::operator(&[]);
    // In pieces, with an `op` and without; an empty one is none.
    let mut peer = connect(&address);
    let frames = [
        message("one"),
        frame("{\"op\":\"chat\",\"id\":7,\"total_size\":3}", "two"),
        message(""),
        message("three\n"),
    ];
    for octet in frames.concat() {
        peer.write_all(&[octet]).expect("room");
    }
    let events = ["#1 comes", "#1: one", "#1: two", "#1: three"];
    assert_eq!(events.map(|_| operator.event()), events);
    // Another operation is refused, and the chat goes on.
    let echo = frame("{\"op\":\"echo\",\"id\":9,\"total_size\":4}", "echo");
    peer.write_all(&echo).expect("room");
    peer.write_all(&message("four")).expect("room");
    assert_eq!(operator.event(), "#1: four");
    operator.say("five");
    operator.say("@1 q");
    assert_eq!(operator.event(), "#1 is said goodbye to");
    let replies = rest(&mut peer);
    let refusal = "{\"total_size\":0,\"id\":9,\"error\":\"unknown_op\",\"message\":\"there is no op `echo` here; this is a chat\"}";
    assert!(replies.contains(refusal), "{replies}");
    assert!(replies.contains("\"op\":\"chat\""), "{replies}");
    assert!(
        replies.contains("five") && replies.ends_with('q'),
        "{replies}"
    );

    for (number, octets, code) in [
        (2, frame("{\"total_size\":-1}", ""), "bad_header"),
        (3, b"GET / HTTP/1.1\r\n\r\n".to_vec(), "too_large"),
        (
            4,
            frame("{\"op\":\"chat\",\"id\":1,\"total_size\":65537}", ""),
            "too_large",
        ),
        (5, b"\xff\xff\xff\xff".to_vec(), "bad_header"),
    ] {
        let mut peer = connect(&address);
        peer.write_all(&octets).expect("room");
        assert_eq!(operator.event(), format!("#{number} comes"));
        let gone = operator.event();
        assert!(gone.starts_with(&format!("#{number} is gone: ")), "{gone}");
        if octets.starts_with(b"GET") {
            // As on every wire: any page can have a browser send what it likes.
            assert_eq!(rest(&mut peer), "");
            continue;
        }
        let reply = rest(&mut peer);
        assert_eq!(reply.matches("\"error\"").count(), 1, "{reply}");
        assert!(reply.contains(&format!("\"error\":\"{code}\"")), "{reply}");
    }
    operator.say("q");
    operator.exits_well();
}

/// A socket of a peer that is programmed by hand.
fn datagrams(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(address).expect("an address");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    socket
}

fn receive(socket: &UdpSocket) -> String {
    let mut datagram = [0; 2048];
    let len = socket.recv(&mut datagram).expect("a datagram");
    String::from_utf8_lossy(&datagram[4..len]).into_owned()
}

#[test]
fn datagrams_of_others() {
    let (mut operator, address) = Talker::operator(&["--udp"]);
    let peer = datagrams(&address);
    let hello = frame("{\"op\":\"chat\",\"id\":3,\"total_size\":5}", "hello");
    // It comes three times, is answered each time, and is one message.
    for _ in 0..3 {
        peer.send(&hello).expect("room");
        assert_eq!(receive(&peer), "{\"total_size\":0,\"id\":3}");
    }
    // None of these is answered: without an `id`; an answer to nothing; an error; nothing.
    peer.send(&message("without")).expect("room");
    peer.send(&frame("{\"id\":4,\"total_size\":0}", ""))
        .expect("room");
    peer.send(&frame("{\"error\":\"busy\",\"total_size\":0}", ""))
        .expect("room");
    peer.send(&message("")).expect("room");
    peer.send(&frame("{\"op\":\"info\",\"id\":5,\"total_size\":0}", ""))
        .expect("room");
    assert!(receive(&peer).contains("\"id\":5,\"error\":\"unknown_op\""));
    peer.send(b"no frame").expect("room");
    assert!(receive(&peer).contains("\"error\""));
    let events = [
        "#1 comes",
        "#1: hello",
        "#1: without",
        "#1 refuses: no reason given (busy)",
    ];
    assert_eq!(events.map(|_| operator.event()), events);
    // What is not answered comes again, the same; then the next.
    operator.say("one");
    operator.say("two");
    let one = receive(&peer);
    assert!(one.ends_with("one"), "{one}");
    assert_eq!(receive(&peer), one);
    let id = one.split("\"id\":").nth(1).expect("an id");
    let id: u32 = id[..id.find(['}', ',']).expect("its end")]
        .parse()
        .expect("a number");
    peer.send(&frame(&format!("{{\"id\":{id},\"total_size\":0}}"), ""))
        .expect("room");
    let two = eventually("the next", || Some(receive(&peer)).filter(|it| *it != one));
    assert!(two.ends_with("two"), "{two}");
    // A goodbye that is repeated is answered, though nobody is there any more.
    let goodbye = frame("{\"op\":\"chat\",\"id\":9,\"total_size\":1}", "q");
    for _ in 0..2 {
        peer.send(&goodbye).expect("room");
        eventually("its answer", || {
            (receive(&peer) == "{\"total_size\":0,\"id\":9}").then_some(())
        });
    }
    assert_eq!(operator.event(), "#1 leaves");
    operator.say("q");
    operator.exits_well();
}

#[test]
fn ten_lines_of_python_can_chat() {
    let (mut operator, address) = Talker::operator(&[]);
    let mut command = python("chat.py");
    command.arg(&address);
    let mut peer = Talker::start(command);
    assert_eq!(operator.event(), "#1 comes");
    assert_eq!(operator.event(), "#1: hello 世界");
    operator.say("hello 测试");
    assert_eq!(peer.next(), "hello 测试");
    assert_eq!(operator.event(), "#1 leaves");
    peer.exits_well();
}

#[test]
fn a_server_that_does_not_chat_says_so() {
    let server = Server::start(&[]);
    for (address, transport) in [(&server.tcp, TRANSPORTS[0]), (&server.udp, TRANSPORTS[1])] {
        let mut guest = Talker::guest(address, transport);
        guest.say("hello");
        let (status, lines, errors) = guest.exit();
        assert_eq!((status.code(), lines), (Some(1), Vec::new()));
        let sentence = format!("unstick: {address} refuses: there is no op `chat` here");
        assert!(
            errors.len() == 1 && errors[0].starts_with(&sentence),
            "{errors:?}"
        );
        assert!(errors[0].ends_with("(unknown_op)"), "{errors:?}");
    }
}

#[test]
fn what_cannot_be_said_is_refused_and_not_changed() {
    let gbk = ["--wire", "raw", "--encoding", "gbk"];
    let (mut operator, address) = Talker::operator(&gbk);
    let mut guest = Talker::guest(&address, &gbk);
    guest.say("a smile: 😀");
    assert_eq!(
        guest.error(),
        "unstick: `a smile: 😀` cannot be said in this --encoding: not sent"
    );
    guest.say(&"x".repeat(65_537));
    assert!(guest.error().contains("65537 octets is too long"));
    guest.say("words");
    assert_eq!(
        [operator.event(), operator.event()],
        ["#1 comes", "#1: words"]
    );
    operator.say("q");
    assert_eq!(guest.event(), " leaves");
    guest.exits_well();
    operator.exits_well();

    let udp = ["--udp", "--wire", "raw"];
    let (operator, address) = Talker::operator(&udp);
    let mut guest = Talker::guest(&address, &udp);
    guest.say(&"x".repeat(65_508));
    assert!(
        guest
            .error()
            .contains("65508 octets is too long: the limit is 65507")
    );
    guest.say(&"x".repeat(65_507));
    assert_eq!(operator.event(), "#1 comes");
    assert_eq!(operator.event().len(), "#1: ".len() + 65_507);
}

#[test]
fn events_are_lines_of_json_too() {
    let (mut operator, address) = {
        let arguments = ["chat", "--json", "--listen", "127.0.0.1:0"];
        let operator = Talker::start(unstick(arguments));
        let line = json(&operator.next());
        assert_eq!(line["event"], "listening");
        assert_eq!(line["transport"], "tcp");
        let address = line["address"].as_str().expect("a string").to_owned();
        (operator, address)
    };
    let mut guest = Talker::guest(&address, &["--json"]);
    guest.say("one \u{202e} two");
    let comes = json(&operator.next());
    assert_eq!(
        (&comes["event"], &comes["peer"]),
        (&"comes".into(), &1.into())
    );
    let says = json(&operator.next());
    assert_eq!((&says["event"], &says["peer"]), (&"says".into(), &1.into()));
    assert_eq!(says["text"], "one \u{202e} two");
    assert!(says["time"].as_str().is_some_and(|time| time.contains('T')));
    operator.say("three");
    let says = json(&guest.next());
    assert_eq!(
        (&says["address"], &says["text"]),
        (&address.into(), &"three".into())
    );
    assert_eq!(says.get("peer"), None);
    operator.signal(Signal::KILL);
    let gone = json(&guest.next());
    assert_eq!(gone["event"], "gone");
    assert!(gone["why"].as_str().is_some_and(|why| !why.is_empty()));
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn wrong_command_lines() {
    for (wrong, code) in [
        (&["chat"][..], 2),
        (&["chat", "--listen", "127.0.0.1:0", "127.0.0.1:1"], 2),
        (&["chat", "--encoding", "gbk", "127.0.0.1:1"], 2),
        (&["chat", "--udp", "--wire", "length", "127.0.0.1:1"], 2),
        (
            &[
                "chat",
                "--wire",
                "raw",
                "--encoding",
                "utf-16",
                "127.0.0.1:1",
            ],
            2,
        ),
        (&["chat", "127.0.0.1:1"], 1),
        (&["chat", "--listen", "192.0.2.1:1"], 1),
    ] {
        let output = run(unstick(wrong));
        assert_eq!(output.status.code(), Some(code), "{wrong:?}");
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
}

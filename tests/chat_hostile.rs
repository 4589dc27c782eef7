//! `unstick chat` with peers that are programmed by hand, and with those that mean ill.

mod chat_common;
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use chat_common::Talker;
#[cfg(target_os = "linux")]
use common::peak_memory;
use common::{Running, SOON, connect, eventually, python, unstick};
use rustix::process::Signal;

/// How long a datagram that comes again is the same message.
const REPEATED: Duration = Duration::from_secs(10);

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
    // With octets unread.
    drop(deaf);
    assert_eq!(operator.event(), "#1 is gone: connection reset by peer");
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
        let peak = peak_memory(operator.id()).expect("it runs");
        assert!(peak < 64 * 1024 * 1024, "{peak}");
    }
    operator.say("q");
    let (status, ..) = operator.exit();
    assert!(status.success());
    for flooding in flooding {
        flooding.join().expect("no panic");
    }
}

/// An operator, its address, and what it prints after that: nobody reads it.
fn unread_operator(arguments: &[&str]) -> (Running, String, impl Read) {
    let listen = ["chat", "--listen", "127.0.0.1:0"];
    let mut command = unstick([&listen, arguments].concat());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut operator = Running(command.stderr(Stdio::piped()).spawn().expect("it starts"));
    let mut lines = BufReader::new(operator.0.stdout.take().expect("piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    let address = line.trim_end().rsplit(' ').next().expect("an address");
    (operator, address.to_owned(), lines)
}

#[test]
fn goodbyes_go_out_though_nobody_reads_what_is_shown() {
    let (operator, address, _lines) = unread_operator(&["--udp"]);
    let mut guest = Talker::guest(&address, &["--udp"]);
    guest.say("hello");
    // More than a pipe and the operator hold; what is lost is not missed.
    let flooding = datagrams(&address);
    flooding.set_nonblocking(true).expect("a socket");
    let flood = frame("{\"op\":\"chat\",\"id\":1,\"total_size\":0}", "");
    let text = message(&"x".repeat(1000));
    // It answers for as long as it reads.
    let mut answered = Instant::now();
    while answered.elapsed() < Duration::from_secs(1) {
        let _ = flooding.send(&text);
        let _ = flooding.send(&flood);
        if flooding.recv(&mut [0; 64]).is_ok() {
            answered = Instant::now();
        }
        thread::sleep(Duration::from_millis(1));
    }
    operator.signal(Signal::TERM);
    assert_eq!(guest.event(), " leaves");
    guest.exits_well();
}

#[test]
#[cfg(target_os = "linux")]
fn many_lines_of_many_fill_no_memory() {
    let (mut operator, address, _lines) = unread_operator(&["--wire", "raw"]);
    let mut keyboard = operator.0.stdin.take().expect("piped");
    let errors = operator.stderr();
    let mut here = || {
        keyboard.write_all(b"@\n").expect("it reads");
        errors.next()
    };
    let mut peers: Vec<TcpStream> = (0..250).map(|_| connect(&address)).collect();
    eventually("all are there", || {
        here().ends_with(" and 234 more").then_some(())
    });
    // All at once; each line has the time and an address in front where it is shown.
    operator.signal(Signal::STOP);
    eventually("it stops", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", operator.pid()));
        stat.expect("it runs").contains(") T ").then_some(())
    });
    let lines = "a\n".repeat(30 * 1024);
    for peer in &mut peers {
        peer.write_all(lines.as_bytes()).expect("room");
    }
    operator.signal(Signal::CONT);
    here();
    let peak = peak_memory(operator.pid()).expect("it runs");
    assert!(peak < 96 * 1024 * 1024, "{peak}");
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
fn who_comes_back_to_the_same_port_may_count_from_the_start() {
    let (operator, address) = Talker::operator(&["--udp"]);
    let peer = datagrams(&address);
    for number in [1, 2] {
        for (id, text) in [(1, "hello"), (2, "q")] {
            let len = text.len();
            let header = format!("{{\"op\":\"chat\",\"id\":{id},\"total_size\":{len}}}");
            peer.send(&frame(&header, text)).expect("room");
        }
        assert_eq!(operator.event(), format!("#{number} comes"));
        assert_eq!(operator.event(), format!("#{number}: hello"));
        assert_eq!(operator.event(), format!("#{number} leaves"));
        if number == 1 {
            thread::sleep(REPEATED);
        }
    }
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
fn one_too_many_is_told_so() {
    let (operator, address) = Talker::operator(&[]);
    let here: Vec<TcpStream> = (0..256).map(|_| connect(&address)).collect();
    for _ in &here {
        assert!(operator.event().ends_with(" comes"));
    }
    let mut one_more = connect(&address);
    assert!(rest(&mut one_more).contains("\"error\":\"busy\""));
    drop(here);
    for _ in 0..256 {
        assert!(operator.event().contains(" is gone: "));
    }
    let mut next = connect(&address);
    next.write_all(&message("there is room")).expect("room");
    assert_eq!(operator.event(), "#257 comes");
    assert_eq!(operator.event(), "#257: there is room");
}

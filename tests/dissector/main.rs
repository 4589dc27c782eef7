//! The Wireshark dissector, `examples/wireshark/unstick.lua`: what tshark shows with it of captures.

mod capture;
#[path = "../common/mod.rs"]
mod common;
mod frames;
mod hostile;
mod tshark;

use std::io::{Read, Write};
use std::net::Shutdown;

use capture::{Capture, SERVER};
use common::{Server, connect, dumps, text};
use frames::{Noise, comparable, expected, frame, with_header};
use serde_json::json;
use tshark::{Frame, frames, tshark};

/// A client's port.
const CLIENT: u16 = 40_000;
const TO_SERVER: (u16, u16) = (CLIENT, SERVER);
const TO_CLIENT: (u16, u16) = (SERVER, CLIENT);

/// Sends it to a server, and returns all that it says.
fn ask(server: &Server, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(&server.tcp);
    stream.write_all(request).expect("the server reads");
    let mut reply = Vec::new();
    let mut piece = [0; 4096];
    // A command is given up if the sending side is closed before its reply is there.
    while !reply.ends_with(b"the end") {
        let len = stream.read(&mut piece).expect("the server answers");
        assert_ne!(len, 0, "{}", String::from_utf8_lossy(&reply));
        reply.extend(&piece[..len]);
    }
    stream.shutdown(Shutdown::Write).expect("connected");
    reply
}

#[test]
fn a_session_with_a_server_is_shown_as_it_was_however_it_is_cut() {
    let server = Server::start_tcp(&["--allow-exec"]);
    let request = [
        frame(json!({"op": "echo", "id": 7}), "hello 世界".as_bytes()),
        frame(
            json!({"op": "exec", "id": 4_294_967_295_u32, "timeout_ms": u64::MAX}),
            b"printf out; printf '\\377' >&2; exit 3",
        ),
        frame(json!({"op": "info"}), b""),
        frame(
            json!({"op": "fly", "id": 8, "colour": {"x": [1, null]}, "größe": "\u{1F600}"}),
            b"?",
        ),
        frame(json!({"op": "echo"}), b"the end"),
    ]
    .concat();
    let reply = ask(&server, &request);

    let lens = [1, 2, 3, 5, 40, 60_000];
    let mut capture = Capture::new();
    for (client, len) in (CLIENT..).zip(lens) {
        capture.segments((client, SERVER), &request, len);
        capture.segments((SERVER, client), &reply, len);
    }
    let shown = frames(capture.file(), &[]);
    assert!(shown.iter().all(|packet| packet.len() <= 8));
    assert_eq!(shown.iter().filter(|packet| packet.len() >= 5).count(), 2);
    let session = expected(&[&request[..], &reply].concat());
    let shown = comparable(shown.into_iter().flatten());
    assert_eq!(shown.len(), lens.len() * session.len());
    for (shown, len) in shown.chunks(session.len()).zip(lens) {
        assert_eq!(shown, session, "in segments of {len}");
    }

    let mut capture = Capture::new();
    capture.segments(TO_SERVER, &request, 60_000);
    capture.segments(TO_CLIENT, &reply, 60_000);
    let output = tshark(capture.file(), &["-T", "fields", "-e", "_ws.col.Info"]);
    let info = text(&output.stdout);
    for words in [
        "echo #7, 12 octets; exec #4294967295, 37 octets; info, 0 octets; fly #8, 1 octets",
        "reply #7, 12 octets; reply #4294967295, std",
        ", 1 octets, more; ",
        "reply #4294967295, 0 octets, exit 3; reply, ",
        "error unknown_op #8: there is no op `fly` here",
    ] {
        assert!(info.contains(words), "{info}");
    }
}

#[test]
fn the_dumps_of_the_document_are_shown() {
    let (requests, replies) = (dumps::blocks("request"), dumps::blocks("reply"));
    assert!(requests.len() >= 5 && requests.len() == replies.len());
    let mut capture = Capture::new();
    for (client, ((_, request), (_, reply))) in (CLIENT..).zip(requests.iter().zip(&replies)) {
        capture.segment((client, SERVER), request);
        capture.segment((SERVER, client), reply);
    }
    // Either side of a chat sends them.
    let messages = dumps::blocks("message");
    assert!(!messages.is_empty());
    for (_, message) in &messages {
        capture.segment(TO_CLIENT, message);
    }
    let shown = frames(capture.file(), &[]);
    let sent = requests.iter().zip(&replies).flat_map(|(a, b)| [a, b]);
    let sent: Vec<_> = sent.chain(&messages).collect();
    assert_eq!(shown.len(), sent.len());
    let mut bad = 0;
    for ((line, octets), shown) in sent.into_iter().zip(shown) {
        if octets == b"\xff\xff\xff\xff" {
            assert!(shown.len() == 1 && shown[0].is_bad(), "{shown:?}");
            assert_eq!(shown[0].prefix, Some(-1));
            bad += 1;
        } else {
            assert_eq!(
                comparable(shown),
                expected(octets),
                "PROTOCOL.md, line {line}"
            );
        }
    }
    assert_eq!(bad, 1);
}

#[test]
fn however_frames_are_cut_into_segments_the_same_is_shown() {
    const CONNECTIONS: u16 = 60;
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let mut sent = Vec::new();
    for client in CLIENT..CLIENT + CONNECTIONS {
        let frames = (0..1 + noise.below(6)).map(|id| {
            let keys = match noise.below(4) {
                0 => json!({"op": "echo", "id": id}),
                1 => json!({"op": "put", "filename": "测😀\\\"", "offset": u64::MAX, "overwrite": false, "mode": 0o640, "mtime_ns": 5}),
                2 => json!({"id": id, "op": "get", "md5": "\u{7f16}", "colour": [[], {"a": -1.5e300}]}),
                _ => json!({"op": ""}),
            };
            frame(keys, &noise.octets(0..300))
        });
        let octets = frames.collect::<Vec<_>>().concat();
        sent.push((client, octets.clone(), octets));
    }
    // Segments of all connections, in any order between them.
    let mut capture = Capture::new();
    let mut packets = Vec::new();
    while let Some(at) = Some(noise.below(sent.len())) {
        let (client, _, left) = &mut sent[at];
        let cut = left.len().min([1, 4, 30, 700][noise.below(4)]);
        let piece: Vec<_> = left.drain(..cut).collect();
        if !piece.is_empty() {
            capture.segment((*client, SERVER), &piece);
            packets.push(*client);
        }
        if sent.iter().all(|(_, _, left)| left.is_empty()) {
            break;
        }
    }
    for options in [&[][..], &["-2"]] {
        let mut shown: Vec<_> = packets
            .iter()
            .zip(frames(capture.file(), options))
            .collect();
        assert_eq!(shown.len(), packets.len());
        for (client, octets, _) in &sent {
            let of_client = shown.iter_mut().filter(|(of, _)| *of == client);
            let of_client = of_client.flat_map(|(_, frames)| std::mem::take(frames));
            assert_eq!(comparable(of_client), expected(octets));
        }
    }
}

#[test]
fn a_datagram_is_one_frame() {
    let echo = frame(json!({"op": "echo", "id": 7}), b"hello");
    let mut capture = Capture::new();
    capture.datagram(TO_SERVER, &[&echo[..], b"xx"].concat());
    for len in [echo.len() - 1, 10, 3] {
        capture.datagram(TO_SERVER, &echo[..len]);
    }
    let shown = frames(capture.file(), &[]);
    let remarks = shown.iter().map(|packet| {
        let remarks = packet.iter().flat_map(|frame| &frame.remarks);
        remarks
            .map(|(kind, sentence)| format!("{kind}: {sentence}"))
            .collect::<Vec<_>>()
    });
    let remarks: Vec<_> = remarks.flatten().collect();
    assert_eq!(
        remarks,
        [
            "bad_header: octets behind the frame: a datagram is one",
            "cut: 4 of 5 octets of the body are here",
            "cut: inside the header",
            "cut: inside the prefix",
        ]
    );
    assert_eq!(
        (&shown[0][0].body[..], &shown[1][0].body[..]),
        (&b"hello"[..], &b"hell"[..])
    );
}

/// A body that is longer than what is reassembled, with a frame behind it.
#[test]
fn a_long_body_is_shown_in_parts_and_what_follows_is_found() {
    let mut noise = Noise(0x853c_49e6_748f_ea9b);
    let body = noise.octets(5000..5001);
    let (long, next) = (
        frame(json!({"op": "put", "filename": "a"}), &body),
        frame(json!({"op": "echo", "id": 7}), b"hello"),
    );
    let octets = [&next[..], &long, &next].concat();
    let missed = 1500..1900;
    let mut capture = Capture::new();
    for (client, len) in (CLIENT..).zip([7, 100, 1460]) {
        capture.segments((client, SERVER), &octets, len);
    }
    let gap = CLIENT + 9;
    capture.segments((gap, SERVER), &octets[..missed.start], 300);
    capture.missed_segment((gap, SERVER), missed.len());
    capture.segments((gap, SERVER), &octets[missed.end..], 300);

    for options in [&[][..], &["-2"]] {
        let options = [options, &["-o", "unstick.reassemble:1000"]].concat();
        for (client, lost) in (CLIENT..)
            .zip([0, 0, 0])
            .take(3)
            .chain([(gap, missed.len())])
        {
            let filter = format!("tcp.srcport == {client}");
            let shown = frames(capture.file(), &[&options[..], &["-Y", &filter]].concat());
            let shown: Vec<Frame> = shown.into_iter().flatten().collect();
            let (first, last) = (&shown[0], &shown[shown.len() - 1]);
            for whole in [first, last] {
                assert_eq!(whole.body, b"hello", "{client}");
                assert!(whole.remarks.is_empty(), "{whole:?}");
            }
            let parts = &shown[1..shown.len() - 1];
            assert_eq!(parts[0].remarks[0].0, "apart");
            assert!(parts.len() > 3);
            let mut seen = 0;
            for part in parts {
                let at = usize::try_from(part.offset.unwrap_or(0)).expect("short");
                assert_eq!(part.body, body[at..at + part.body.len()], "{client}");
                seen += part.body.len();
            }
            assert_eq!(seen, body.len() - lost, "{client}");
        }
    }
    // Reassembled without being told not to.
    let shown = frames(capture.file(), &["-Y", &format!("tcp.srcport == {CLIENT}")]);
    assert_eq!(comparable(shown.into_iter().flatten()), expected(&octets));
}

#[test]
fn a_body_of_any_length_may_be_announced() {
    let header = br#"{"op":"put","filename":"a","total_size":18446744073709551615}"#;
    let mut capture = Capture::new();
    capture.segment(TO_SERVER, &with_header(header, b"ab"));
    capture.segment(TO_SERVER, b"c");
    let shown: Vec<Frame> = frames(capture.file(), &[]).into_iter().flatten().collect();
    let size = ("total_size".to_owned(), "18446744073709551615".to_owned());
    assert!(shown[0].keys.contains(&size));
    assert_eq!(
        shown[0].remarks[0].1,
        "2 of 18446744073709551615 octets of the body are here"
    );
    assert_eq!((shown[1].offset, &shown[1].body[..]), (Some(2), &b"c"[..]));
}

#[test]
fn other_ports_are_found_by_name_by_preference_or_by_what_is_said() {
    let request = frame(json!({"op": "echo", "id": 7}), b"hello");
    let reply = frame(json!({"id": 7}), b"hello");
    let mut capture = Capture::new();
    // Cut, so that only who knows what it is can put it together.
    capture.segments((CLIENT, 7777), &request, 9);
    capture.segments((7777, CLIENT), &reply, 9);
    let session = expected(&[&request[..], &reply].concat());
    let shown =
        |options: &[&str]| comparable(frames(capture.file(), options).into_iter().flatten());
    assert_eq!(shown(&[]), []);
    assert_eq!(shown(&["-d", "tcp.port==7777,unstick"]), session);
    assert_eq!(shown(&["-o", "unstick.ports:7000-8000"]), session);

    let mut capture = Capture::new();
    capture.segment((CLIENT, 7777), &request);
    capture.segments((7777, CLIENT), &reply, 9);
    capture.datagram((CLIENT, 7778), &request);
    let other: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"{\"op\":\"echo\",\"total_size\":0}",
        &with_header(br#"{"op":"echo"}"#, b""),
        &with_header(br#"{"total_size":1}"#, b"a"),
    ];
    for (client, octets) in (CLIENT + 1..).zip(other) {
        capture.segment((client, 7779), octets);
        capture.datagram((client, 7779), octets);
    }
    let shown = frames(capture.file(), &[]);
    let sent = [&request[..], &reply, &request].concat();
    assert_eq!(comparable(shown.into_iter().flatten()), expected(&sent));
}

#[test]
fn nothing_that_peers_send_steers_the_terminal() {
    let hostile = "\u{1b}[2J\r\u{9b}31m\u{202e}\0x";
    let mut capture = Capture::new();
    for ports in [TO_SERVER, TO_CLIENT] {
        let keys = json!({"op": hostile, "filename": hostile, "error": hostile, "message": hostile, hostile: hostile});
        capture.datagram(ports, &frame(keys, hostile.as_bytes()));
        capture.datagram(
            ports,
            &with_header(format!("{{{hostile}\u{fffd}").as_bytes(), b""),
        );
        capture.datagram(
            ports,
            &with_header(&[b"{\"\x1b\xff", hostile.as_bytes()].concat(), b""),
        );
    }
    let fields = [
        "header",
        "op",
        "filename",
        "error",
        "message",
        "member",
        "member.key",
        "member.value",
        "body.text",
    ];
    let fields = fields
        .iter()
        .flat_map(|field| ["-e".to_owned(), format!("unstick.{field}")]);
    let fields: Vec<String> = ["-T", "fields"]
        .map(str::to_owned)
        .into_iter()
        .chain(fields)
        .collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    for options in [&["-P"][..], &["-V", "-O", "unstick"], &fields] {
        let output = tshark(capture.file(), options);
        let printed = text(&output.stdout);
        assert!(
            printed.contains("\\u001b[2J\\u000d\\u009b31m\\u202e\\u0000x"),
            "{printed}"
        );
        let steering = |character: char| {
            !matches!(character, '\n' | '\t') && (character.is_control() || character == '\u{202e}')
        };
        assert_eq!(printed.find(steering), None, "{printed:?}");
    }
}

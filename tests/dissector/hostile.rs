//! What is no frame, and what looks like none.

use serde_json::json;
use unstick_core::{Reply, Request, json};

use crate::capture::{Capture, SERVER};
use crate::common::text;
use crate::frames::{Noise, frame, with_header};
use crate::tshark::{frames, tshark};
use crate::{CLIENT, TO_CLIENT, TO_SERVER};

/// What is put into headers.
const OCTETS: &[u8] = b"{}[]\",:\\u0d8-+.eE \n\x00\xe6nulltrue";

/// Headers, of frames and of none.
fn headers(noise: &mut Noise) -> Vec<Vec<u8>> {
    let deep = |depth| {
        format!(
            "{{\"x\":{}{},\"total_size\":0}}",
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    let mut headers: Vec<Vec<u8>> = [
        r#"{"total_size":0}"#,
        " {\t\"total_size\" : 0 } \r\n",
        r#"{"total_size":0,}"#,
        r#"{"total_size":-0}"#,
        r#"{"total_size":00}"#,
        r#"{"total_size":0.0}"#,
        r#"{"total_size":0e0}"#,
        r#"{"total_size":null}"#,
        r#"{"total_size":"0"}"#,
        r#"{"total_size":0,"total_size":0}"#,
        r#"{"total\u005fsize":0}"#,
        r#"{"total_size":18446744073709551616}"#,
        r#"{"op":"echo"}"#,
        r#"{"total_size":0} x"#,
        "{\"total_size\":0}\0",
        "\u{feff}{\"total_size\":0}",
        "[]",
        "NaN",
        "",
        " ",
        r#"{"total_size":0,"id":4294967295}"#,
        r#"{"total_size":0,"id":4294967296}"#,
        r#"{"total_size":0,"id":"7"}"#,
        r#"{"total_size":0,"id":1,"id":1}"#,
        r#"{"total_size":0,"x":1,"x":1}"#,
        r#"{"total_size":0,"x":NaN}"#,
        r#"{"total_size":0,"x":01}"#,
        r#"{"total_size":0,"x":1.}"#,
        r#"{"total_size":0,"x":1e+}"#,
        r#"{"total_size":0,"x":-}"#,
        r#"{"total_size":0,"x":-1.25E-7}"#,
        r#"{"total_size":0,"x":truefalse}"#,
        r#"{"total_size":0,"x":"\ud83d\ude00"}"#,
        r#"{"total_size":0,"x":"\ud83d"}"#,
        r#"{"total_size":0,"x":"\ude00\ud83d"}"#,
        r#"{"total_size":0,"x":"\u12g4"}"#,
        r#"{"total_size":0,"x":"\q"}"#,
        "{\"total_size\":0,\"x\":\"\u{7f}\"}",
        "{\"total_size\":0,\"x\":\"\n\"}",
        r#"{"total_size":0,"op":"a name that is too long for any operation"}"#,
        r#"{"total_size":0,"op":7}"#,
        r#"{"total_size":0,"overwrite":false,"more":true}"#,
        r#"{"total_size":0,"overwrite":1}"#,
        r#"{"total_size":0,"more":"yes"}"#,
        r#"{"total_size":0,"offset":18446744073709551615,"timeout_ms":0}"#,
        r#"{"total_size":0,"offset":-1}"#,
        r#"{"total_size":0,"mode":511,"mtime_ns":18446744073709551615}"#,
        r#"{"total_size":0,"mode":512}"#,
        r#"{"total_size":0,"mtime_ns":18446744073709551616}"#,
        r#"{"total_size":0,"sha256":"ABCD"}"#,
        r#"{"total_size":0,"stream":"stdout","exit":-2147483648}"#,
        r#"{"total_size":0,"exit":2147483648}"#,
        r#"{"total_size":0,"exit":-2147483649}"#,
        r#"{"total_size":0,"exit":1.0}"#,
        r#"{"total_size":0,"error":"a new one","message":"","retry_after_ms":4294967296}"#,
        r#"{"total_size":0,"error":"busy","message":5}"#,
        r#"{"total_size":0,"id":null,"op":null,"offset":null,"exit":null,"error":null}"#,
        r#"{"total_size":0,"overwrite":null}"#,
        r#"{"total_size":0,"more":null}"#,
        r#"{"total_size":0,"stream":"stdin"}"#,
    ]
    .map(|header| header.as_bytes().to_vec())
    .to_vec();
    headers.extend([31, 32].map(|depth| deep(depth).into_bytes()));
    headers.extend([64, 63].map(|len| {
        format!("{{\"total_size\":0,\"sha256\":\"{}\"}}", "a".repeat(len)).into_bytes()
    }));
    headers.extend([255, 256].map(|len| {
        format!("{{\"total_size\":0,\"filename\":\"{}\"}}", "n".repeat(len)).into_bytes()
    }));
    let not_utf8: [&[u8]; 8] = [
        b"\xff",
        b"\xc0\x80",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xe6\xb5",
        b"\x80",
    ];
    for octets in not_utf8 {
        headers.push([b"{\"total_size\":0,\"x\":\"", octets, b"\"}"].concat());
    }
    // What one octet more, less or other makes of them.
    for _ in 0..400 {
        let mut header = headers[noise.below(60)].clone();
        if header.is_empty() {
            continue;
        }
        let at = noise.below(header.len());
        let octet = OCTETS[noise.below(OCTETS.len())];
        match noise.below(3) {
            0 => header[at] = octet,
            1 => header.insert(at, octet),
            _ => drop(header.remove(at)),
        }
        headers.push(header);
    }
    headers
}

#[test]
fn what_the_core_refuses_is_shown_as_no_frame_and_nothing_else_is() {
    let headers = headers(&mut Noise(0x9e37_79b9_7f4a_7c15));
    let mut capture = Capture::new();
    for header in &headers {
        capture.datagram(TO_SERVER, &with_header(header, b""));
        capture.datagram(TO_CLIENT, &with_header(header, b""));
    }
    let shown = frames(capture.file(), &[]);
    assert_eq!(shown.len(), 2 * headers.len());
    let (mut good, mut bad) = (0, 0);
    for (header, shown) in headers.iter().zip(shown.chunks(2)) {
        let (mut text, mut scratch) = (header.clone(), vec![0; header.len()]);
        let request = json::decode::<Request>(&mut text, &mut scratch).map(|_| ());
        let (mut text, mut scratch) = (header.clone(), vec![0; header.len()]);
        let reply = json::decode::<Reply>(&mut text, &mut scratch).map(|_| ());
        let readable = String::from_utf8_lossy(header);
        // One that asks for something is a request wherever it goes.
        let asks = readable.contains("\"op\"");
        let sides = if asks {
            [request, request]
        } else {
            [request, reply]
        };
        for (side, shown) in sides.into_iter().zip(shown) {
            assert_eq!(shown.len(), 1, "{readable}");
            assert_eq!(
                shown[0].is_bad(),
                side.is_err(),
                "{readable}: {side:?}, {shown:?}"
            );
            if side.is_ok() { good += 1 } else { bad += 1 }
        }
    }
    assert!(good > 100 && bad > 100, "{good} {bad}");
}

#[test]
fn garbage_is_shown_as_such() {
    let mut noise = Noise(0xd1b5_4a32_d192_ed03);
    let mut capture = Capture::new();
    let mut datagrams = 0;
    for client in CLIENT..CLIENT + 150 {
        let mut octets = frame(
            json!({"op": "echo", "id": 1, "filename": "a"}),
            &noise.octets(0..50),
        );
        match noise.below(4) {
            0 => octets = noise.octets(1..100),
            1 => octets.truncate(1 + noise.below(octets.len() - 1)),
            2 => octets.extend(noise.octets(1..9)),
            _ => {
                let at = noise.below(octets.len());
                octets[at] ^= 1 << noise.below(8);
            }
        }
        capture.datagram((client, SERVER), &octets);
        datagrams += 1;
        capture.segments((client, SERVER), &octets, 1 + noise.below(40));
    }
    capture.datagram(TO_SERVER, b"");
    let output = tshark(capture.file(), &["-V"]);
    assert!(!text(&output.stdout).contains("Dissector bug"));
    let shown = frames(capture.file(), &["-Y", "udp"]);
    assert_eq!(shown.len(), datagrams + 1);
    assert!(shown[..datagrams].iter().all(|packet| !packet.is_empty()));
    assert_eq!(shown[datagrams], []);
    let remarked = shown
        .iter()
        .flatten()
        .filter(|frame| !frame.remarks.is_empty());
    assert!(remarked.count() > datagrams / 2);
}

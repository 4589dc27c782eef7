//! Octets that are no frames: every row of PROTOCOL.md's second table, and more.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Case;
use crate::counts::FLOOD;
use crate::frame::{Octets, framed, request};
use crate::peer::Peer;
use crate::target::Target;

const ERRORS: &str = "Errors";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "malformed: an error frame, whole, and the end",
        section: ERRORS,
        run: alone,
    },
    Case {
        name: "malformed: behind a good frame",
        section: ERRORS,
        run: behind_a_good_frame,
    },
    Case {
        name: "malformed: a stream that ends at every octet of a request",
        section: ERRORS,
        run: every_end,
    },
];

/// What is no frame.
pub(super) struct Malformed {
    /// What it is.
    pub name: &'static str,
    /// Its octets.
    pub octets: Vec<u8>,
    /// Whether the stream ends behind them.
    pub ends: bool,
    /// The code that it is answered with.
    pub code: &'static str,
}

/// Headers that are none, whatever the limits.
const HEADERS: &[(&str, &[u8])] = &[
    ("not JSON", b"hello world"),
    ("JSON cut short", br#"{"total_size":0"#),
    ("a string cut short", br#"{"total_size":0,"x":"#),
    ("an array", br#"[{"total_size":0}]"#),
    ("a number", b"5"),
    ("a string", br#""total_size""#),
    ("null", b"null"),
    ("white space", b"   "),
    ("an octet", b"x"),
    ("NaN", br#"{"total_size":NaN}"#),
    ("NaN in an unknown key", br#"{"total_size":0,"x":[NaN]}"#),
    ("Infinity", br#"{"total_size":0,"x":-Infinity}"#),
    ("trailing octets", br#"{"total_size":0}x"#),
    ("two objects", br#"{"total_size":0}{}"#),
    ("an empty object", b"{}"),
    ("no total_size", br#"{"op":"echo"}"#),
    (
        "total_size inside",
        br#"{"op":"echo","x":{"total_size":0}}"#,
    ),
    ("total_size twice", br#"{"total_size":0,"total_size":0}"#),
    (
        "total_size twice, escaped",
        br#"{"total_size":0,"total_\u0073ize":0}"#,
    ),
    ("total_size negative", br#"{"total_size":-1}"#),
    ("total_size -0", br#"{"total_size":-0}"#),
    ("total_size +1", br#"{"total_size":+1}"#),
    ("total_size a fraction", br#"{"total_size":1.5}"#),
    ("total_size 1.0", br#"{"total_size":1.0}"#),
    ("total_size 1e3", br#"{"total_size":1e3}"#),
    ("total_size 2^64", br#"{"total_size":18446744073709551616}"#),
    ("total_size hexadecimal", br#"{"total_size":0x10}"#),
    ("total_size a string", br#"{"total_size":"0"}"#),
    ("total_size null", br#"{"total_size":null}"#),
    ("total_size a boolean", br#"{"total_size":true}"#),
    ("total_size an array", br#"{"total_size":[0]}"#),
    ("leading zero", br#"{"total_size":00}"#),
    (
        "leading zero in an unknown key",
        br#"{"total_size":0,"x":01}"#,
    ),
    ("trailing comma", br#"{"total_size":0,}"#),
    (
        "trailing comma in an array",
        br#"{"total_size":0,"x":[1,]}"#,
    ),
    ("no comma", br#"{"total_size":0 "x":1}"#),
    ("no colon", br#"{"total_size" 0}"#),
    ("no key", br#"{"total_size":0,:1}"#),
    ("a key that is no string", br#"{"total_size":0,1:1}"#),
    ("a comment", br#"{"total_size":0/**/}"#),
    ("single quotes", b"{'total_size':0}"),
    ("a misspelt literal", br#"{"total_size":0,"x":nul}"#),
    (
        "a bracket that closes another",
        br#"{"total_size":0,"x":[1}}"#,
    ),
    ("half a number", br#"{"total_size":0,"x":1.}"#),
    ("half an exponent", br#"{"total_size":0,"x":1e}"#),
    ("invalid UTF-8", b"{\"total_size\":0,\"x\":\"\xff\"}"),
    ("UTF-8 too long", b"{\"total_size\":0,\"x\":\"\xc0\x80\"}"),
    ("UTF-8 cut short", b"{\"total_size\":0,\"x\":\"\xe6\xb5\"}"),
    (
        "a surrogate in UTF-8",
        b"{\"total_size\":0,\"x\":\"\xed\xa0\x80\"}",
    ),
    (
        "invalid UTF-8 outside of strings",
        b"{\"total_size\":0}\xff",
    ),
    (
        "the first half of a pair",
        br#"{"total_size":0,"x":"\ud83d"}"#,
    ),
    (
        "the second half of a pair",
        br#"{"total_size":0,"x":"\ude00"}"#,
    ),
    (
        "a pair the wrong way round",
        br#"{"total_size":0,"x":"\ude00\ud83d"}"#,
    ),
    ("an escape that is none", br#"{"total_size":0,"x":"\x41"}"#),
    ("half an escape", br#"{"total_size":0,"x":"\u12"}"#),
    (
        "GBK",
        b"{\"total_size\":0,\"filename\":\"\xb2\xe2\xca\xd4\"}",
    ),
    (
        "UTF-16",
        b"{\0\"\0t\0o\0t\0a\0l\0_\0s\0i\0z\0e\0\"\0:\x000\0}\0",
    ),
    ("a byte order mark", b"\xef\xbb\xbf{\"total_size\":0}"),
    ("NUL behind", b"{\"total_size\":0}\0"),
    ("NUL in a string", b"{\"total_size\":0,\"x\":\"\0\"}"),
    ("a control character", b"{\"total_size\":0,\"x\":\"\x1b\"}"),
    ("a newline in a string", b"{\"total_size\":0,\"x\":\"\n\"}"),
    ("id too large", br#"{"total_size":0,"id":4294967296}"#),
    ("id negative", br#"{"total_size":0,"id":-1}"#),
    ("id a string", br#"{"total_size":0,"id":"1"}"#),
    ("id twice", br#"{"total_size":0,"id":1,"id":1}"#),
    ("op no string", br#"{"total_size":0,"op":1}"#),
    ("op twice", br#"{"total_size":0,"op":"echo","op":"echo"}"#),
    ("filename no string", br#"{"total_size":0,"filename":[]}"#),
    (
        "timeout_ms a fraction",
        br#"{"total_size":0,"timeout_ms":0.5}"#,
    ),
    (
        "mode with more than permissions",
        br#"{"total_size":0,"mode":512}"#,
    ),
    ("mode negative", br#"{"total_size":0,"mode":-1}"#),
    ("mtime_ns negative", br#"{"total_size":0,"mtime_ns":-1}"#),
    (
        "mtime_ns too large",
        br#"{"total_size":0,"mtime_ns":18446744073709551616}"#,
    ),
    (
        "timeout_ms too large",
        br#"{"total_size":0,"timeout_ms":18446744073709551616}"#,
    ),
];

/// Every kind there is, for a server with this limit.
pub(super) fn malformed(max_header: usize) -> Vec<Malformed> {
    let row = |name, octets: &[u8], ends, code| Malformed {
        name,
        octets: octets.to_vec(),
        ends,
        code,
    };
    let headers = HEADERS
        .iter()
        .map(|(name, text)| row(name, &framed(text, b""), false, "bad_header"));
    let mut rows: Vec<Malformed> = headers.collect();
    let good = framed(br#"{"total_size":0}"#, b"");
    for (name, prefix) in [
        ("prefix 0", 0),
        ("prefix -1", -1),
        ("prefix -2^31", i32::MIN),
    ] {
        rows.push(row(name, &i32::to_le_bytes(prefix), false, "bad_header"));
    }
    let over = i32::try_from(max_header)
        .unwrap_or(i32::MAX)
        .saturating_add(1);
    for (name, prefix) in [
        ("prefix over the limit", over),
        ("prefix 2^31 - 1", i32::MAX),
    ] {
        rows.push(row(name, &i32::to_le_bytes(prefix), false, "too_large"));
    }
    let big_endian = [&16_i32.to_be_bytes(), &good[4..]].concat();
    for (name, octets) in [
        ("prefix in big endian", &big_endian[..]),
        (
            "a request of HTTP",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
        (
            "a hello of TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ),
        ("JSON without a prefix", br#"{"op":"echo","total_size":0}"#),
    ] {
        rows.push(row(name, octets, false, "too_large"));
    }
    for (name, len) in [
        ("end in the prefix", 3),
        ("end behind the prefix", 4),
        ("end in the header", good.len() - 1),
    ] {
        rows.push(row(name, &good[..len], true, "bad_header"));
    }
    // What fills a header to its limit.
    for (name, start, piece) in [
        ("open brackets", r#"{"x":"#, "["),
        ("open objects", "", r#"{"x":"#),
        ("2^64 many times", r#"{"total_size":"#, "9"),
        ("half a pair, at the end", r#"{"x":""#, r"\ud83d"),
    ] {
        let text = start.to_owned() + &piece.repeat((max_header - start.len()) / piece.len());
        rows.push(row(
            name,
            &framed(text.as_bytes(), b""),
            false,
            "bad_header",
        ));
    }
    let closed = |deep: usize| {
        let (open, close) = ("[".repeat(deep), "]".repeat(deep));
        framed(
            format!(r#"{{"total_size":0,"x":{open}{close}}}"#).as_bytes(),
            b"",
        )
    };
    rows.push(row("nested 33 deep", &closed(32), false, "bad_header"));
    let name = format!(r#"{{"total_size":0,"filename":"{}"}}"#, "x".repeat(256));
    rows.push(row(
        "filename too long",
        &framed(name.as_bytes(), b""),
        false,
        "bad_header",
    ));
    rows
}

fn alone(target: &Target) -> Result<()> {
    each(target, false)
}

fn behind_a_good_frame(target: &Target) -> Result<()> {
    each(target, true)
}

/// Sends each while somebody else is served, who notices nothing.
fn each(target: &Target, good_before: bool) -> Result<()> {
    let limits = target.limits()?;
    let mut bystander = target.served()?;
    for row in malformed(limits.max_header) {
        let sent = || format!("{}: sent {}", row.name, Octets(&row.octets));
        target
            .patiently(|| refused(target, &row, good_before))
            .with_context(sent)?;
        bystander.echo(b"still here").with_context(sent)?;
    }
    Ok(())
}

/// Sends it, and a lot behind it; reads what comes.
fn refused(target: &Target, row: &Malformed, good_before: bool) -> Result<()> {
    let before = match good_before {
        true => request(&json!({"op": "echo", "id": 77}), b"before"),
        false => Vec::new(),
    };
    let mut peer = Peer::connect(target)?;
    let mut sender = peer.handle()?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            sender.offer(&[&before, &row.octets[..]].concat());
            if row.ends {
                let _ = sender.half_close();
            } else {
                sender.offer(&vec![0xa5; FLOOD]);
            }
        });
        let mut read = || {
            if good_before {
                let frame = peer.answer()?;
                ensure!(
                    frame.id() == Some(77) && frame.body == b"before",
                    "{frame:?}"
                );
            }
            peer.error(row.code, None)?;
            peer.end().context("the error frame is the last")
        };
        let result = read();
        // Whatever was read, nobody goes on sending.
        peer.close();
        result
    })
}

fn every_end(target: &Target) -> Result<()> {
    let octets = request(&json!({"op": "exec", "id": 5}), b"help");
    let header_end = octets.len() - b"help".len();
    for len in 0..octets.len() {
        let sent = || format!("the stream ended behind {}", Octets(&octets[..len]));
        target
            .patiently(|| {
                let mut peer = target.served()?;
                peer.send(&octets[..len])?;
                peer.half_close()?;
                match len {
                    0 => {}
                    // Behind the header it is known whose end it is.
                    _ if len >= header_end => peer.error("bad_header", Some(5))?,
                    _ => peer.error("bad_header", None)?,
                }
                peer.end()
            })
            .with_context(sent)?;
    }
    Ok(())
}

//! What a header may be.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Case;
use crate::frame::{Frame, Octets, framed};
use crate::target::Target;

const HEADER: &str = "What a header may be";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "headers: escapes mean what they stand for",
        section: HEADER,
        run: escapes,
    },
    Case {
        name: "headers: unknown keys are ignored",
        section: HEADER,
        run: unknown_keys,
    },
    Case {
        name: "headers: numbers are exact",
        section: HEADER,
        run: exact_numbers,
    },
    Case {
        name: "headers: nested as deep as may be",
        section: HEADER,
        run: deepest,
    },
    Case {
        name: "headers: as long as may be, and one octet longer",
        section: HEADER,
        run: longest,
    },
];

/// Sends one header with a body of 5 octets; all of them are requests for an echo.
fn echo(target: &Target, header: &str) -> Result<Frame> {
    let mut peer = target.served()?;
    peer.send(&framed(header.as_bytes(), b"hello"))?;
    let sent = || format!("sent {}", Octets(header.as_bytes()));
    let frame = peer.answer().with_context(sent)?;
    ensure!(
        frame.body == b"hello" && frame.error().is_none(),
        "{}: {frame:?}",
        sent()
    );
    // Nothing was taken from what follows.
    peer.echo(b"next").with_context(sent)?;
    Ok(frame)
}

fn escapes(target: &Target) -> Result<()> {
    for header in [
        r#"{"\u006f\u0070":"\u0065cho","total_\u0073ize":5}"#,
        r#"{"op":"echo","filename":"\u6d4b\ud83d\ude00","total_size":5}"#,
        r#"{"op":"echo","filename":"\"\\\/\b\f\n\r\t\u0000","total_size":5}"#,
        r#"{"op":"echo","filename":"测😀","total_size":5}"#,
        r#"{"\ud83d\ude00":"\ud83d\ude00\ud83d\ude00","op":"echo","total_size":5}"#,
        " \t\r\n{ \"op\" :\t\"echo\" ,\r\n\"total_size\": 5 } \n",
    ] {
        echo(target, header)?;
    }
    let long = "é".repeat(127);
    echo(
        target,
        &format!(r#"{{"op":"echo","filename":"{long}x","total_size":5}}"#),
    )?;
    Ok(())
}

fn unknown_keys(target: &Target) -> Result<()> {
    for value in [
        "null",
        "true",
        "-1.5e-300",
        "1E400",
        r#""total_size""#,
        "[]",
        "{}",
        r#"[{"total_size":"no","op":1,"id":-1},[[[]]]]"#,
        r#"{"op":"fly","more":[null]}"#,
        "123456789012345678901234567890",
    ] {
        echo(
            target,
            &format!(r#"{{"x":{value},"op":"echo","total_size":5,"X":{value},"x":{value}}}"#),
        )?;
    }
    Ok(())
}

fn exact_numbers(target: &Target) -> Result<()> {
    for id in [0, 1, 2_147_483_648_u64, 4_294_967_295] {
        let frame = echo(
            target,
            &format!(r#"{{"id":{id},"op":"echo","total_size":5}}"#),
        )?;
        ensure!(frame.id() == Some(id), "the id {id} came back as {frame:?}");
    }
    echo(
        target,
        r#"{"op":"echo","timeout_ms":18446744073709551615,"total_size":5}"#,
    )?;

    // The largest body there can be is announced, and refused at once.
    let max_body = target.limits()?.max_body;
    let (code, id) = match max_body {
        u64::MAX => ("unknown_op", Some(3)),
        _ => ("too_large", Some(3)),
    };
    let mut peer = target.served()?;
    let header = format!(r#"{{"op":"fly","id":3,"total_size":{}}}"#, u64::MAX);
    peer.send(&framed(header.as_bytes(), b""))?;
    peer.error(code, id).context(header)
}

fn deepest(target: &Target) -> Result<()> {
    let deep = 31;
    echo(
        target,
        &format!(
            r#"{{"x":{}{},"op":"echo","total_size":5}}"#,
            "[".repeat(deep),
            "]".repeat(deep)
        ),
    )?;
    echo(
        target,
        &format!(
            r#"{{"x":{}1{},"op":"echo","total_size":5}}"#,
            r#"{"":"#.repeat(deep),
            "}".repeat(deep)
        ),
    )?;
    Ok(())
}

fn longest(target: &Target) -> Result<()> {
    let max = target.limits()?.max_header;
    let start = r#"{"op":"echo","total_size":5"#;
    let fill = max - start.len();
    let white = format!("{start}{}}}", " ".repeat(fill - 1));
    let text = format!(r#"{start},"x":"{}"}}"#, "x".repeat(fill - 8));
    let escaped = format!(
        r#"{start},"x":"{}{}"}}"#,
        r"\u6d4b".repeat((fill - 8) / 6),
        "x".repeat((fill - 8) % 6)
    );
    let pairs = format!(
        r#"{start},"x":"{}{}"}}"#,
        r"\ud83d\ude00".repeat((fill - 8) / 12),
        "x".repeat((fill - 8) % 12)
    );
    for header in [white, text, escaped, pairs] {
        ensure!(header.len() == max);
        echo(target, &header)?;
        target.patiently(|| {
            let mut peer = target.served()?;
            peer.send(&framed(format!("{header} ").as_bytes(), b""))?;
            peer.error("too_large", None)?;
            peer.end()
        })?;
    }
    // The limit is on the header, not on what is around it.
    let header = json!({"op": "echo"});
    target.served()?.ask(&header, &vec![b'x'; max * 2])?;
    Ok(())
}

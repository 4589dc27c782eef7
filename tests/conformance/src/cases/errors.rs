//! Requests that are refused, and what goes on behind them.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Case;
use crate::frame::{framed, request};
use crate::target::Target;

const ERRORS: &str = "Errors";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "errors: unknown operations, and the next request",
        section: ERRORS,
        run: unknown_op,
    },
    Case {
        name: "errors: the body of a refused request is thrown away",
        section: ERRORS,
        run: drained,
    },
    Case {
        name: "errors: unknown commands are not found",
        section: ERRORS,
        run: not_found,
    },
    Case {
        name: "errors: too large for the operation, and the next request",
        section: ERRORS,
        run: too_large_for_the_operation,
    },
    Case {
        name: "errors: too large for the server, and the end",
        section: ERRORS,
        run: too_large_for_the_server,
    },
    Case {
        name: "errors: timeout_ms ends the request alone",
        section: ERRORS,
        run: timeout,
    },
];

fn unknown_op(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    let long = "x".repeat(100);
    for header in [
        json!({"op": "fly", "id": 9}),
        json!({"op": "飞😀", "id": 9}),
        json!({"op": long, "id": 9}),
        json!({"op": "", "id": 9}),
        json!({"op": "ECHO", "id": 9}),
        json!({"op": "echo ", "id": 9}),
        json!({"op": "chat", "id": 9, "filename": "x"}),
        json!({"id": 9}),
    ] {
        for body in [&b""[..], b"now"] {
            peer.send(&request(&header, body))?;
            peer.error("unknown_op", Some(9))
                .with_context(|| header.to_string())?;
            peer.echo(b"next").with_context(|| header.to_string())?;
        }
    }
    Ok(())
}

fn drained(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    // What is in it looks like requests, and is none.
    let body = request(&json!({"op": "echo", "id": 66}), b"not this").repeat(1000);
    let refused = request(&json!({"op": "fly", "id": 2}), &body);
    peer.exchange(
        &[&refused, &request(&json!({"op": "echo", "id": 3}), b"this")],
        |peer| {
            peer.error("unknown_op", Some(2))?;
            let frame = peer.answer()?;
            anyhow::ensure!(frame.id() == Some(3) && frame.body == b"this", "{frame:?}");
            Ok(())
        },
    )
}

fn not_found(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    for line in ["no-such-command", "", "   ", "HELP", "help\u{0}", "测试"] {
        peer.send(&request(&json!({"op": "exec", "id": 4}), line.as_bytes()))?;
        peer.error("not_found", Some(4))
            .with_context(|| format!("`{line}`"))?;
    }
    peer.send(&request(&json!({"op": "exec", "id": 4}), b"\xff\xfe"))?;
    peer.error("not_found", Some(4)).context("no UTF-8")?;
    peer.echo(b"next")
}

fn too_large_for_the_operation(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    let refused = request(&json!({"op": "exec", "id": 5}), &vec![b'x'; 60_000]);
    peer.exchange(&[&refused], |peer| peer.error("too_large", Some(5)))?;
    peer.echo(b"next")
}

fn too_large_for_the_server(target: &Target) -> Result<()> {
    let max_body = target.limits()?.max_body;
    let Some(over) = max_body.checked_add(1) else {
        // There is no larger one. What is announced is refused by its operation, if that has a limit.
        let mut peer = target.served()?;
        let header = format!(r#"{{"op":"exec","id":6,"total_size":{max_body}}}"#);
        peer.send(&framed(header.as_bytes(), b""))?;
        return peer.error("too_large", Some(6));
    };
    let mut peer = target.served()?;
    let header = format!(r#"{{"op":"echo","id":6,"total_size":{over}}}"#);
    peer.send(&framed(header.as_bytes(), b""))?;
    peer.error("too_large", Some(6))?;
    peer.end()
}

fn timeout(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    let header = br#"{"op":"exec","id":7,"timeout_ms":100,"total_size":4}"#;
    peer.send(&framed(header, b"he"))?;
    peer.error("deadline", Some(7))?;
    // The rest of its body is thrown away, whenever it comes.
    thread::sleep(Duration::from_millis(50));
    peer.send(b"lp")?;
    peer.echo(b"next")?;
    // Time that is not needed is not used up.
    let frame = peer.ask(
        &json!({"op": "exec", "id": 8, "timeout_ms": 10_000}),
        b"help",
    )?;
    anyhow::ensure!(super::operations::is_success(&frame), "{frame:?}");
    peer.echo(b"next")
}

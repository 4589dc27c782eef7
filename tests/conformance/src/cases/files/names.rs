//! Which names and requests there are, and which are refused.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::Case;
use super::{FILES, ONE, PUT, about, content, holds, is_stored, put, refused, stat};
use crate::frame::{framed, request};
use crate::target::Target;

pub(in super::super) const CASES: &[Case] = &[
    Case {
        name: "files: names that lead elsewhere",
        section: FILES,
        run: names,
    },
    Case {
        name: "files: a name in a directory, where there are directories",
        section: PUT,
        run: beneath,
    },
    Case {
        name: "files: what is not there",
        section: FILES,
        run: not_there,
    },
    Case {
        name: "files: every operation is there",
        section: FILES,
        run: operations,
    },
    Case {
        name: "files: a body where there is none",
        section: FILES,
        run: bodies,
    },
];

fn names(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    for name in [
        "",
        "..",
        "../x",
        "x/..",
        "x/../y",
        ".",
        "./x",
        "x/.",
        "/",
        "/x",
        "/etc/passwd",
        "x/",
        "x//y",
        "\\",
        "..\\x",
        "x\\y",
        "c:",
        "c:x",
        "x:y",
        "a\u{0}b",
        "\u{1}",
        "a\nb",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{85}",
        "\u{9f}",
    ] {
        for op in ["get", "put", "stat", "list"] {
            // The root has no name of its own.
            if op == "list" && name.is_empty() {
                continue;
            }
            refused(&mut peer, &about(op, name), b"", "denied")?;
        }
    }
    for op in ["get", "put", "stat"] {
        refused(&mut peer, &json!({"op": op, "id": 1}), b"", "denied")?;
    }
    // Escapes hide nothing.
    for hidden in [r"\u002e\u002e\u002fx", r"\u002fx", r"x\u005cy", r"x\u003ay"] {
        let header = format!(r#"{{"op":"get","filename":"{hidden}","id":2,"total_size":0}}"#);
        peer.send(&framed(header.as_bytes(), b""))?;
        peer.error("denied", Some(2)).context(header)?;
    }
    peer.echo(b"next")
}

fn beneath(target: &Target) -> Result<()> {
    const DIRECTORY: &str = "sub";
    const NAME: &str = "sub/one.txt";
    let mut peer = target.served()?;
    let content = content(20, 10);
    let header = about("put", NAME);
    peer.send(&request(&header, &content))?;
    let frame = peer.answer()?;
    if frame.error().is_none() {
        ensure!(is_stored(&frame, &content), "{frame:?}");
        holds(&mut peer, NAME, &content)?;
        let kind = stat(&mut peer, DIRECTORY)?;
        let kind = kind.get("kind").and_then(Value::as_str);
        ensure!(kind == Some("dir"), "`{DIRECTORY}` is {kind:?}");
        return Ok(());
    }
    // There are none: nothing of it is there, under either name, and a name without one is as good as before.
    ensure!(frame.error() == Some("denied"), "{frame:?}");
    for name in [NAME, DIRECTORY, "one.txt"] {
        for op in ["get", "stat", "list"] {
            refused(&mut peer, &about(op, name), b"", "not_found")?;
        }
    }
    put(&mut peer, ONE, &content)?;
    holds(&mut peer, ONE, &content)
}

fn not_there(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    for name in [
        "no-such-file",
        "no-such-directory/x",
        "测😀",
        "..x",
        "x..",
        "...",
    ] {
        for op in ["get", "stat", "list"] {
            refused(&mut peer, &about(op, name), b"", "not_found")?;
        }
    }
    Ok(())
}

fn operations(target: &Target) -> Result<()> {
    let ops = target.limits()?.ops;
    for op in ["get", "put", "list", "stat"] {
        ensure!(
            ops.iter().any(|name| name == op),
            "`{op}` is not among {ops:?}"
        );
    }
    Ok(())
}

fn bodies(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    for op in ["get", "list", "stat"] {
        refused(&mut peer, &about(op, ONE), b"a body", "too_large")?;
    }
    Ok(())
}

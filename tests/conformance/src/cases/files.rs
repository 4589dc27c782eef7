//! Files. The names are always the same few: a board has room for two, and nothing takes one away.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Case;
use crate::at_once::at_once;
use crate::datagrams::{Datagrams, next_id, one};
use crate::frame::{Frame, Octets, framed, request};
use crate::peer::{Busy, Peer};
use crate::random::Random;
use crate::target::Target;

const FILES: &str = "Files";
const GET: &str = "`get`";
const PUT: &str = "`put`";

/// The files that are written here. The first has a name as long as can be everywhere, and twice as long in JSON: it leaves little of a
/// board's buffer.
const ONE: &str = r#""""""""""""""""""""""""""""1.txt"#;
const TWO: &str = "two.bin";
/// How long an answer may take that is worked at without a pause.
const ALONE: Duration = Duration::from_millis(1500);
/// The longest content that every target has room for, in octets.
const LEN: usize = 600;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "files: every operation is there",
        section: FILES,
        run: operations,
    },
    Case {
        name: "files: what is put is what is got",
        section: FILES,
        run: put_and_get,
    },
    Case {
        name: "files: another digest changes nothing",
        section: PUT,
        run: digests,
    },
    Case {
        name: "files: not overwritten unless asked to",
        section: PUT,
        run: overwrite,
    },
    Case {
        name: "files: one put at a time, and the old content meanwhile",
        section: PUT,
        run: one_at_a_time,
    },
    Case {
        name: "files: an interrupted put goes on",
        section: PUT,
        run: interrupted,
    },
    Case {
        name: "files: no room",
        section: PUT,
        run: no_room,
    },
    Case {
        name: "files: get goes on from where it was",
        section: GET,
        run: resumed,
    },
    Case {
        name: "files: one content at a time, whoever replaces it",
        section: FILES,
        run: replaced,
    },
    Case {
        name: "files: names that lead elsewhere",
        section: FILES,
        run: names,
    },
    Case {
        name: "files: what is not there",
        section: FILES,
        run: not_there,
    },
    Case {
        name: "files: stat and list say the same",
        section: "`list`",
        run: stat_and_list,
    },
    Case {
        name: "files: a body where there is none",
        section: FILES,
        run: bodies,
    },
    Case {
        name: "files: work goes on by itself",
        section: "`stat`",
        run: goes_on,
    },
    Case {
        name: "files: over UDP, frame by frame",
        section: "UDP",
        run: over_udp,
    },
];

/// A digest as it is on the wire.
fn sha256(octets: &[u8]) -> String {
    let digest = Sha256::digest(octets);
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn content(seed: u64, len: usize) -> Vec<u8> {
    Random::new(seed).octets(len)
}

/// A request for this file, with a new `id`.
fn about(op: &str, name: &str) -> Value {
    json!({"op": op, "filename": name, "id": next_id()})
}

/// The same with the keys of `more`.
fn with(mut header: Value, more: Value) -> Value {
    if let (Some(header), Value::Object(more)) = (header.as_object_mut(), more) {
        header.extend(more);
    }
    header
}

/// Stores a content, and sees that the server says so.
fn put(peer: &mut Peer, name: &str, content: &[u8]) -> Result<()> {
    let frame = peer.ask(&about("put", name), content)?;
    ensure!(is_stored(&frame, content), "put `{name}`: {frame:?}");
    Ok(())
}

/// Whether this is the reply to a `put` that has stored this content.
fn is_stored(frame: &Frame, content: &[u8]) -> bool {
    let digest = frame.header.get("sha256").and_then(Value::as_str);
    frame.error().is_none() && frame.body.is_empty() && digest == Some(&sha256(content))
}

/// Stores a content on a connection of its own. What was interrupted a moment ago may still be in the way.
fn store(target: &Target, name: &str, content: &[u8]) -> Result<()> {
    target.patiently(|| put(&mut Peer::connect(target)?, name, content))
}

/// The reply to a `get`.
struct Got {
    /// Where it begins.
    offset: u64,
    octets: Vec<u8>,
    sha256: String,
}

/// Puts the frames of the reply to a `get` together, as `next` brings them.
fn gather(mut next: impl FnMut() -> Result<Frame>) -> Result<Got> {
    let mut got: Option<Got> = None;
    loop {
        let frame = next()?;
        ensure!(frame.error().is_none(), "{frame:?}");
        let key = |key| frame.header.get(key);
        let offset = key("offset").map_or(0, |offset| offset.as_u64().unwrap_or(u64::MAX));
        let got = got.get_or_insert(Got {
            offset,
            octets: Vec::new(),
            sha256: String::new(),
        });
        let place = got.offset + got.octets.len() as u64;
        ensure!(offset == place, "at {place}: {frame:?}");
        // A frame with `more` has octets, the last one has the digest.
        ensure!(frame.more() != frame.body.is_empty(), "{frame:?}");
        ensure!(frame.more() != key("sha256").is_some(), "{frame:?}");
        got.octets.extend_from_slice(&frame.body);
        if let Some(sha256) = key("sha256").and_then(Value::as_str) {
            return Ok(Got {
                offset: got.offset,
                octets: std::mem::take(&mut got.octets),
                sha256: sha256.to_owned(),
            });
        }
    }
}

fn get(peer: &mut Peer, header: &Value) -> Result<Got> {
    peer.send(&request(header, b""))?;
    gather(|| {
        let frame = peer.answer()?;
        ensure!(
            frame.id() == header["id"].as_u64(),
            "asked {header}: {frame:?}"
        );
        Ok(frame)
    })
    .with_context(|| format!("asked {header}"))
}

/// Gets a file, which has to be this.
fn holds(peer: &mut Peer, name: &str, content: &[u8]) -> Result<()> {
    let got = get(peer, &about("get", name))?;
    ensure!(
        got.offset == 0 && got.octets == content && got.sha256 == sha256(content),
        "`{name}` has {} octets and the digest {}, instead of {} and {}",
        got.octets.len(),
        got.sha256,
        content.len(),
        sha256(content)
    );
    Ok(())
}

/// A request that is refused; the connection goes on.
fn refused(peer: &mut Peer, header: &Value, body: &[u8], code: &str) -> Result<()> {
    let asked = || format!("asked {header} {}", Octets(body));
    peer.send(&request(header, body))?;
    peer.error(code, header["id"].as_u64())
        .with_context(asked)?;
    peer.echo(b"next").with_context(asked)
}

fn stat(peer: &mut Peer, name: &str) -> Result<Map<String, Value>> {
    let frame = peer.ask(&about("stat", name), b"")?;
    let stat = serde_json::from_slice(&frame.body);
    stat.with_context(|| format!("stat `{name}`: {frame:?}"))
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

fn put_and_get(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    let every: Vec<u8> = (0..=255).collect();
    for content in [
        &b""[..],
        b"x",
        b"hello\n",
        &every,
        &content(target.seed, LEN),
        b"",
    ] {
        put(&mut peer, ONE, content)?;
        holds(&mut peer, ONE, content)?;
        put(&mut peer, TWO, content)?;
        holds(&mut peer, ONE, content)?;
        holds(&mut target.served()?, TWO, content)?;
    }
    Ok(())
}

fn digests(target: &Target) -> Result<()> {
    let (old, new) = (content(1, LEN), content(2, LEN));
    store(target, ONE, &old)?;
    let mut peer = target.served()?;
    let wrong = with(about("put", ONE), json!({"sha256": sha256(&old)}));
    refused(&mut peer, &wrong, &new, "digest")?;
    holds(&mut peer, ONE, &old)?;
    let right = with(about("put", ONE), json!({"sha256": sha256(&new)}));
    let frame = peer.ask(&right, &new)?;
    ensure!(is_stored(&frame, &new), "{frame:?}");
    holds(&mut peer, ONE, &new)?;
    // What is no digest is no header.
    let odd = with(
        about("put", ONE),
        json!({"sha256": sha256(&new).to_uppercase()}),
    );
    peer.send(&request(&odd, &new))?;
    peer.error("bad_header", None)?;
    peer.end()
}

fn overwrite(target: &Target) -> Result<()> {
    let (old, new) = (content(3, LEN), content(4, 10));
    store(target, ONE, &old)?;
    let mut peer = target.served()?;
    let careful = with(about("put", ONE), json!({"overwrite": false}));
    refused(&mut peer, &careful, &new, "denied")?;
    holds(&mut peer, ONE, &old)?;
    let careless = with(about("put", ONE), json!({"overwrite": true}));
    let frame = peer.ask(&careless, &new)?;
    ensure!(is_stored(&frame, &new), "{frame:?}");
    holds(&mut peer, ONE, &new)
}

fn one_at_a_time(target: &Target) -> Result<()> {
    target.patiently(|| one_at_a_time_at_once(target))
}

/// `Busy` if the second `put` has overtaken the first, as it may on its way: then nothing was learned.
fn one_at_a_time_at_once(target: &Target) -> Result<()> {
    let (old, new, other) = (content(5, LEN), content(6, LEN), content(7, LEN));
    store(target, ONE, &old)?;
    let mut writer = target.served()?;
    let octets = request(&about("put", ONE), &new);
    let (now, later) = octets.split_at(octets.len() - LEN / 2);
    writer.send(now)?;

    let mut peer = target.served()?;
    let header = about("put", ONE);
    peer.send(&request(&header, &other))?;
    let frame = peer.frame()?;
    let overtaken = is_stored(&frame, &other);
    if !overtaken {
        ensure!(
            frame.error() == Some("busy") && frame.id() == header["id"].as_u64(),
            "while another puts: {frame:?}"
        );
        holds(&mut peer, ONE, &old)?;
    }
    writer.send(later)?;
    let frame = writer.answer()?;
    ensure!(is_stored(&frame, &new), "{frame:?}");
    holds(&mut peer, ONE, &new)?;
    match overtaken {
        true => Err(Busy.into()),
        false => Ok(()),
    }
}

fn interrupted(target: &Target) -> Result<()> {
    for reset in [true, false] {
        // On its way the interruption may be overtaken by what follows.
        target.patiently(|| interrupted_by(target, reset))?;
    }
    Ok(())
}

fn interrupted_by(target: &Target, reset: bool) -> Result<()> {
    let (old, new) = (content(8, LEN), content(9, LEN));
    store(target, ONE, &old)?;
    let mut peer = target.served()?;
    let octets = request(&about("put", ONE), &new);
    peer.send(&octets[..octets.len() - LEN / 2])?;
    if reset {
        peer.reset()?;
    } else {
        peer.half_close()?;
        peer.error("bad_header", frame_id(&octets)?)?;
        peer.end()?;
    }
    // Nobody has it open any more once it may be written again.
    let mut peer = target.served()?;
    holds(&mut peer, ONE, &old)?;
    let more = with(about("put", ONE), json!({"offset": LEN + 1}));
    target.patiently(|| {
        peer.send(&request(&more, b"x"))?;
        peer.error("not_found", more["id"].as_u64())
    })?;
    let kept = stat(&mut peer, ONE)?.get("partial").and_then(Value::as_u64);
    let kept = usize::try_from(kept.context("no partial is kept")?)?;
    ensure!(kept <= LEN / 2, "{kept} octets were kept of {}", LEN / 2);
    let look = with(about("stat", ONE), json!({"offset": kept}));
    let frame = peer.ask(&look, b"")?;
    let digest = frame.header.get("sha256").and_then(Value::as_str);
    ensure!(
        digest == Some(&sha256(&new[..kept])),
        "{kept} octets: {frame:?}"
    );
    let rest = json!({"offset": kept, "sha256": sha256(&new)});
    let frame = peer.ask(&with(about("put", ONE), rest), &new[kept..])?;
    ensure!(is_stored(&frame, &new), "from {kept} on: {frame:?}");
    holds(&mut peer, ONE, &new)
}

/// The `id` of a request.
fn frame_id(mut octets: &[u8]) -> Result<Option<u64>> {
    let text = octets.split_off(4..).context("a prefix")?;
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let header = values.next().context("a header")??;
    Ok(header["id"].as_u64())
}

fn no_room(target: &Target) -> Result<()> {
    let old = content(10, LEN);
    store(target, ONE, &old)?;
    let mut peer = target.served()?;
    let header = json!({"op": "put", "filename": ONE, "id": 3, "total_size": u64::MAX});
    peer.send(&framed(header.to_string().as_bytes(), b"not all of it"))?;
    peer.error("too_large", Some(3))?;
    drop(peer);
    holds(&mut target.served()?, ONE, &old)
}

fn resumed(target: &Target) -> Result<()> {
    let all = content(11, LEN);
    store(target, ONE, &all)?;
    let mut peer = target.served()?;
    for at in [1, LEN / 2, LEN - 1, LEN] {
        let known = json!({"offset": at, "sha256": sha256(&all[..at])});
        let another = json!({"offset": at, "sha256": sha256(b"another content")});
        let blind = json!({"offset": at});
        for (more, offset) in [(known, at), (another, 0), (blind, at)] {
            let header = with(about("get", ONE), more);
            let got = get(&mut peer, &header)?;
            ensure!(
                got.offset == offset as u64
                    && got.octets == all[offset..]
                    && got.sha256 == sha256(&all),
                "asked {header}: {} octets from {} on",
                got.octets.len(),
                got.offset
            );
        }
    }
    let behind = with(about("get", ONE), json!({"offset": LEN + 1}));
    refused(&mut peer, &behind, b"", "not_found")
}

fn replaced(target: &Target) -> Result<()> {
    const ROUNDS: usize = 30;
    let contents = [content(12, LEN), content(13, LEN), content(14, 0)];
    store(target, TWO, &contents[0])?;
    at_once([true, false], |writes| {
        let mut whole = 0;
        for round in 0..ROUNDS {
            if writes {
                store(target, TWO, &contents[round % contents.len()])?;
                continue;
            }
            let mut peer = target.served()?;
            let header = about("get", TWO);
            peer.send(&request(&header, b""))?;
            let mut gone = false;
            let got = gather(|| {
                let frame = peer.answer();
                // Who reads what is replaced may be told so, inside of a frame or between two.
                gone = frame.as_ref().map_or(true, |frame| frame.error().is_some());
                frame
            });
            if !gone {
                let got = got?;
                let is_one = contents
                    .iter()
                    .any(|content| got.octets == *content && got.sha256 == sha256(content));
                ensure!(is_one, "{} octets that nobody put", got.octets.len());
                whole += 1;
            }
        }
        ensure!(writes || whole > 0, "it was gone {ROUNDS} times");
        Ok(())
    })
}

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

/// The lines of a listing.
fn list(peer: &mut Peer) -> Result<Vec<Map<String, Value>>> {
    let header = json!({"op": "list", "id": next_id()});
    peer.send(&request(&header, b""))?;
    let mut lines = Vec::new();
    loop {
        let frame = peer.answer()?;
        ensure!(
            frame.error().is_none() && frame.id() == header["id"].as_u64(),
            "asked {header}: {frame:?}"
        );
        for line in frame.text()?.split_inclusive('\n') {
            let entry = line.strip_suffix('\n').map(serde_json::from_str);
            lines.push(entry.with_context(|| format!("a line is cut: {frame:?}"))??);
        }
        if !frame.more() {
            return Ok(lines);
        }
    }
}

fn stat_and_list(target: &Target) -> Result<()> {
    store(target, ONE, &content(15, 123))?;
    store(target, TWO, b"")?;
    let mut peer = target.served()?;
    let lines = list(&mut peer)?;
    for (name, size) in [(ONE, 123), (TWO, 0)] {
        let stat = stat(&mut peer, name)?;
        let entry = json!({"name": name, "kind": "file", "size": size, "writable": true});
        ensure!(
            Some(&stat) == entry.as_object(),
            "stat: {stat:?} instead of {entry}"
        );
        let found = lines.iter().filter(|line| **line == stat).count();
        ensure!(found == 1, "{found} times {entry} in {lines:?}");
    }
    for line in lines {
        let name = line.get("name").and_then(Value::as_str).context("a name")?;
        if line.get("writable") == Some(&Value::Bool(false)) {
            refused(&mut peer, &about("put", name), b"", "denied")?;
            // Whatever it says, it can be had.
            get(&mut peer, &about("get", name))?;
        }
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

/// All frames of a reply, in order, however often and in which order they come.
fn all_frames(peer: &Datagrams, header: &Value) -> Result<Vec<Frame>> {
    let id = header["id"].as_u64();
    let mut frames: Vec<(u64, Frame)> = Vec::new();
    peer.until(&request(header, b""), |octets| {
        let frame = one(octets)?;
        if frame.id() != id {
            return Ok(None);
        }
        if frame.error() == Some("busy") {
            return Err(Busy.into());
        }
        let offset = frame
            .header
            .get("offset")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        if !frames.iter().any(|(_, known)| *known == frame) {
            frames.push((offset, frame));
        }
        frames.sort_by_key(|(offset, frame)| (*offset, !frame.more()));
        let mut place = 0;
        for (offset, frame) in &frames {
            if *offset != place {
                return Ok(None);
            }
            place += frame.body.len() as u64;
            if !frame.more() {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })
    .with_context(|| format!("asked {header}"))?;
    Ok(frames.into_iter().map(|(_, frame)| frame).collect())
}

/// A digest takes a few steps where the buffer is short, and nobody asks again in between.
fn goes_on(target: &Target) -> Result<()> {
    /// Few enough, on a way on which each may be lost.
    const ATTEMPTS: usize = 4;
    let all = content(18, LEN);
    store(target, ONE, &all)?;
    let peer = Datagrams::new(target)?;
    for _ in 0..ATTEMPTS {
        let look = with(about("stat", ONE), json!({"offset": LEN}));
        peer.send(&request(&look, b""))?;
        while let Some(datagram) = peer.receive(ALONE)? {
            let frame = one(&datagram)?;
            if frame.id() != look["id"].as_u64() {
                continue;
            }
            if frame.error() == Some("busy") {
                break;
            }
            let digest = frame.header.get("sha256").and_then(Value::as_str);
            ensure!(digest == Some(&sha256(&all)), "{frame:?}");
            return Ok(());
        }
    }
    bail!("{ATTEMPTS} times without an answer within {ALONE:?}, unless it is asked again")
}

fn over_udp(target: &Target) -> Result<()> {
    let (one, two) = (content(16, LEN), content(17, LEN));
    store(target, ONE, &one)?;
    let peer = Datagrams::new(target)?;
    let mut frames = target
        .patiently(|| all_frames(&peer, &about("get", ONE)))?
        .into_iter();
    let got = gather(|| frames.next().context("no last frame"))?;
    ensure!(
        got.octets == one && got.sha256 == sha256(&one),
        "{} octets",
        got.octets.len()
    );

    let frame = peer.ask(&json!({"op": "put", "filename": TWO}), &two[..LEN / 2])?;
    ensure!(is_stored(&frame, &two[..LEN / 2]), "{frame:?}");
    holds(&mut target.served()?, TWO, &two[..LEN / 2])?;

    let frame = peer.ask(&json!({"op": "stat", "filename": ONE}), b"")?;
    let stat: Map<String, Value> = serde_json::from_slice(&frame.body)?;
    ensure!(stat.get("size") == Some(&LEN.into()), "{frame:?}");
    // A reply over UDP begins at 0.
    let frame = peer.ask(&json!({"op": "get", "filename": ONE, "offset": 1}), b"")?;
    if frame.error() != Some("denied") {
        bail!("in the middle of a file: {frame:?}");
    }
    Ok(())
}

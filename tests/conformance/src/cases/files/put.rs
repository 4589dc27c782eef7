//! What is put, and what becomes of the file meanwhile.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::Case;
use super::{
    FILES, LEN, ONE, PUT, TWO, about, content, gather, holds, is_stored, put, refused, sha256,
    stat, store, with,
};
use crate::at_once::at_once;
use crate::frame::{framed, request};
use crate::peer::Busy;
use crate::target::Target;

pub(in super::super) const CASES: &[Case] = &[
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
        name: "files: a mode and a time are kept, or neither is said",
        section: PUT,
        run: attributes,
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
        name: "files: one content at a time, whoever replaces it",
        section: FILES,
        run: replaced,
    },
];

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

fn attributes(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    for (mode, mtime_ns) in [(0o644, 1_000_000_000_123_456_789_u64), (0o600, 0)] {
        let content = content(19, LEN);
        let header = with(
            about("put", ONE),
            json!({"mode": mode, "mtime_ns": mtime_ns}),
        );
        let frame = peer.ask(&header, &content)?;
        ensure!(is_stored(&frame, &content), "{frame:?}");
        holds(&mut peer, ONE, &content)?;
        let said = stat(&mut peer, ONE)?;
        let said = (said.get("mode"), said.get("mtime_ns"));
        let (mode, mtime_ns) = (Value::from(mode), Value::from(mtime_ns));
        ensure!(
            said == (None, None) || said == (Some(&mode), Some(&mtime_ns)),
            "{said:?} instead of {mode} and {mtime_ns}"
        );
    }
    for odd in [json!({"mode": 512}), json!({"mtime_ns": -1})] {
        let mut peer = target.served()?;
        peer.send(&request(&with(about("put", ONE), odd), b"x"))?;
        peer.error("bad_header", None)?;
        peer.end()?;
    }
    Ok(())
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

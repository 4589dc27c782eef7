//! What is got, from the start and from elsewhere.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::super::Case;
use super::{
    GET, LEN, ONE, TWO, about, content, gather, get, holds, is_stored, refused, sha256, store, with,
};
use crate::datagrams::{Datagrams, one};
use crate::frame::{Frame, request};
use crate::peer::Busy;
use crate::target::Target;

pub(in super::super) const CASES: &[Case] = &[
    Case {
        name: "files: get goes on from where it was",
        section: GET,
        run: resumed,
    },
    Case {
        name: "files: over UDP, frame by frame",
        section: "UDP",
        run: over_udp,
    },
];

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

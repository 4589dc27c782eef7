//! `stat` and `list`.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::super::Case;
use super::{ALONE, LEN, ONE, TWO, about, content, get, refused, sha256, stat, store, with};
use crate::datagrams::{Datagrams, next_id, one};
use crate::frame::request;
use crate::peer::Peer;
use crate::target::Target;

pub(in super::super) const CASES: &[Case] = &[
    Case {
        name: "files: stat and list say the same",
        section: "`list`",
        run: stat_and_list,
    },
    Case {
        name: "files: work goes on by itself",
        section: "`stat`",
        run: goes_on,
    },
];

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
        let mut stat = stat(&mut peer, name)?;
        let found = lines.iter().filter(|line| **line == stat).count();
        ensure!(found == 1, "{found} times {stat:?} in {lines:?}");
        // Of these are none where they are not kept.
        for (key, most) in [("mode", 0o777), ("mtime_ns", u64::MAX)] {
            let value = stat.remove(key);
            let is_fine = value
                .as_ref()
                .is_none_or(|value| value.as_u64() <= Some(most));
            ensure!(is_fine, "`{key}` is {value:?}");
        }
        let entry = json!({"name": name, "kind": "file", "size": size, "writable": true});
        ensure!(
            Some(&stat) == entry.as_object(),
            "stat: {stat:?} instead of {entry}"
        );
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

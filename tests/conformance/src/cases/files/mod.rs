//! Files. The names are always the same few: a board has room for two, and nothing takes one away.

pub(super) mod get;
pub(super) mod look;
pub(super) mod names;
pub(super) mod put;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::datagrams::next_id;
use crate::frame::{Frame, Octets, request};
use crate::peer::Peer;
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

//! Datagrams.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::malformed::malformed;
use super::operations::{figure, is_success};
use crate::datagrams::{Datagrams, next_id, one};
use crate::frame::{Frame, Octets, framed, request};
use crate::random::Random;
use crate::target::Target;

const UDP: &str = "UDP";
/// How long nothing has to come for there to be nothing.
const SILENCE: Duration = Duration::from_millis(150);
/// The most octets that a datagram can have (IPv4).
const LONGEST: usize = 65_507;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "udp: one datagram is one frame",
        section: UDP,
        run: frames,
    },
    Case {
        name: "udp: as long as may be",
        section: UDP,
        run: longest,
    },
    Case {
        name: "udp: a repeated request is carried out once",
        section: UDP,
        run: once,
    },
    Case {
        name: "udp: without id, each is carried out",
        section: UDP,
        run: without_id,
    },
    Case {
        name: "udp: replies have their request's id",
        section: UDP,
        run: ids,
    },
    Case {
        name: "udp: refusals",
        section: UDP,
        run: refusals,
    },
    Case {
        name: "udp: bad frames",
        section: UDP,
        run: bad_frames,
    },
    Case {
        name: "udp: a length that is not the datagram's",
        section: UDP,
        run: wrong_length,
    },
    Case {
        name: "udp: an error frame is not answered",
        section: UDP,
        run: error_frames,
    },
];

/// An echo, its reply complete and right.
pub(super) fn echo(peer: &Datagrams, body: &[u8]) -> Result<()> {
    let frame = peer.ask(&json!({"op": "echo"}), body)?;
    ensure!(
        frame.body == body && frame.error().is_none() && !frame.more(),
        "the echo of {} is {frame:?}",
        Octets(body)
    );
    Ok(())
}

fn frames(target: &Target) -> Result<()> {
    let peer = Datagrams::new(target)?;
    let mut random = Random::new(target.seed);
    for len in (0..20).chain([100, 255, 256, 300]) {
        echo(&peer, &random.octets(len))?;
    }
    let info = peer.ask(&json!({"op": "info"}), b"")?;
    let over_tcp = target.ask(&json!({"op": "info"}), b"")?;
    ensure!(
        info.body == over_tcp.body,
        "{info:?} and over TCP {over_tcp:?}"
    );
    let help = peer.ask(&json!({"op": "exec"}), b"help")?;
    ensure!(
        is_success(&help) && help.text()?.contains("uptime"),
        "{help:?}"
    );
    Ok(())
}

/// A request for an echo that makes a datagram of this length.
fn datagram(id: u32, len: usize) -> Vec<u8> {
    let header = |body: usize| format!(r#"{{"op":"echo","id":{id:10},"total_size":{body:5}}}"#);
    let body = len - 4 - header(0).len();
    framed(header(body).as_bytes(), &vec![b'x'; body])
}

fn longest(target: &Target) -> Result<()> {
    let max = target.limits()?.max_datagram;
    let peer = Datagrams::new(target)?;
    for len in [max - 1, max] {
        let (_, frame) = peer.exchange_with(|id| datagram(id, len))?;
        let sent = datagram(0, len);
        ensure!(
            frame.error().is_none() && sent.ends_with(&frame.body) && frame.body.len() > len / 2,
            "{len} octets: {frame:?}"
        );
    }
    for len in [max + 1, max + 2, max + 100, 2 * max] {
        // What cannot be sent cannot be refused.
        if len > LONGEST {
            continue;
        }
        // Many a stack drops it, and what comes in fragments in any case.
        for _ in 0..3 {
            let id = next_id();
            peer.send(&datagram(id, len))?;
            while let Some(octets) = peer.receive(SILENCE)? {
                let frame = one(&octets)?;
                // Another reply may come a second time.
                let is_ours = frame.id().is_none_or(|of| of == u64::from(id));
                let refused = frame.error() == Some("too_large");
                ensure!(refused || !is_ours, "{len} octets: {frame:?}");
            }
        }
        echo(&peer, b"next")?;
    }
    Ok(())
}

fn once(target: &Target) -> Result<()> {
    let peer = Datagrams::new(target)?;
    let stats = || {
        let (octets, frame) = peer.exchange(&json!({"op": "exec"}), b"stats")?;
        ensure!(is_success(&frame), "{frame:?}");
        let requests = figure(frame.text()?, "udp_requests")?;
        Ok((octets, frame, requests))
    };
    for _ in 0..3 {
        let (first, frame, before) = stats()?;
        let id = u32::try_from(frame.id().context("an id")?)?;
        let again = request(&json!({"op": "exec", "id": id}), b"stats");
        for _ in 0..5 {
            let (octets, _) = peer.reply(&again, id)?;
            ensure!(
                octets == first,
                "first {}, then {}",
                Octets(&first),
                Octets(&octets)
            );
        }
        let (_, _, after) = stats()?;
        ensure!(after == before + 1, "requests: {before}, and then {after}");
    }
    // Later, and after others, it is still the same.
    let id = next_id();
    let uptime = request(&json!({"op": "exec", "id": id}), b"uptime");
    let (first, frame) = peer.reply(&uptime, id)?;
    ensure!(is_success(&frame), "{frame:?}");
    std::thread::sleep(Duration::from_millis(1100));
    let (octets, _) = peer.reply(&uptime, id)?;
    ensure!(
        octets == first,
        "first {}, then {}",
        Octets(&first),
        Octets(&octets)
    );
    // Other octets with the same `id` are another request.
    let other = request(&json!({"op": "echo", "id": id}), b"other");
    peer.until(&other, |octets| {
        let frame = one(octets)?;
        Ok((frame.body == b"other").then_some(()))
    })
}

fn without_id(target: &Target) -> Result<()> {
    let peer = Datagrams::new(target)?;
    let stats = request(&json!({"op": "exec"}), b"stats");
    let mut last = 0;
    for _ in 0..5 {
        last = peer.until(&stats, |octets| {
            let frame = one(octets)?;
            ensure!(is_success(&frame) && frame.id().is_none(), "{frame:?}");
            // An earlier reply may come a second time: nothing tells it from this one but the count.
            let requests = figure(frame.text()?, "udp_requests")?;
            Ok((requests > last).then_some(requests))
        })?;
    }
    Ok(())
}

fn ids(target: &Target) -> Result<()> {
    let peer = Datagrams::new(target)?;
    let asked = |id: &u32| request(&json!({"op": "echo", "id": id}), &id.to_le_bytes());
    let mut missing: Vec<u32> = (0..3).map(|_| next_id()).collect();
    let mut sent = missing.clone();
    for _ in 0..100 {
        for id in &missing {
            peer.send(&asked(id))?;
        }
        while let Some(octets) = peer.receive(SILENCE)? {
            let frame = one(&octets)?;
            let id = u32::try_from(frame.id().with_context(|| format!("{frame:?}"))?)?;
            ensure!(sent.contains(&id), "{frame:?}");
            if frame.error() == Some("busy") {
                // It is final: another one is asked for.
                if missing.contains(&id) {
                    sent.push(next_id());
                    missing.extend(sent.last());
                }
            } else {
                ensure!(frame.body == id.to_le_bytes(), "{frame:?}");
            }
            missing.retain(|missing| *missing != id);
        }
        if missing.is_empty() {
            return Ok(());
        }
    }
    anyhow::bail!("{missing:?} of {sent:?} were never answered")
}

fn refusals(target: &Target) -> Result<()> {
    let peer = Datagrams::new(target)?;
    let asked: [(Value, &[u8], &str); 4] = [
        (json!({"op": "fly"}), b"now", "unknown_op"),
        (json!({}), b"", "unknown_op"),
        (json!({"op": "exec"}), b"no-such-command", "not_found"),
        (json!({"op": "exec"}), &[b'x'; 400], "too_large"),
    ];
    for (header, body, code) in &asked {
        let frame = peer.ask(header, body)?;
        ensure!(frame.error() == Some(*code), "asked {header}: {frame:?}");
        echo(&peer, b"next")?;
    }
    Ok(())
}

/// Sends it until it is refused with this code and `id`.
fn refused(peer: &Datagrams, datagram: &[u8], code: &str, id: Option<u64>) -> Result<()> {
    let refused = |frame: &Frame| frame.error() == Some(code) && frame.id() == id;
    let sent = || format!("sent {}", Octets(datagram));
    peer.until(datagram, |octets| {
        let frame = one(octets)?;
        ensure!(refused(&frame), "`{code}` was expected, not {frame:?}");
        Ok(Some(()))
    })
    .with_context(sent)?;
    // What was asked twice may be answered twice.
    while peer.receive(Duration::from_millis(1))?.is_some() {}
    Ok(())
}

fn bad_frames(target: &Target) -> Result<()> {
    let limits = target.limits()?;
    for row in malformed(limits.max_header) {
        if row.octets.len() > limits.max_datagram {
            continue;
        }
        // Late answers to the last row are not taken for answers to this one.
        let peer = Datagrams::new(target)?;
        refused(&peer, &row.octets, row.code, None).context(row.name)?;
    }
    let peer = Datagrams::new(target)?;
    refused(&peer, b"", "bad_header", None).context("an empty datagram")?;
    echo(&peer, b"next")
}

fn wrong_length(target: &Target) -> Result<()> {
    let header = |len: u64| format!(r#"{{"op":"echo","id":5,"total_size":{len}}}"#);
    let good = request(&json!({"op": "echo", "id": 5}), b"hello");
    for octets in [
        framed(header(6).as_bytes(), b"hello"),
        framed(header(4).as_bytes(), b"hello"),
        framed(header(0).as_bytes(), b"hello"),
        framed(header(5).as_bytes(), b""),
        framed(header(u64::MAX).as_bytes(), b"hello"),
        [&good[..], &good].concat(),
        [&good[..], b"\0"].concat(),
        good[..good.len() - 1].to_vec(),
    ] {
        let peer = Datagrams::new(target)?;
        refused(&peer, &octets, "bad_header", Some(5))?;
    }
    Ok(())
}

fn error_frames(target: &Target) -> Result<()> {
    let peer = Datagrams::new(target)?;
    for header in [
        json!({"error": "internal", "message": "x"}),
        json!({"error": "busy", "message": "x", "retry_after_ms": 1, "id": 4}),
        json!({"error": "a code of the future"}),
    ] {
        for _ in 0..3 {
            peer.send(&request(&header, b""))?;
        }
        let answer = peer.receive(SILENCE)?;
        ensure!(answer.is_none(), "{header} was answered: {answer:?}");
    }
    echo(&peer, b"next")
}

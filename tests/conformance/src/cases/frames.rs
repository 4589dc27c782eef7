//! Good frames in any pieces.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::at_once::at_once;
use crate::counts::{CUTS, LARGE_BODY, REQUESTS_IN_ONE_SEND, REQUESTS_IN_PIECES, REQUESTS_UNREAD};
use crate::frame::{Octets, dumps, request};
use crate::peer::Peer;
use crate::random::Random;
use crate::target::Target;

const FRAMES: &str = "Frames";
const IN_TURN: &str = "Requests and replies";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "frames: one octet at a time",
        section: FRAMES,
        run: one_octet_at_a_time,
    },
    Case {
        name: "frames: in random pieces",
        section: FRAMES,
        run: random_pieces,
    },
    Case {
        name: "frames: many in one send",
        section: FRAMES,
        run: many_in_one_send,
    },
    Case {
        name: "frames: across a large body",
        section: FRAMES,
        run: across_a_large_body,
    },
    Case {
        name: "frames: unread until all are sent",
        section: IN_TURN,
        run: unread_until_sent,
    },
    Case {
        name: "frames: of all kinds, answered in order",
        section: IN_TURN,
        run: in_order,
    },
    Case {
        name: "frames: of many clients, none mixed up",
        section: IN_TURN,
        run: side_by_side,
    },
];

const NAMES: &[&str] = &[
    "plain",
    "测试.txt",
    "😀😀",
    "quote \" backslash \\",
    "tab\tnewline\n",
    "é\u{2028}\u{1}\u{7f}",
    "",
];

/// A request, and the `id` and body of its reply.
pub(super) struct Echo {
    octets: Vec<u8>,
    id: usize,
    body: Vec<u8>,
}

/// So many requests, with names and unknown keys of all kinds.
pub(super) fn echoes(count: usize) -> Vec<Echo> {
    let echo = |id: usize| {
        let name = NAMES[id % NAMES.len()];
        let mut body = name.as_bytes().to_vec();
        body.push(id as u8);
        let body = body.repeat(id % 9);
        let mut header = json!({"op": "echo", "id": id, "filename": name});
        if id % 2 == 1 {
            header["颜色"] =
                json!({"deep": [{"er": [null, true, -1.5e300, {"total_size": "not this one"}]}]});
            header["a"] = json!([0, -0.0, 1e-7, u64::MAX, i64::MIN, {}, [], ""]);
        }
        let frame = [request, dumps][id / 2 % 2];
        Echo {
            octets: frame(&header, &body),
            id,
            body,
        }
    };
    (0..count).map(echo).collect()
}

/// Reads the replies to all of them.
pub(super) fn check(peer: &mut Peer, echoes: &[Echo]) -> Result<()> {
    for echo in echoes {
        let asked = || format!("asked {}", Octets(&echo.octets));
        let frame = peer.answer().with_context(asked)?;
        let right = frame.id() == Some(echo.id as u64)
            && frame.error().is_none()
            && !frame.more()
            && frame.body == echo.body;
        ensure!(right, "{}, answered {frame:?}", asked());
    }
    Ok(())
}

pub(super) fn stream(echoes: &[Echo]) -> Vec<u8> {
    echoes.iter().flat_map(|echo| echo.octets.clone()).collect()
}

/// Sends the pieces while the replies are read; then the connection ends cleanly.
fn exchange(target: &Target, pieces: &[&[u8]], echoes: &[Echo]) -> Result<()> {
    let mut peer = target.served()?;
    peer.exchange(pieces, |peer| check(peer, echoes))?;
    peer.half_close()?;
    peer.end()
}

fn one_octet_at_a_time(target: &Target) -> Result<()> {
    let echoes = echoes(2 * NAMES.len());
    let stream = stream(&echoes);
    let pieces: Vec<&[u8]> = stream.chunks(1).collect();
    exchange(target, &pieces, &echoes)
}

fn random_pieces(target: &Target) -> Result<()> {
    for seed in 0..CUTS {
        let mut random = Random::new(target.seed + seed);
        let echoes = echoes(REQUESTS_IN_PIECES);
        let stream = stream(&echoes);
        let pieces = random.pieces(&stream, 2 * REQUESTS_IN_PIECES);
        exchange(target, &pieces, &echoes).with_context(|| format!("cut by {random:?}"))?;
    }
    Ok(())
}

fn many_in_one_send(target: &Target) -> Result<()> {
    let echoes = echoes(REQUESTS_IN_ONE_SEND);
    exchange(target, &[&stream(&echoes)], &echoes)
}

fn unread_until_sent(target: &Target) -> Result<()> {
    let echoes = echoes(REQUESTS_UNREAD);
    let mut peer = target.served()?;
    for echo in &echoes {
        peer.send(&echo.octets)?;
    }
    std::thread::sleep(Duration::from_millis(50));
    check(&mut peer, &echoes)
}

fn across_a_large_body(target: &Target) -> Result<()> {
    let large = Random::new(target.seed).octets(LARGE_BODY);
    let bodies: [&[u8]; 4] = [b"a", &large, b"", b"z"];
    let frame = |(id, body): (usize, &&[u8])| Echo {
        octets: request(&json!({"op": "echo", "id": id}), body),
        id,
        body: body.to_vec(),
    };
    let echoes: Vec<Echo> = bodies.iter().enumerate().map(frame).collect();
    exchange(target, &[&stream(&echoes)], &echoes)
}

fn in_order(target: &Target) -> Result<()> {
    /// What is asked, its body, and the code that it is refused with.
    type Kind = (Value, &'static [u8], Option<&'static str>);
    let kinds: [Kind; 6] = [
        (json!({"op": "echo"}), b"hello", None),
        (json!({"op": "fly"}), b"ignored", Some("unknown_op")),
        (json!({"op": "info"}), b"", None),
        (json!({}), b"no op", Some("unknown_op")),
        (json!({"op": "exec"}), b"help", None),
        (json!({"op": "exec"}), b"no-such-command", Some("not_found")),
    ];
    let asked: Vec<(usize, &Kind)> = kinds.iter().cycle().take(60).enumerate().collect();
    let mut sent = Vec::new();
    for (id, (header, body, _)) in &asked {
        let mut header = header.clone();
        header["id"] = (*id).into();
        sent.extend(request(&header, body));
    }
    let mut peer = target.served()?;
    peer.exchange(&[&sent], |peer| {
        for (id, (header, body, code)) in &asked {
            loop {
                let frame = peer.answer()?;
                ensure!(
                    frame.id() == Some(*id as u64) && frame.error() == *code,
                    "asked {header} {} with the id {id}: {frame:?}",
                    Octets(body)
                );
                if !frame.more() {
                    break;
                }
            }
        }
        Ok(())
    })
}

fn side_by_side(target: &Target) -> Result<()> {
    let mut peers = Vec::new();
    for _ in 0..target.slots.min(8) {
        peers.push(target.served()?);
    }
    let echoes = echoes(REQUESTS_IN_PIECES);
    let stream = stream(&echoes);
    at_once((target.seed..).zip(&mut peers), |(seed, peer)| {
        let pieces = Random::new(seed).pieces(&stream, REQUESTS_IN_PIECES);
        peer.exchange(&pieces, |peer| check(peer, &echoes))
            .with_context(|| format!("cut by the seed {seed}"))
    })
}

//! What nobody sends who means well.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Case;
use super::connections::all_served;
use super::udp;
use crate::at_once::at_once;
use crate::counts::{GARBAGE, MUTATIONS};
use crate::datagrams::{Datagrams, one};
use crate::frame::{Frame, Octets, request};
use crate::mutation::{Mutated, mutated};
use crate::peer::{Busy, Peer};
use crate::random::Random;
use crate::target::Target;

const ERRORS: &str = "Errors";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "hostile: changed frames",
        section: ERRORS,
        run: changed_frames,
    },
    Case {
        name: "hostile: changed datagrams",
        section: "UDP",
        run: changed_datagrams,
    },
    Case {
        name: "hostile: connections closed at every octet",
        section: ERRORS,
        run: cut,
    },
    Case {
        name: "hostile: garbage",
        section: ERRORS,
        run: garbage,
    },
];

/// Clients that work at once: fewer than there are slots, so that nobody is told `busy` all the time.
const CLIENTS: usize = 3;

/// Reads what is left of a connection: whole frames, and perhaps one that is cut off, or the error is in a body.
fn frames_to_the_end(peer: &mut Peer) -> Result<Vec<Frame>> {
    let octets = peer.rest()?;
    let mut rest = &octets[..];
    let mut frames = Vec::new();
    while let Some(frame) = Frame::take(&mut rest)? {
        if frame.error() == Some("busy") {
            return Err(Busy.into());
        }
        frames.push(frame);
    }
    Ok(frames)
}

/// One connection: frames that are frames, and one at the end that may be none.
fn connection(target: &Target, frames: &[Mutated]) -> Result<()> {
    let octets: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.octets.clone())
        .collect();
    let mut peer = Peer::connect(target)?;
    let mut sender = peer.handle()?;
    thread::scope(|scope| {
        scope.spawn(move || {
            sender.offer(&octets);
            let _ = sender.half_close();
        });
        let replies = frames_to_the_end(&mut peer);
        peer.close();
        let replies = replies?;
        for (number, frame) in frames.iter().enumerate() {
            if let Some(body) = &frame.echo {
                let reply = replies.get(number).context("there is no reply")?;
                ensure!(
                    reply.error().is_none() && reply.body == *body,
                    "answered {reply:?}"
                );
            }
        }
        Ok(())
    })
}

fn changed_frames(target: &Target) -> Result<()> {
    let seeds = target.seed..target.seed + CLIENTS as u64;
    at_once(seeds, |seed| changed_frames_of(target, seed))?;
    all_served(target)
}

fn changed_frames_of(target: &Target, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut frames = Vec::new();
    for number in 0..MUTATIONS.div_ceil(CLIENTS) {
        let frame = mutated(&mut random);
        let ends = frame.echo.is_none() || number + 1 == MUTATIONS.div_ceil(CLIENTS);
        frames.push(frame);
        if ends {
            let sent = || {
                let sent: Vec<String> = frames
                    .iter()
                    .map(|frame| Octets(&frame.octets).to_string())
                    .collect();
                format!(
                    "seed {seed}, up to change {number}: sent {}",
                    sent.join(" and ")
                )
            };
            target
                .patiently(|| connection(target, &frames))
                .with_context(sent)?;
            frames.clear();
        }
    }
    Ok(())
}

fn changed_datagrams(target: &Target) -> Result<()> {
    let peer = Datagrams::new(target)?;
    let probe = Datagrams::new(target)?;
    let mut random = Random::new(target.seed);
    for number in 0..MUTATIONS {
        let Mutated { octets, .. } = mutated(&mut random);
        let sent = || format!("change {number}: sent {}", Octets(&octets));
        peer.send(&octets).with_context(sent)?;
        // Every answer is a frame; there need not be one.
        while let Some(answer) = peer.receive(Duration::ZERO)? {
            one(&answer).with_context(sent)?;
        }
        if number % 50 == 0 {
            udp::echo(&probe, b"alive").with_context(sent)?;
        }
    }
    udp::echo(&probe, b"alive")
}

fn cut(target: &Target) -> Result<()> {
    let requests = [
        request(&json!({"op": "info", "id": 1}), b""),
        request(
            &json!({"op": "echo", "id": 2, "filename": "测😀"}),
            b"hello",
        ),
        request(&json!({"op": "fly", "id": 3}), b"now"),
    ];
    for octets in requests {
        for len in 0..octets.len() {
            let sent = || format!("closed behind {}", Octets(&octets[..len]));
            target
                .patiently(|| {
                    let mut peer = Peer::connect(target)?;
                    peer.send(&octets[..len])
                })
                .with_context(sent)?;
        }
        target.served()?;
    }
    all_served(target)
}

fn garbage(target: &Target) -> Result<()> {
    for number in 0..GARBAGE as u64 {
        let seed = target.seed + number;
        let mut random = Random::new(seed);
        let len = 1 + random.below(4000);
        let octets = random.octets(len);
        let sent = || format!("seed {seed}: sent {}", Octets(&octets));
        target
            .patiently(|| {
                let mut peer = Peer::connect(target)?;
                peer.offer(&octets);
                peer.half_close()?;
                let frames = frames_to_the_end(&mut peer)?;
                let last = frames.last().context("there is no error frame")?;
                ensure!(last.error().is_some(), "answered {last:?}");
                Ok(())
            })
            .with_context(sent)?;
    }
    all_served(target)
}

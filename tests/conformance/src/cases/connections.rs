//! Clients that come and go: many, at once, and without a goodbye.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::json;

use super::Case;
use super::frames::{check, echoes, stream};
use crate::at_once::at_once;
use crate::counts::{BURST, BURSTS, CONNECTIONS_IN_A_ROW, LARGE_BODY};
use crate::frame::request;
use crate::peer::Peer;
use crate::target::Target;

const ERRORS: &str = "Errors";
const IN_TURN: &str = "Requests and replies";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "connections: the surplus is told busy, and nobody else notices",
        section: ERRORS,
        run: surplus,
    },
    Case {
        name: "connections: one after the other",
        section: IN_TURN,
        run: in_a_row,
    },
    Case {
        name: "connections: bursts, each answered or told busy",
        section: ERRORS,
        run: bursts,
    },
    Case {
        name: "connections: reset at every octet of a request",
        section: ERRORS,
        run: reset_in_requests,
    },
    Case {
        name: "connections: reset at every octet of a reply",
        section: ERRORS,
        run: reset_in_replies,
    },
    Case {
        name: "connections: gone in a large echo",
        section: ERRORS,
        run: gone_in_a_large_echo,
    },
    Case {
        name: "connections: the sending side is closed first",
        section: IN_TURN,
        run: half_closed,
    },
];

/// Fails unless as many clients as there are slots are served at once.
pub(super) fn all_served(target: &Target) -> Result<()> {
    let served = AtomicUsize::new(0);
    let deadline = Instant::now() + target.patience;
    at_once(0..target.slots, |_| {
        let mut peer = target.served()?;
        served.fetch_add(1, Ordering::Relaxed);
        loop {
            let count = served.load(Ordering::Relaxed);
            if count == target.slots {
                break;
            }
            // Nobody is let go for being idle while the others come.
            peer.echo(b"here")?;
            ensure!(
                Instant::now() < deadline,
                "{count} clients are served, and no more"
            );
            thread::sleep(Duration::from_millis(20));
        }
        peer.echo(b"all at once")
    })
}

fn surplus(target: &Target) -> Result<()> {
    for round in 0..2 {
        let mut peers = Vec::new();
        for _ in 0..target.slots {
            peers.push(target.served()?);
        }
        for number in 0..3 {
            let mut peer = Peer::connect(target)?;
            if number > 0 {
                // Whether it has asked something, or nothing.
                peer.offer(&request(&json!({"op": "echo"}), &vec![b'x'; number * 2000]));
            }
            let frame = peer
                .frame()
                .with_context(|| format!("surplus {number} of round {round}"))?;
            ensure!(
                frame.error() == Some("busy") && frame.id().is_none(),
                "with all slots taken: {frame:?}"
            );
            peer.end()?;
        }
        for peer in &mut peers {
            peer.echo(b"not harmed")?;
        }
    }
    all_served(target)
}

fn in_a_row(target: &Target) -> Result<()> {
    for number in 0..CONNECTIONS_IN_A_ROW {
        let asked = target.ask(&json!({"op": "echo", "id": number}), b"hello");
        let frame = asked.with_context(|| format!("connection {number}"))?;
        ensure!(frame.body == b"hello", "connection {number}: {frame:?}");
    }
    Ok(())
}

fn bursts(target: &Target) -> Result<()> {
    // A queue in front of the target may still be too short, and be tried again and again.
    let target = &Target {
        patience: target.patience * 4,
        ..target.clone()
    };
    for number in 0..BURSTS {
        let (start, connected) = (Barrier::new(BURST), Barrier::new(BURST));
        let client = |client: usize| {
            start.wait();
            thread::sleep(target.pace * u32::try_from(client)?);
            let peer = Peer::connect(target);
            // All are there, whoever is served, before the first one says anything.
            connected.wait();
            let mut peer = peer?;
            peer.offer(&request(&json!({"op": "echo", "id": 1}), b"burst"));
            let frame = peer.frame()?;
            if frame.error() == Some("busy") {
                return peer.end();
            }
            ensure!(frame.body == b"burst" && frame.id() == Some(1), "{frame:?}");
            peer.half_close()?;
            peer.end()
        };
        at_once(0..BURST, client).with_context(|| format!("burst {number}"))?;
    }
    all_served(target)
}

fn reset_in_requests(target: &Target) -> Result<()> {
    let octets = request(&json!({"op": "exec", "id": 1}), b"help");
    for len in 0..=octets.len() {
        target.patiently(|| {
            let mut peer = Peer::connect(target)?;
            peer.send(&octets[..len])?;
            peer.reset()
        })?;
    }
    all_served(target)
}

fn reset_in_replies(target: &Target) -> Result<()> {
    let body = [b'x'; 20];
    let octets = request(&json!({"op": "echo", "id": 1}), &body).repeat(3);
    let reply = request(&json!({"id": 1}), &body).len();
    for len in 0..=2 * reply {
        let mut peer = target.served()?;
        peer.send(&octets)?;
        peer.exactly(len)?;
        peer.reset()?;
    }
    all_served(target)
}

fn gone_in_a_large_echo(target: &Target) -> Result<()> {
    let octets = request(&json!({"op": "echo", "id": 1}), &vec![b'x'; LARGE_BODY]);
    for read in [0, 1, 10_000, 100_000] {
        for reset in [true, false] {
            let mut peer = target.served()?;
            let mut sender = peer.handle()?;
            let octets = &octets;
            thread::scope(|scope| {
                scope.spawn(move || sender.offer(octets));
                let got = peer.exactly(read);
                // What is left unread makes a reset of a close as well.
                if reset {
                    peer.set_reset()?;
                }
                peer.close();
                got
            })?;
        }
    }
    all_served(target)
}

fn half_closed(target: &Target) -> Result<()> {
    let echoes = echoes(50);
    let mut peer = target.served()?;
    peer.send(&stream(&echoes))?;
    peer.half_close()?;
    check(&mut peer, &echoes)?;
    peer.end()?;

    // A client that has nothing to say.
    let peer = target.patiently(|| {
        let mut peer = Peer::connect(target)?;
        peer.half_close()?;
        let rest = peer.rest()?;
        match rest.is_empty() {
            true => Ok(peer),
            false => Err(crate::peer::Busy.into()),
        }
    });
    peer.context("nothing was asked")?;

    let mut peer = target.served()?;
    let large = vec![b'x'; 100_000];
    let octets = request(&json!({"op": "echo", "id": 1}), &large);
    let mut sender = peer.handle()?;
    thread::scope(|scope| {
        let sent = scope.spawn(move || sender.send(&octets).and_then(|()| sender.half_close()));
        let frame = peer.answer()?;
        ensure!(frame.body == large, "not the echo");
        sent.join().map_err(|_| anyhow!("the sender panicked"))??;
        peer.end()
    })
}

//! What takes too long.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Case;
use super::connections::all_served;
use crate::frame::framed;
use crate::peer::Peer;
use crate::target::Target;

const DEADLINES: &str = "Deadlines";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "deadlines: a header that trickles",
        section: DEADLINES,
        run: trickle,
    },
    Case {
        name: "deadlines: silent clients leave, busy ones stay",
        section: DEADLINES,
        run: silence,
    },
    Case {
        name: "deadlines: a body that does not come",
        section: DEADLINES,
        run: stalled_body,
    },
];

/// Fails unless this was `timeout`, as far as clocks and networks go.
fn took(start: Instant, timeout: Duration, target: &Target) -> Result<()> {
    let time = start.elapsed();
    ensure!(
        timeout.mul_f32(0.9) <= time && time <= timeout + target.patience / 2,
        "it took {time:?} instead of {timeout:?}"
    );
    Ok(())
}

fn trickle(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    let header = br#"{"op":"echo","total_size":0}"#;
    let octets = framed(header, b"");
    let pause = target.header_timeout / octets.len() as u32 * 3;
    let mut sender = peer.handle()?;
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            for octet in &octets[..octets.len() - 1] {
                // It is over when nobody takes it any more.
                if sender.send(&[*octet]).is_err() || start.elapsed() > 2 * target.header_timeout {
                    return;
                }
                thread::sleep(pause);
            }
        });
        peer.error("deadline", None)?;
        took(start, target.header_timeout, target)?;
        peer.end()?;
        peer.close();
        Ok(())
    })
}

fn silence(target: &Target) -> Result<()> {
    let mut silent = Vec::new();
    for number in 1..target.slots {
        let mut peer = target
            .served()?
            .patient(target.idle_timeout + target.patience);
        if number % 2 == 0 {
            peer.echo(b"and then nothing more")?;
        }
        silent.push(peer);
    }
    let mut busy = target.served()?;
    let start = Instant::now();
    while start.elapsed() < target.idle_timeout.mul_f32(1.2) {
        busy.echo(b"tick").context("it was not silent")?;
        thread::sleep(target.idle_timeout / 8);
    }
    for peer in &mut silent {
        peer.end().context("a silent client goes without a word")?;
    }
    took(start, target.idle_timeout.mul_f32(1.2), target)?;
    busy.echo(b"tock").context("it was not silent")?;
    drop(busy);
    all_served(target)
}

fn stalled_body(target: &Target) -> Result<()> {
    let mut peer = target
        .served()?
        .patient(target.idle_timeout + target.patience);
    let start = Instant::now();
    peer.send(&framed(br#"{"op":"exec","id":3,"total_size":4}"#, b"he"))?;
    peer.error("deadline", Some(3))?;
    took(start, target.idle_timeout, target)?;
    peer.end()?;
    drop(peer);
    Peer::connect(target).map(drop)
}

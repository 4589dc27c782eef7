//! The operations that every target has.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Case;
use crate::frame::Frame;
use crate::peer::Peer;
use crate::random::Random;
use crate::target::Target;

const ECHO: &str = "`echo`";
const INFO: &str = "`info`";
const EXEC: &str = "`exec`";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "info: what the server takes and does",
        section: INFO,
        run: info,
    },
    Case {
        name: "echo: nothing, an octet, every octet",
        section: ECHO,
        run: echo,
    },
    Case {
        name: "echo: comes back while it is sent",
        section: ECHO,
        run: echo_while_sent,
    },
    Case {
        name: "exec: help names every command",
        section: EXEC,
        run: help,
    },
    Case {
        name: "exec: uptime goes on",
        section: EXEC,
        run: uptime,
    },
    Case {
        name: "exec: led does as it is told",
        section: EXEC,
        run: led,
    },
    Case {
        name: "exec: wrong arguments are status 2",
        section: EXEC,
        run: wrong_arguments,
    },
    Case {
        name: "exec: stats counts",
        section: EXEC,
        run: stats,
    },
];

/// A command line's exit status and standard output, over this connection.
pub(super) fn exec(peer: &mut Peer, line: &str) -> Result<(i64, String)> {
    let id = crate::datagrams::next_id();
    peer.send(&crate::frame::request(
        &json!({"op": "exec", "id": id}),
        line.as_bytes(),
    ))?;
    let mut output = String::new();
    loop {
        let frame = peer.answer().with_context(|| format!("`{line}`"))?;
        ensure!(
            frame.id() == Some(id.into()) && frame.error().is_none(),
            "`{line}`: {frame:?}"
        );
        output += frame.text()?;
        if !frame.more() {
            let exit = frame.exit();
            return Ok((
                exit.with_context(|| format!("`{line}`, no `exit`: {frame:?}"))?,
                output,
            ));
        }
    }
}

/// The standard output of a command that succeeds.
pub(super) fn output(peer: &mut Peer, line: &str) -> Result<String> {
    let (status, output) = exec(peer, line)?;
    ensure!(status == 0, "`{line}`: status {status}, {output:?}");
    Ok(output)
}

/// The first number behind `name`, in an output.
pub(super) fn figure(output: &str, name: &str) -> Result<u64> {
    let found = || {
        let (_, behind) = output.split_once(name)?;
        let digits = behind.split(|c: char| !c.is_ascii_digit());
        digits
            .into_iter()
            .find(|digits| !digits.is_empty())?
            .parse()
            .ok()
    };
    found().with_context(|| format!("no figure for `{name}` in {output:?}"))
}

fn info(target: &Target) -> Result<()> {
    let limits = target.limits()?;
    for op in ["echo", "info", "exec"] {
        ensure!(
            limits.ops.iter().any(|name| name == op),
            "`{op}` is missing: {limits:?}"
        );
    }
    ensure!(limits.max_header >= 256, "{limits:?}");
    ensure!(limits.max_datagram >= 512, "{limits:?}");
    ensure!(limits.max_body >= 65_536, "{limits:?}");
    // A body is taken, and thrown away.
    let frame = target.ask(&json!({"op": "info", "id": 1}), b"")?;
    let again = target.ask(&json!({"op": "info", "id": 1}), b"")?;
    ensure!(frame == again, "{frame:?} and then {again:?}");
    Ok(())
}

fn echo(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    peer.echo(b"")?;
    peer.echo(b"x")?;
    let every: Vec<u8> = (0..=255).collect();
    peer.echo(&every)?;
    let mut random = Random::new(target.seed);
    for _ in 0..20 {
        let len = random.below(3000);
        peer.echo(&random.octets(len))?;
    }
    Ok(())
}

fn echo_while_sent(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    peer.send(&crate::frame::framed(
        br#"{"op":"echo","total_size":4}"#,
        b"a",
    ))?;
    let text = br#"{"total_size":4}"#;
    let got = peer.exactly(4 + text.len() + 1)?;
    ensure!(
        got == crate::frame::framed(text, b"a"),
        "{}",
        crate::frame::Octets(&got)
    );
    for octet in b"bcd" {
        peer.send(&[*octet])?;
        ensure!(peer.exactly(1)? == [*octet]);
    }
    peer.echo(b"next")
}

fn help(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    let help = output(&mut peer, "help")?;
    for command in ["uptime", "stats", "led"] {
        ensure!(
            help.contains(command),
            "help does not name `{command}`: {help:?}"
        );
    }
    ensure!(
        output(&mut peer, "  help \r\n")? == help,
        "white space around it matters"
    );
    Ok(())
}

fn uptime(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    let mut last = String::new();
    for _ in 0..3 {
        let uptime = output(&mut peer, "uptime")?;
        ensure!(uptime.contains(|c: char| c.is_ascii_digit()), "{uptime:?}");
        ensure!(uptime != last, "the clock stands still: {uptime:?}");
        last = uptime;
        // Longer than what the least of clocks ticks at.
        thread::sleep(Duration::from_millis(1100));
    }
    Ok(())
}

fn led(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    output(&mut peer, "led on")?;
    let on = output(&mut peer, "led status")?;
    output(&mut peer, "led off")?;
    let off = output(&mut peer, "led status")?;
    ensure!(
        on.contains("on") && off.contains("off"),
        "{on:?} and {off:?}"
    );
    // There is one, whoever asks.
    output(&mut target.served()?, "led on")?;
    ensure!(output(&mut peer, "led status")? == on);
    output(&mut peer, "led off")?;
    Ok(())
}

fn wrong_arguments(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    for line in ["led", "led purple", "led on off"] {
        let (status, output) = exec(&mut peer, line)?;
        ensure!(status == 2, "`{line}`: status {status}, {output:?}");
    }
    Ok(())
}

fn stats(target: &Target) -> Result<()> {
    let mut peer = target.served()?;
    let before = figure(&output(&mut peer, "stats")?, "tcp_requests")?;
    let after = figure(&output(&mut peer, "stats")?, "tcp_requests")?;
    ensure!(after == before + 1, "requests: {before}, and then {after}");
    let stats = output(&mut peer, "stats")?;
    let slots = figure(&stats, "slots")?;
    ensure!(slots == target.slots as u64, "slots: {slots}");
    let taken = figure(&stats, "taken")?;
    ensure!((1..=target.slots as u64).contains(&taken), "taken: {taken}");
    Ok(())
}

/// Whether a frame is the whole and good reply to a command.
pub(super) fn is_success(frame: &Frame) -> bool {
    frame.error().is_none() && frame.exit() == Some(0) && !frame.more()
}

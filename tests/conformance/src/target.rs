//! What the cases are run against.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use crate::peer::{Busy, Peer};

/// Something that listens: its addresses, and the little that cannot be asked over the wire.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens for connections.
    pub tcp: SocketAddr,
    /// Where it takes datagrams.
    pub udp: SocketAddr,
    /// How many connections it serves at once.
    pub slots: usize,
    /// It has run since then, or longer.
    pub since: Instant,
    /// How long it gives a header.
    pub header_timeout: Duration,
    /// How long it gives a connection on which nothing happens.
    pub idle_timeout: Duration,
    /// How long an answer may take that is to come at once: a bound on every wait, not a figure to be met.
    pub patience: Duration,
    /// What is between two connections of a burst: nothing, unless what is in front of the target has a short queue of its own.
    pub pace: Duration,
    /// What all that is random begins with.
    pub seed: u64,
}

/// What a target says of itself.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest header it takes, in octets.
    pub max_header: usize,
    /// The longest body it takes, in octets.
    pub max_body: u64,
    /// The longest datagram it takes, in octets.
    pub max_datagram: usize,
    /// What it carries out.
    pub ops: Vec<String>,
}

impl Target {
    /// A board of `examples/boards` that is up, reached at these addresses.
    pub fn board(tcp: SocketAddr, udp: SocketAddr) -> Self {
        Self {
            tcp,
            udp,
            slots: responder::memory::SLOTS,
            since: Instant::now(),
            header_timeout: responder::TIMEOUTS.header,
            idle_timeout: responder::TIMEOUTS.idle,
            // QEMU's user network listens with a backlog of one: of a burst the host drops most, and repeats its handshakes
            // after 1, 2, 4, 8, 16 and 32 seconds.
            patience: Duration::from_secs(70),
            // QEMU's user network has a queue for one; what does not fit is tried again by the host's kernel after 1, 3, 7 … seconds,
            // and forgotten after a minute.
            pace: Duration::from_millis(5),
            seed: 1,
        }
    }

    /// A connection that is served: it has been asked something.
    pub fn served(&self) -> Result<Peer> {
        self.patiently(|| {
            let mut peer = Peer::connect(self)?;
            peer.echo(b"served")?;
            Ok(peer)
        })
    }

    /// Does it until the target is not `busy`.
    ///
    /// A connection is over for its client before it is for the server: where slots are few, the next one may come too early.
    pub fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.patience;
        loop {
            match attempt() {
                Err(error) if error.is::<Busy>() && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => return result,
            }
        }
    }

    /// One request on a connection of its own.
    pub fn ask(&self, header: &Value, body: &[u8]) -> Result<crate::frame::Frame> {
        self.patiently(|| Peer::connect(self)?.ask(header, body))
    }

    /// What it says of itself, which has to be whole.
    pub fn limits(&self) -> Result<Limits> {
        let frame = self.ask(&json!({"op": "info"}), b"")?;
        let info: Map<String, Value> = serde_json::from_slice(&frame.body)
            .with_context(|| format!("info is no JSON object: {frame:?}"))?;
        let number = |key: &str| {
            let number = info.get(key).and_then(Value::as_u64);
            number.with_context(|| format!("info has no number `{key}`: {info:?}"))
        };
        for key in ["name", "version"] {
            let text = info.get(key).and_then(Value::as_str).unwrap_or("");
            ensure!(!text.is_empty(), "info has no `{key}`: {info:?}");
        }
        let ops = info.get("ops").and_then(Value::as_array);
        let ops = ops.with_context(|| format!("info has no array `ops`: {info:?}"))?;
        let ops = ops.iter().map(|op| op.as_str().map(str::to_owned));
        Ok(Limits {
            max_header: usize::try_from(number("max_header")?)?,
            max_body: number("max_body")?,
            max_datagram: usize::try_from(number("max_datagram")?)?,
            ops: ops.collect::<Option<_>>().context("an op is text")?,
        })
    }
}

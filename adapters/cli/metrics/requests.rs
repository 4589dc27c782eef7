//! Requests, counted by operation and by what they came to.

use std::sync::Arc;
use std::time::Instant;

use prometheus::{
    Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use super::register;

/// The label of all operations that there are not: peers cannot make labels.
const OTHER: &str = "other";
/// What a request came to that was not refused.
pub const OK: &str = "ok";
/// What a request came to that nobody waited for any more: the peer is gone, or a deadline has passed.
const CANCELLED: &str = "cancelled";
/// Seconds: from an echo over loopback to a command that takes its time.
const BUCKETS: [f64; 13] = [
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 300.0,
];

/// The requests of all peers.
pub struct Requests {
    total: IntCounterVec,
    ops: Vec<Op>,
}

/// The requests of one operation.
struct Op {
    name: &'static str,
    ok: IntCounter,
    duration: Histogram,
    taken: IntCounter,
    sent: IntCounter,
}

impl Requests {
    /// None yet.
    pub(super) fn new(registry: &Registry, ops: &[&'static str]) -> Result<Self, Error> {
        let total = Opts::new(
            "unstick_requests_total",
            "Requests by operation, and by what they came to: ok, cancelled or an error code.",
        );
        let total = register(registry, IntCounterVec::new(total, &["op", "outcome"])?)?;
        let duration = HistogramOpts::new(
            "unstick_request_duration_seconds",
            "Time from a request's header to the end of its reply.",
        )
        .buckets(BUCKETS.into());
        let duration = register(registry, HistogramVec::new(duration, &["op"])?)?;
        let octets = |name, help| {
            let opts = Opts::new(name, help);
            register(registry, IntCounterVec::new(opts, &["op"])?)
        };
        let taken = octets(
            "unstick_request_body_bytes_total",
            "Octets of the bodies of requests.",
        )?;
        let sent = octets(
            "unstick_reply_body_bytes_total",
            "Octets of the bodies of replies.",
        )?;
        let op = |name: &'static str| Op {
            name,
            ok: total.with_label_values(&[name, OK]),
            duration: duration.with_label_values(&[name]),
            taken: taken.with_label_values(&[name]),
            sent: sent.with_label_values(&[name]),
        };
        let ops = ops.iter().copied().chain([OTHER]).map(op).collect();
        Ok(Self { total, ops })
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>, op: &str) -> Running {
        let known = self.ops.iter().position(|known| known.name == op);
        Running {
            requests: Arc::clone(self),
            // The last one is for all others.
            op: known.unwrap_or(self.ops.len() - 1),
            begun: Instant::now(),
            outcome: CANCELLED,
        }
    }
}

/// A request that is being carried out; cancelled, unless it has another outcome before it is dropped.
pub struct Running {
    requests: Arc<Requests>,
    op: usize,
    begun: Instant,
    outcome: &'static str,
}

impl Running {
    /// So many octets of its body were taken.
    pub fn taken(&self, octets: usize) {
        self.of_op().taken.inc_by(octets as u64);
    }

    /// So many octets of its reply's body are on their way.
    pub fn sent(&self, octets: u64) {
        self.of_op().sent.inc_by(octets);
    }

    /// It is over.
    pub fn finish(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }

    fn of_op(&self) -> &Op {
        &self.requests.ops[self.op]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let op = self.of_op();
        op.duration.observe(self.begun.elapsed().as_secs_f64());
        match self.outcome {
            OK => op.ok.inc(),
            outcome => {
                let labels = [op.name, outcome];
                self.requests.total.with_label_values(&labels).inc();
            }
        }
    }
}

//! What `serve --metrics` counts.

mod counted;
mod page;
mod requests;

pub use counted::Counted;
pub use page::Page;
pub use requests::{OK, Requests, Running};

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Error, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use unstick_std::{TcpStats, UdpStats};

/// What the servers have counted themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// If TCP is served.
    pub tcp: Option<TcpStats>,
    /// If UDP is served.
    pub udp: Option<UdpStats>,
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
    requests: Arc<Requests>,
    accepted: IntCounter,
    refused: IntCounter,
    open: IntGauge,
    received: IntCounter,
    sent: IntCounter,
    repeats: IntCounter,
    /// Held while the counters are set and read.
    reading: Mutex<()>,
}

impl Metrics {
    /// Nothing yet, of these operations.
    pub fn new(ops: &[&'static str]) -> Result<Self, Error> {
        let registry = Registry::new();
        let version = Opts::new(
            "unstick_build_info",
            "Always 1; what runs is in the labels.",
        );
        let version = register(&registry, IntGaugeVec::new(version, &["version"])?)?;
        version
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let counter = |name, help| register(&registry, IntCounter::new(name, help)?);
        Ok(Self {
            requests: Arc::new(Requests::new(&registry, ops)?),
            accepted: counter(
                "unstick_connections_accepted_total",
                "TCP connections that were served.",
            )?,
            refused: counter(
                "unstick_connections_refused_total",
                "TCP connections that were turned away, since there were too many.",
            )?,
            open: register(
                &registry,
                IntGauge::new(
                    "unstick_connections_open",
                    "TCP connections that are being served.",
                )?,
            )?,
            received: counter(
                "unstick_datagrams_received_total",
                "UDP datagrams that arrived.",
            )?,
            sent: counter(
                "unstick_datagrams_sent_total",
                "UDP datagrams that were sent.",
            )?,
            repeats: counter(
                "unstick_datagrams_repeated_total",
                "UDP datagrams that had been answered before, and were answered the same again.",
            )?,
            registry,
            reading: Mutex::new(()),
        })
    }

    /// Where requests are counted.
    pub fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// The page, in the text format of Prometheus.
    pub fn page(&self, stats: Stats) -> String {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let tcp = stats.tcp.unwrap_or_default();
        set(&self.accepted, tcp.accepted);
        set(&self.refused, tcp.refused);
        self.open.set(i64::try_from(tcp.open).unwrap_or(i64::MAX));
        let udp = stats.udp.unwrap_or_default();
        set(&self.received, udp.received);
        set(&self.sent, udp.sent);
        set(&self.repeats, udp.repeats);
        let mut page = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut page) {
            // As a comment of the format: what is there is right.
            let _ = writeln!(page, "# {error}");
        }
        page
    }
}

/// A server counts for itself; its counters only grow.
fn set(counter: &IntCounter, count: u64) {
    counter.reset();
    counter.inc_by(count);
}

/// Puts a metric on the page.
fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

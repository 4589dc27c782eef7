//! What a server takes, and how long it waits.

use std::time::Duration;

/// The most octets that a server's header may have, whatever [`Limits::max_header`] says: room for one of
/// them is part of every connection.
pub const HEADER_CAPACITY: usize = 16 * 1024;

/// How long what a server does for a peer may go on when that will send no more: one that has closed its socket
/// looks the same as one that has closed only its sending side.
pub(crate) const HANGUP_GRACE: Duration = Duration::from_millis(300);

/// The limits of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; the next one is told `busy`. Over UDP: requests at once.
    pub max_connections: usize,
    /// Octets of a header, up to [`HEADER_CAPACITY`].
    pub max_header: usize,
    /// Octets of a body.
    pub max_body: u64,
    /// From a header's first octet to its last.
    pub header_timeout: Duration,
    /// Without a request, and inside one without progress in either direction.
    pub idle_timeout: Duration,
    /// From a request to shut down to the end of what was in flight.
    pub grace: Duration,
}

impl Default for Limits {
    /// 256 connections, headers of 4 KiB, bodies of any length, 10 seconds for a header, 5 minutes idle, 5
    /// seconds of grace.
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_header: 4096,
            max_body: u64::MAX,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            grace: Duration::from_secs(5),
        }
    }
}

//! What a server takes, and how long it waits.

use core::time::Duration;

use unstick_core::Timeouts;

/// When a peer that was told `busy` may try again, in milliseconds.
pub(crate) const RETRY_AFTER_MS: u32 = 1000;
pub(crate) const SHUTTING_DOWN: &str = "the server is shutting down";

/// The limits of a server, as far as they are not sizes of its memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets of a header; never more than the server has room for.
    pub max_header: usize,
    /// Octets of a body.
    pub max_body: u64,
    /// How long a peer may take.
    pub timeouts: Timeouts,
}

impl Default for Limits {
    /// Headers as the server has room for, bodies of any length, 10 seconds for a header, 60 seconds idle: slots
    /// are few, and a client that says nothing has one.
    fn default() -> Self {
        Self {
            max_header: usize::MAX,
            max_body: u64::MAX,
            timeouts: Timeouts {
                header: Duration::from_secs(10),
                idle: Duration::from_secs(60),
            },
        }
    }
}

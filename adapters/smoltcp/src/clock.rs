//! Sums of times that cannot overflow.

use smoltcp::time::{Duration, Instant};

/// When `wait` is over that began `since`.
pub(crate) fn after(since: Instant, wait: Duration) -> Instant {
    let wait = i64::try_from(wait.total_micros()).unwrap_or(i64::MAX);
    Instant::from_micros(since.total_micros().saturating_add(wait))
}

/// How long it is from `now` to `at`, which may be past.
pub(crate) fn until(now: Instant, at: Instant) -> Duration {
    let wait = at.total_micros().saturating_sub(now.total_micros());
    Duration::from_micros(u64::try_from(wait).unwrap_or(0))
}

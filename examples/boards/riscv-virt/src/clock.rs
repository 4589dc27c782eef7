//! The time since the start, and the alarm that ends a sleep, by the machine timer (The RISC-V Instruction Set Manual,
//! volume II, 3.2.1).

use core::time::Duration;

use crate::registers::{read, write};

/// SiFive's core-local interruptor, which has the timer.
const CLINT: usize = 0x0200_0000;
const MTIMECMP: usize = CLINT + 0x4000;
const MTIMECMPH: usize = MTIMECMP + 4;
const MTIME: usize = CLINT + 0xbff8;
const MTIMEH: usize = MTIME + 4;

const TICKS_PER_SECOND: u64 = 10_000_000;
const NANOS_PER_TICK: u32 = 100;

/// The time since the start.
pub(crate) fn now() -> Duration {
    Duration::from_nanos(ticks().wrapping_mul(u64::from(NANOS_PER_TICK)))
}

/// Has the timer interrupt when so much time has passed, instead of when it would have; `None` is never.
pub(crate) fn set_alarm(after: Option<Duration>) {
    let at = after
        .map(|after| ticks().saturating_add(in_ticks(after)))
        .unwrap_or(u64::MAX);
    // First no smaller than the old value, then no smaller than the new one: it does not interrupt too early on the way.
    write(MTIMECMPH, u32::MAX);
    write(MTIMECMP, at as u32);
    write(MTIMECMPH, (at >> 32) as u32);
}

/// Never less than the time.
fn in_ticks(time: Duration) -> u64 {
    let rest = time.subsec_nanos().div_ceil(NANOS_PER_TICK);
    time.as_secs()
        .saturating_mul(TICKS_PER_SECOND)
        .saturating_add(u64::from(rest))
}

fn ticks() -> u64 {
    loop {
        let high = read(MTIMEH);
        let low = read(MTIME);
        // Otherwise the lower half may have passed its end in between.
        if read(MTIMEH) == high {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

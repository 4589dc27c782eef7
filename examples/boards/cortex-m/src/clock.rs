//! The time since the start, by SysTick (Armv7-M Architecture Reference Manual, B3.3).

use core::cell::Cell;
use core::time::Duration;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::exception;
use critical_section::Mutex;

/// From tick to tick: a deadline is kept within this.
const TICKS_PER_SECOND: u32 = 1000;

/// Ticks so far, and the processor's frequency in Hz.
static CLOCK: Mutex<Cell<(u64, u32)>> = Mutex::new(Cell::new((0, 0)));

/// Starts the clock of a processor that runs at `frequency` Hz.
pub fn start(mut timer: SYST, frequency: u32) {
    critical_section::with(|cs| CLOCK.borrow(cs).set((0, frequency)));
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(frequency / TICKS_PER_SECOND - 1);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
    // The counter reads 0 until it is loaded for the first time, which would be a whole tick from now.
    while SYST::get_current() == 0 {}
}

/// The time since [`start`].
pub fn now() -> Duration {
    let (ticks, rest, frequency) = critical_section::with(|cs| {
        let (ticks, frequency) = CLOCK.borrow(cs).get();
        let before = SYST::get_current();
        // A tick that is not counted yet, because interrupts are off in here.
        match SCB::is_pendst_pending() {
            true => (ticks + 1, SYST::get_current(), frequency),
            false => (ticks, before, frequency),
        }
    });
    let per_tick = frequency / TICKS_PER_SECOND;
    let passed = u64::from(per_tick - 1 - rest);
    let nanos = passed * 1_000_000_000 / u64::from(frequency.max(1));
    Duration::from_millis(ticks) + Duration::from_nanos(nanos)
}

/// What [`responder::Board::seed`] is on a board without a source of randomness: how long its start took is all that
/// differs.
pub fn seed() -> u64 {
    u64::try_from(now().as_nanos()).unwrap_or(1)
}

#[exception]
fn SysTick() {
    critical_section::with(|cs| {
        let clock = CLOCK.borrow(cs);
        let (ticks, frequency) = clock.get();
        clock.set((ticks + 1, frequency));
    });
}

//! The time since the start, by SysTick (Armv7-M Architecture Reference Manual, B3.3).
//!
//! The counter runs down from as high as it goes, over and over. A turn that is over is counted once its interrupt is taken, or
//! looked for, which has to be before the next one is: a third of a second at 48 MHz, more on a slower processor. So neither a
//! long critical section nor a busy emulator makes time stand still. What wakes a board in between is another timer.

use core::cell::Cell;
use core::time::Duration;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::exception;
use critical_section::Mutex;

/// What the counter is loaded with.
const RELOAD: u32 = 0x00ff_ffff;

/// How far the clock is.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// In Hz.
    frequency: u32,
    /// The turns that are over.
    turns: u32,
    /// The clocks since the start that were told last: they never go back.
    told: u64,
}

static CLOCK: Mutex<Cell<Clock>> = Mutex::new(Cell::new(Clock {
    frequency: 1,
    turns: 0,
    told: 0,
}));

/// Starts the clock of a processor that runs at `frequency` Hz.
pub fn start(mut timer: SYST, frequency: u32) {
    critical_section::with(|cs| {
        let clock = CLOCK.borrow(cs);
        clock.set(Clock {
            frequency,
            ..clock.get()
        });
    });
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(RELOAD);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

/// The time since [`start`].
pub fn now() -> Duration {
    let clock = critical_section::with(|cs| {
        let mut clock = CLOCK.borrow(cs).get();
        let mut count = SYST::get_current();
        let mut turns = clock.turns;
        if SCB::is_pendst_pending() {
            // Another turn is over, which is not counted yet; the count above may be of either.
            turns = turns.wrapping_add(1);
            count = SYST::get_current();
        }
        // 0 is where a turn begins, as far as it can be seen.
        let passed = if count == 0 { 0 } else { RELOAD + 1 - count };
        let clocks = u64::from(turns) * u64::from(RELOAD + 1) + u64::from(passed);
        clock.told = clock.told.max(clocks);
        CLOCK.borrow(cs).set(clock);
        clock
    });
    let frequency = u64::from(clock.frequency);
    let nanos = clock.told % frequency * 1_000_000_000 / frequency;
    Duration::from_secs(clock.told / frequency) + Duration::from_nanos(nanos)
}

/// What [`responder::Board::seed`] is on a board without a source of randomness: how long its start took is all that
/// differs.
pub fn seed() -> u64 {
    u64::try_from(now().as_nanos()).unwrap_or(1)
}

#[exception]
fn SysTick() {
    critical_section::with(|cs| {
        let mut clock = CLOCK.borrow(cs).get();
        clock.turns = clock.turns.wrapping_add(1);
        CLOCK.borrow(cs).set(clock);
    });
}

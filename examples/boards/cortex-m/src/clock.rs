//! The time since the start, and an alarm, both by SysTick (Armv7-M Architecture Reference Manual, B3.3).
//!
//! The counter runs down, over and over: from as high as it goes, but for the turn that ends with an alarm. A turn that is over is
//! counted once its interrupt is taken, or looked for, which has to be before the next one is: a third of a second at 48 MHz, more
//! on a slower processor. So neither a long critical section nor a busy emulator makes time stand still.

use core::cell::Cell;
use core::time::Duration;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::exception;
use critical_section::Mutex;

/// The highest that the counter can be loaded with.
const MAX: u32 = 0x00ff_ffff;
/// The shortest turn, in clocks: the next one has to be prepared within it.
const LEAST: u32 = 500;

/// How far the clock is.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// In Hz.
    frequency: u32,
    /// The clocks before this turn of the counter, and those that are in it.
    before: u64,
    turn: u32,
}

impl Clock {
    /// The clocks since the start, with the counter at `count`: 0 only until it is loaded, or just as the turn ends.
    fn clocks(&self, count: u32) -> u64 {
        let passed = match count {
            0 => 0,
            count => self.turn.saturating_sub(count),
        };
        self.before + u64::from(passed)
    }

    /// The next turn, which is as long as can be, has begun.
    fn turn_over(&mut self) {
        self.before += u64::from(self.turn);
        self.turn = MAX + 1;
    }
}

static CLOCK: Mutex<Cell<Clock>> = Mutex::new(Cell::new(Clock {
    frequency: 1,
    before: 0,
    turn: MAX + 1,
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
    timer.set_reload(MAX);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

/// The time since [`start`].
pub fn now() -> Duration {
    let (clocks, frequency) = critical_section::with(|cs| {
        let mut clock = CLOCK.borrow(cs).get();
        (clocks(&mut clock), clock.frequency)
    });
    let frequency = u64::from(frequency);
    let nanos = clocks % frequency * 1_000_000_000 / frequency;
    Duration::from_secs(clocks / frequency) + Duration::from_nanos(nanos)
}

/// The clocks since the start; with interrupts off.
fn clocks(clock: &mut Clock) -> u64 {
    let count = SYST::get_current();
    if !SCB::is_pendst_pending() {
        return clock.clocks(count);
    }
    // The turn is over, but its interrupt has not been taken: the count may be of either.
    clock.turn_over();
    clock.clocks(SYST::get_current())
}

/// Has an interrupt come within `most`, unless one comes before; with interrupts off, as they are in
/// [`interrupt::sleep`](crate::interrupt::sleep).
pub fn set_alarm(most: Duration) {
    critical_section::with(|cs| {
        if SCB::is_pendst_pending() {
            return;
        }
        let mut clock = CLOCK.borrow(cs).get();
        let wanted = u64::from(clock.frequency) * most.as_micros().min(1_000_000_000) as u64;
        let wanted = (wanted / 1_000_000).clamp(LEAST.into(), MAX.into()) as u32;
        let count = SYST::get_current();
        // This turn ends before that. (At 0 it is over, or has not begun.)
        if count <= wanted {
            return;
        }
        clock.before = clock.clocks(count);
        clock.turn = wanted + 1;
        // SAFETY: nobody else has SysTick: `start` was given it.
        let timer = unsafe { &*SYST::PTR };
        // SAFETY: the counter is loaded anew, for this turn, and prepared for the next; both are what a reload value may be.
        unsafe {
            timer.rvr.write(wanted);
            timer.cvr.write(0);
            while SYST::get_current() == 0 {}
            timer.rvr.write(MAX);
        }
        CLOCK.borrow(cs).set(clock);
    });
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
        clock.turn_over();
        CLOCK.borrow(cs).set(clock);
    });
}

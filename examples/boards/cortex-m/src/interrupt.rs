//! The interrupts besides the clock's, and sleeping until there is one.

use core::time::Duration;

use cortex_m::asm;
use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;

/// What the processor finds in its table: a function.
pub type Handler = unsafe extern "C" fn();

unsafe extern "C" {
    fn DefaultHandler();
}

/// The table of interrupts up to `LEN` of a board that uses those of these numbers.
///
/// The board puts it behind the processor's own, where cortex-m-rt has `.vector_table.interrupts`.
pub const fn table<const LEN: usize>(handlers: &[(u16, Handler)]) -> [Handler; LEN] {
    let mut table: [Handler; LEN] = [DefaultHandler; LEN];
    let mut at = 0;
    while at < handlers.len() {
        let (number, handler) = handlers[at];
        table[number as usize] = handler;
        at += 1;
    }
    table
}

/// Lets the interrupt of this number happen from now on.
pub fn enable(number: u16) {
    // SAFETY: its handler may run from now on; no critical section relies on this interrupt's being off.
    unsafe { NVIC::unmask(Number(number)) }
}

/// An interrupt's place in the table.
#[derive(Debug, Clone, Copy)]
struct Number(u16);

// SAFETY: it is the same each time. One that the chip does not have is one that never happens.
unsafe impl InterruptNumber for Number {
    fn number(self) -> u16 {
        self.0
    }
}

/// Sleeps as [`responder::Board::sleep`] does, unless `has_frame` finds one; an interrupt tells of one that comes after. A timer of
/// the board ends the sleep in time.
pub fn sleep(most: Option<Duration>, has_frame: impl FnOnce() -> bool) {
    if most == Some(Duration::ZERO) {
        return;
    }
    critical_section::with(|_| {
        // What comes after this look is pending, and ends the sleep although interrupts are off.
        if !has_frame() {
            asm::dsb();
            asm::wfi();
        }
    });
}

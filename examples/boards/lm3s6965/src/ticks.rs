//! A wake-up each millisecond, by timer 0 (chapter 9): a deadline is kept within this.

use crate::FREQUENCY;
use crate::registers::write;

const TIMER0: usize = 0x4003_0000;
const TAMR: usize = TIMER0 + 0x04;
const CTL: usize = TIMER0 + 0x0c;
const IMR: usize = TIMER0 + 0x18;
const ICR: usize = TIMER0 + 0x24;
const TAILR: usize = TIMER0 + 0x28;

const TAMR_PERIODIC: u32 = 2;
const CTL_TAEN: u32 = 1;
/// It has run down: in the mask, and to acknowledge it.
const TATO: u32 = 1;

/// The timer's place in the table of interrupts (chapter 2.5, table 2-9).
pub(crate) const INTERRUPT: u16 = 19;

/// Starts the timer, which is one of 32 bits after a reset.
pub(crate) fn start() {
    write(TAMR, TAMR_PERIODIC);
    write(TAILR, FREQUENCY / 1000 - 1);
    write(IMR, TATO);
    write(CTL, CTL_TAEN);
}

/// The program goes on behind its `wfi`, and looks.
pub(crate) extern "C" fn on_tick() {
    write(ICR, TATO);
}

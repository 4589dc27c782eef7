//! A wake-up each millisecond, by the CMSDK timer 0 (AN385, memory map): a deadline is kept within this.
//!
//! QEMU 7.2 needs it too: it looks at its user network only when something wakes it, and what the Ethernet controller sends does
//! not.

use crate::FREQUENCY;
use crate::registers::write;

const TIMER0: usize = 0x4000_0000;
const CTRL: usize = TIMER0;
const VALUE: usize = TIMER0 + 0x04;
const RELOAD: usize = TIMER0 + 0x08;
const INTCLEAR: usize = TIMER0 + 0x0c;

const CTRL_ENABLE: u32 = 1;
const CTRL_INTERRUPT: u32 = 1 << 3;

/// The timer's place in the table of interrupts (AN385, interrupts).
pub(crate) const INTERRUPT: u16 = 8;

/// Starts the timer.
pub(crate) fn start() {
    write(RELOAD, FREQUENCY / 1000 - 1);
    write(VALUE, FREQUENCY / 1000 - 1);
    write(CTRL, CTRL_ENABLE | CTRL_INTERRUPT);
}

/// The program goes on behind its `wfi`, and looks.
pub(crate) extern "C" fn on_tick() {
    write(INTCLEAR, 1);
}

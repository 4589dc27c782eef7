//! Interrupts, of which none is ever taken: they end a sleep, and that is all they are for.
//!
//! They stay disabled as a whole (`mstatus.MIE`). One that is enabled by itself and pending ends a `wfi` all the same (The
//! RISC-V Instruction Set Manual, volume II, 3.3.3), however shortly before it became so: no look at the hardware can miss
//! what comes between it and the sleep.

use riscv::register::mie;

use crate::registers::{read, write};

/// The platform-level interrupt controller; its registers are those of the RISC-V Platform-Level Interrupt Controller
/// Specification, context 0 is this processor's machine mode.
const PLIC: usize = 0x0c00_0000;
/// The priority of source 0 (chapter 4).
const PRIORITY: usize = PLIC;
/// One bit per source (chapter 6).
const ENABLE: usize = PLIC + 0x2000;
/// Priorities up to this one are ignored (chapter 7).
const THRESHOLD: usize = PLIC + 0x20_0000;
/// Reading claims, writing completes (chapters 8 and 9).
const CLAIM: usize = PLIC + 0x20_0004;

/// Enables the timer's interrupt, and that of a source below 32 of the interrupt controller.
pub(crate) fn enable(source: usize) {
    write(PRIORITY + source * 4, 1);
    write(ENABLE, 1 << source);
    write(THRESHOLD, 0);
    // SAFETY: interrupts stay disabled as a whole, so that none is taken in a critical section, nor elsewhere.
    unsafe {
        mie::set_mtimer();
        mie::set_mext();
    }
}

/// Has the interrupt controller forget what is pending; the source has to have been quietened before.
pub(crate) fn forget() {
    let source = read(CLAIM);
    if source != 0 {
        write(CLAIM, source);
    }
}

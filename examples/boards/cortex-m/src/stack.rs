//! The call stack: it lies below all data, so that it cannot grow into it, and it is painted at the start, so that its use
//! can be seen.
//!
//! The board's `memory.x` gives it a region of its own at the start of the memory, named by `_stack_end` and
//! `_stack_start`. Below that is nothing, and an access there faults: see `fault.rs`. Where the processor has a
//! memory protection unit, [`guard`] has it see to that, since some chips and emulators let an access to nothing pass.

use core::ops::Range;
use core::{fmt, ptr};

use cortex_m::asm;
use cortex_m::peripheral::MPU;
use responder::{Callers, PAINT, StackUse};

// What cortex-m-rt's `paint-stack` paints with.
const _: () = assert!(PAINT == 0xcccc_cccc);

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
    static __stext: u32;
    static __etext: u32;
}

/// The addresses of the stack.
pub fn region() -> Range<usize> {
    ptr::addr_of!(_stack_end) as usize..ptr::addr_of!(_stack_start) as usize
}

/// Octets below the stack that nobody may touch; a power of two.
const GUARD_LEN: u32 = 1 << 20;

/// Has the memory protection unit refuse what lies below the stack (Armv7-M Architecture Reference Manual, B3.5).
///
/// The region begins `GUARD_LEN` octets below the stack, which has to be a multiple of those.
pub fn guard(unit: &mut MPU) {
    let end = region().start;
    // SAFETY: a region of memory that no object is in; all else stays as it is without the unit (PRIVDEFENA).
    unsafe {
        unit.rnr.write(0);
        unit.rbar.write(end as u32 - GUARD_LEN);
        // No access and no execution, of a size of 2^(n + 1) octets; enabled.
        unit.rasr
            .write(1 << 28 | (GUARD_LEN.trailing_zeros() - 1) << 1 | 1);
        unit.ctrl.write(1 << 2 | 1);
    }
    asm::dsb();
    asm::isb();
}

/// The word at this address of the stack's region.
fn word(at: usize) -> u32 {
    // SAFETY: called with aligned addresses of that region only; reading a word that is in use gives some number.
    unsafe { ptr::read_volatile(at as *const u32) }
}

/// What the stack has needed so far.
pub fn usage() -> StackUse {
    StackUse::of(region(), word)
}

/// Where the program came from, with the stack pointer there.
pub(crate) fn callers(stack_pointer: usize) -> impl fmt::Display {
    let text = ptr::addr_of!(__stext) as u32..ptr::addr_of!(__etext) as u32;
    let region = region();
    Callers {
        stack: stack_pointer.max(region.start)..region.end,
        word,
        // A return address has its lowest bit set: the processor knows Thumb only.
        returns: move |word| (word & 1 == 1 && text.contains(&word)).then(|| word - 1),
    }
}

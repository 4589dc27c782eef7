//! The call stack: it lies below all data, so that it cannot grow into it, and it is painted at the start, so that its use
//! can be seen.
//!
//! Below it is [`GUARD_LEN`] of memory that nobody may touch: an access there faults, see [`fault`](crate::fault).

use core::arch::naked_asm;
use core::ops::Range;
use core::{fmt, ptr};

use responder::{Callers, PAINT, StackUse};
use riscv::register::{Permission, Range as Matching, pmpaddr0, pmpcfg0};

/// Octets below the stack that nobody may touch; a power of two, of which the stack's end is a multiple.
const GUARD_LEN: usize = 256 << 10;

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
    static __stext: u32;
    static __etext: u32;
}

/// The stack's addresses.
pub(crate) fn region() -> Range<usize> {
    ptr::addr_of!(_stack_end) as usize..ptr::addr_of!(_stack_start) as usize
}

/// The addresses below the stack that nobody may touch.
pub(crate) fn guarded() -> Range<usize> {
    let end = region().start;
    end - GUARD_LEN..end
}

/// Paints the stack, which is empty when riscv-rt calls this: nothing has been put on it, and no memory is initialized.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".init.pre_init")]
#[unsafe(naked)]
unsafe extern "C" fn __pre_init() {
    naked_asm!(
        "la t0, {end}",
        "li t1, {paint}",
        "1:",
        "sw t1, 0(t0)",
        "addi t0, t0, 4",
        "bltu t0, sp, 1b",
        "ret",
        end = sym _stack_end,
        paint = const PAINT,
    )
}

/// Has the physical memory protection refuse what lies below the stack (The RISC-V Instruction Set Manual, volume II, 3.7).
pub(crate) fn guard() {
    let start = guarded().start;
    // SAFETY: no object is in this memory, and what no entry names stays accessible in machine mode. The address has its
    // lowest bits set as the length wants it. Without the lock the entry would not apply to machine mode.
    unsafe {
        pmpaddr0::write(start >> 2 | ((GUARD_LEN >> 3) - 1));
        pmpcfg0::set_pmp(0, Matching::NAPOT, Permission::NONE, true);
    }
}

/// The word at this address of the stack's region.
fn word(at: usize) -> u32 {
    // SAFETY: called with aligned addresses of that region only; reading a word that is in use gives some number.
    unsafe { ptr::read_volatile(at as *const u32) }
}

/// What the stack has needed so far.
pub(crate) fn usage() -> StackUse {
    StackUse::of(region(), word)
}

/// Where the program came from, with the stack pointer there.
pub(crate) fn callers(stack_pointer: usize) -> impl fmt::Display {
    let text = ptr::addr_of!(__stext) as u32..ptr::addr_of!(__etext) as u32;
    let region = region();
    Callers {
        stack: stack_pointer.max(region.start)..region.end,
        word,
        returns: move |word| (word % 2 == 0 && text.contains(&word)).then_some(word),
    }
}

//! The call stack: it lies below all data, so that it cannot grow into it, and it is painted at the start, so that its use
//! can be seen.
//!
//! Below it is [`GUARD_LEN`] of memory that nobody may touch: an access there faults, see [`fault`](crate::fault).

use core::arch::naked_asm;
use core::ops::Range;
use core::ptr;

use responder::StackUse;
use riscv::register::{Permission, Range as Matching, pmpaddr0, pmpcfg0};

const PAINT: u32 = 0xcccc_cccc;

/// Octets below the stack that nobody may touch; a power of two, of which the stack's end is a multiple.
const GUARD_LEN: usize = 256 << 10;

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
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

/// What the stack has needed so far.
pub(crate) fn usage() -> StackUse {
    let region = region();
    let len = region.len();
    // SAFETY: aligned words of the stack's own region; reading one that is in use gives some number.
    let word = |at: usize| unsafe { ptr::read_volatile(at as *const u32) };
    let unused = region
        .step_by(size_of::<u32>())
        .take_while(|at| word(*at) == PAINT);
    StackUse {
        len,
        peak: len - unused.count() * size_of::<u32>(),
    }
}

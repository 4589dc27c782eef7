//! Faults and panics: says on the console where the program was, and whether the stack had overflowed; starts anew.

use core::arch::naked_asm;
use core::fmt;
use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use cortex_m::register::msp;

use crate::stack;

/// What has happened.
#[derive(Debug, Clone, Copy)]
struct Fault {
    /// The stack pointer when it happened.
    stack_pointer: usize,
    /// The instruction, unless the stack was no place to keep it.
    program_counter: Option<usize>,
    /// The configurable fault status register (Armv7-M Architecture Reference Manual, B3.2.15); Armv6-M has none.
    status: Option<u32>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = stack::region().start;
        match self.program_counter {
            None => write!(
                f,
                "stack overflow: the stack pointer is {:#010x}, the stack ends at {end:#010x}",
                self.stack_pointer
            ),
            Some(at) => {
                write!(f, "fault at {at:#x}, ")?;
                if let Some(status) = self.status {
                    write!(f, "status {status:#010x}, ")?;
                }
                write!(f, "called from{}", stack::callers(self.stack_pointer))
            }
        }
    }
}

unsafe extern "Rust" {
    /// The board's: writes a line to the console, at whatever point the program was.
    safe fn board_print(line: fmt::Arguments<'_>);
}

fn last_words(reason: impl fmt::Display) -> ! {
    board_print(format_args!("{reason}; starting anew"));
    SCB::sys_reset()
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // Its words would be a seventh of the firmware.
    last_words(format_args!(
        "panic, called from{}",
        stack::callers(msp::read() as usize)
    ))
}

/// Gives the report a whole stack, whatever has become of the one that was in use.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn HardFault() -> ! {
    naked_asm!(
        "mov r0, sp",
        "ldr r1, ={start}",
        "mov sp, r1",
        "bl {report}",
        start = sym _stack_start,
        report = sym report,
    )
}

unsafe extern "C" {
    static _stack_start: u32;
}

/// Words that the processor puts on the stack for an exception; the program counter is the seventh.
const FRAME_WORDS: usize = 8;

extern "C" fn report(stack_pointer: usize) -> ! {
    let region = stack::region();
    let status = status();
    let frame = region.start..=region.end - FRAME_WORDS * size_of::<u32>();
    let whole = frame.contains(&stack_pointer) && !overflowed(status);
    // SAFETY: the frame that the processor has just put on the stack, which is all there.
    let program_counter =
        whole.then(|| unsafe { ((stack_pointer + 24) as *const usize).read_volatile() });
    last_words(Fault {
        stack_pointer,
        program_counter,
        status,
    })
}

#[cfg(not(armv6m))]
fn status() -> Option<u32> {
    // SAFETY: a register of the system control block, which is read for its value only.
    Some(unsafe { (0xe000_ed28 as *const u32).read_volatile() })
}

#[cfg(armv6m)]
fn status() -> Option<u32> {
    None
}

/// Whether the processor failed to put its frame on the stack, as far as it can tell: MSTKERR or STKERR.
fn overflowed(status: Option<u32>) -> bool {
    status.is_some_and(|status| status & (1 << 4 | 1 << 12) != 0)
}

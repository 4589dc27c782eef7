//! Faults: where the program was, and whether the stack had overflowed.

use core::arch::naked_asm;
use core::panic::PanicInfo;
use core::{fmt, ptr};

use riscv::register::{mcause, mepc, mtval};

use crate::{console, registers, stack};

/// What has happened.
struct Fault {
    /// The stack pointer when it happened.
    stack_pointer: usize,
    /// The instruction.
    program_counter: usize,
    /// Why (The RISC-V Instruction Set Manual, volume II, 3.1.15).
    cause: usize,
    /// The address that was accessed, if it is about one.
    address: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stack_pointer,
            program_counter,
            cause,
            address,
        } = self;
        // Nothing is accessed below the stack pointer: it is there before the first access is.
        if stack::guarded().contains(stack_pointer) {
            let end = stack::region().start;
            return write!(
                f,
                "stack overflow: the stack pointer is {stack_pointer:#010x}, the stack ends at {end:#010x}"
            );
        }
        write!(
            f,
            "fault at {program_counter:#010x}, cause {cause}, address {address:#010x}, called from{}",
            stack::callers(*stack_pointer)
        )
    }
}

/// Where the processor goes on after a fault; interrupts are never taken.
///
/// Gives the report a whole stack, whatever has become of the one that was in use.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".trap.start")]
#[unsafe(naked)]
unsafe extern "C" fn _start_trap() -> ! {
    naked_asm!(
        "mv a0, sp",
        "la sp, {start}",
        "tail {report}",
        start = sym _stack_start,
        report = sym report,
    )
}

unsafe extern "C" {
    static _stack_start: u32;
}

extern "C" fn report(stack_pointer: usize) -> ! {
    let fault = Fault {
        stack_pointer,
        program_counter: mepc::read(),
        cause: mcause::read().code(),
        address: mtval::read(),
    };
    console::print(format_args!("{fault}; starting anew"));
    registers::reset()
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    let here = 0_u32;
    // Its words would be a seventh of the firmware.
    let callers = stack::callers(ptr::addr_of!(here) as usize);
    console::print(format_args!("panic, called from{callers}; starting anew"));
    registers::reset()
}

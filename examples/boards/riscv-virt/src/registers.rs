//! Registers, and the device that ends or restarts the machine.

use core::ptr;

use riscv::asm;

/// SiFive's test device: what is written to it becomes of the machine.
const TEST: usize = 0x0010_0000;
const TEST_RESET: u32 = 0x7777;
/// QEMU exits with the status in the upper half.
const TEST_FAIL: u32 = 0x3333;

pub(crate) fn read(at: usize) -> u32 {
    // SAFETY: called with registers of this machine only, all of 32 bits.
    unsafe { ptr::read_volatile(at as *const u32) }
}

pub(crate) fn write(at: usize, value: u32) {
    // SAFETY: as in `read`; what is written to these registers touches no memory.
    unsafe { ptr::write_volatile(at as *mut u32, value) }
}

pub(crate) fn read_octet(at: usize) -> u8 {
    // SAFETY: called with registers of this machine only, all of 8 bits.
    unsafe { ptr::read_volatile(at as *const u8) }
}

pub(crate) fn write_octet(at: usize, value: u8) {
    // SAFETY: as in `read_octet`; what is written to these registers touches no memory.
    unsafe { ptr::write_volatile(at as *mut u8, value) }
}

/// Starts the machine anew.
pub fn reset() -> ! {
    write(TEST, TEST_RESET);
    // QEMU takes a moment to do it.
    loop {
        asm::wfi();
    }
}

/// Ends QEMU, with status 1.
pub(crate) fn exit() -> ! {
    write(TEST, TEST_FAIL | 1 << 16);
    loop {
        asm::wfi();
    }
}

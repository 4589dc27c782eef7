//! Access to registers, and the one that belongs to no driver: that of the lights.

use core::ptr;

/// The user lights (AN385, FPGA system control and I/O): bit 0 is the first one.
const FPGAIO_LED0: usize = 0x4002_8000;

pub(crate) fn read(at: usize) -> u32 {
    // SAFETY: called with registers of this board only, all of 32 bits.
    unsafe { ptr::read_volatile(at as *const u32) }
}

pub(crate) fn write(at: usize, value: u32) {
    // SAFETY: as in `read`; what is written to these registers touches no memory.
    unsafe { ptr::write_volatile(at as *mut u32, value) }
}

pub(crate) fn set_led(on: bool) {
    write(FPGAIO_LED0, u32::from(on));
}

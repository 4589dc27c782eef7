//! Registers that belong to no driver: clocks and pins.

use core::ptr;

/// Run-mode clock gating control registers 1 and 2 (chapter 5.4).
const RCGC1: usize = 0x400f_e104;
const RCGC2: usize = 0x400f_e108;
/// Port F, and the offset of its pin 0's data: the status light. Pins 2 and 3 are the Ethernet lights.
const PORTF: usize = 0x4002_5000;
const LED: usize = PORTF + (1 << 2);
const DIR: usize = 0x400;
const AFSEL: usize = 0x420;
const DEN: usize = 0x51c;
/// Port A, whose pins 0 and 1 are the console.
const PORTA: usize = 0x4000_4000;

pub(crate) fn read(at: usize) -> u32 {
    // SAFETY: called with registers of this chip only, all of 32 bits.
    unsafe { ptr::read_volatile(at as *const u32) }
}

pub(crate) fn write(at: usize, value: u32) {
    // SAFETY: as in `read`; what is written to these registers touches no memory.
    unsafe { ptr::write_volatile(at as *mut u32, value) }
}

fn set(at: usize, bits: u32) {
    write(at, read(at) | bits);
}

/// Has the parts that are used run: UART 0, timer 0, Ethernet, ports A and F.
pub(crate) fn enable_clocks() {
    set(RCGC1, 1 << 16 | 1);
    set(RCGC2, 1 << 30 | 1 << 28 | 1 << 5 | 1);
    // Three clocks have to pass before a part may be used.
    cortex_m::asm::delay(3);
    set(PORTA + AFSEL, 0b11);
    set(PORTA + DEN, 0b11);
    set(PORTF + DIR, 0b1);
    set(PORTF + AFSEL, 0b1100);
    set(PORTF + DEN, 0b1101);
}

pub(crate) fn set_led(on: bool) {
    write(LED, u32::from(on));
}

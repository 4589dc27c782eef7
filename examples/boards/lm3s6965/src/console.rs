//! The console: UART 0, 115200 baud, 8N1 (chapter 12).

use crate::FREQUENCY;
use crate::registers::{read, write};

const UART0: usize = 0x4000_c000;
const DR: usize = UART0;
const FR: usize = UART0 + 0x18;
const IBRD: usize = UART0 + 0x24;
const FBRD: usize = UART0 + 0x28;
const LCRH: usize = UART0 + 0x2c;
const CTL: usize = UART0 + 0x30;
/// The transmit queue is full.
const FR_TXFF: u32 = 1 << 5;
const BAUD: u32 = 115_200;

/// Starts it.
pub(crate) fn start() {
    // The divisor in 64ths of 16 clocks.
    let divisor = FREQUENCY * 4 / BAUD;
    write(IBRD, divisor >> 6);
    write(FBRD, divisor & 0x3f);
    // 8 bits, with queues.
    write(LCRH, 0b111 << 4);
    // On, sending and receiving.
    write(CTL, 1 | 1 << 8 | 1 << 9);
}

/// Sends an octet; waits until there is room for it.
pub(crate) fn send(octet: u8) {
    while read(FR) & FR_TXFF != 0 {}
    write(DR, u32::from(octet));
}

//! The console: UART 0, 115200 baud, 8N1 (Cortex-M System Design Kit Technical Reference Manual, chapter 4.3).

use crate::FREQUENCY;
use crate::registers::{read, write};

const UART0: usize = 0x4000_4000;
const DATA: usize = UART0;
const STATE: usize = UART0 + 0x04;
const CTRL: usize = UART0 + 0x08;
const BAUDDIV: usize = UART0 + 0x10;
/// The transmit buffer is full.
const STATE_TX_FULL: u32 = 1;
const CTRL_TX_ENABLE: u32 = 1;
const BAUD: u32 = 115_200;

/// Starts it.
pub(crate) fn start() {
    write(BAUDDIV, FREQUENCY / BAUD);
    write(CTRL, CTRL_TX_ENABLE);
}

/// Sends an octet; waits until there is room for it.
pub(crate) fn send(octet: u8) {
    while read(STATE) & STATE_TX_FULL != 0 {}
    write(DATA, u32::from(octet));
}

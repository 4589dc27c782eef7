//! The console: UART 0, 115200 baud, 8N1 (Cortex-M System Design Kit Technical Reference Manual, chapter 4.3).

use core::fmt::{self, Write};

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

/// Writes a line; waits until it is on its way.
pub(crate) fn print(line: fmt::Arguments<'_>) {
    let _ = Console.write_fmt(line);
    let _ = Console.write_str("\r\n");
}

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for octet in text.bytes() {
            while read(STATE) & STATE_TX_FULL != 0 {}
            write(DATA, u32::from(octet));
        }
        Ok(())
    }
}

//! The console: a 16550, 115200 baud, 8N1 (PC16550D data sheet, chapter 8).

use core::fmt;

use responder::print_line;

use crate::registers::{read_octet, write_octet};

const UART: usize = 0x1000_0000;
/// What is sent, or the lower half of the divisor.
const THR: usize = UART;
/// The upper half of the divisor.
const DLM: usize = UART + 1;
const FCR: usize = UART + 2;
const LCR: usize = UART + 3;
const LSR: usize = UART + 5;
/// The first two registers are the divisor.
const LCR_DLAB: u8 = 1 << 7;
const LCR_8N1: u8 = 0b11;
/// There is room to send.
const LSR_THRE: u8 = 1 << 5;
/// What drives it, in Hz, as the machine's device tree says.
const FREQUENCY: u32 = 3_686_400;
const BAUD: u32 = 115_200;

/// Starts it.
pub(crate) fn start() {
    let [low, high, ..] = (FREQUENCY / (16 * BAUD)).to_le_bytes();
    write_octet(LCR, LCR_DLAB);
    write_octet(THR, low);
    write_octet(DLM, high);
    write_octet(LCR, LCR_8N1);
    // With queues, which are emptied.
    write_octet(FCR, 0b111);
}

/// Sends an octet; waits until there is room for it.
fn send(octet: u8) {
    while read_octet(LSR) & LSR_THRE == 0 {}
    write_octet(THR, octet);
}

/// Writes a line.
pub(crate) fn print(line: fmt::Arguments<'_>) {
    print_line(send, line);
}

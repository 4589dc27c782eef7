//! Board support for the Stellaris LM3S6965 evaluation board.
//!
//! Register names and addresses are those of the LM3S6965 data sheet.
#![no_std]

mod console;
mod ethernet;
mod registers;
mod ticks;

use core::fmt;

use board_cortex_m::Chip;
use board_cortex_m::interrupt::{self, Handler};
use responder::print_line;

pub use ethernet::Ethernet;

/// The main oscillator's 8 MHz are not used: the processor runs at what it has after a reset (chapter 5.2.4; QEMU's too).
const FREQUENCY: u32 = 12_500_000;

#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [Handler; ethernet::INTERRUPT as usize + 1] = interrupt::table(&[
    (ticks::INTERRUPT, ticks::on_tick),
    (ethernet::INTERRUPT, ethernet::on_frame),
]);

/// The chip.
#[derive(Debug)]
pub enum Lm3s6965 {}

/// The board, but for its Ethernet controller.
pub type Board = board_cortex_m::Board<Lm3s6965>;

impl Chip for Lm3s6965 {
    const NAME: &'static str = "lm3s6965";
    const MAC: [u8; 6] = [0x02, 0x00, 0x00, 0x69, 0x65, 0x01];
    const FREQUENCY: u32 = FREQUENCY;
    const INTERRUPTS: &'static [u16] = &[ticks::INTERRUPT, ethernet::INTERRUPT];

    type Ethernet = Ethernet;

    fn start() -> Ethernet {
        registers::enable_clocks();
        console::start();
        ticks::start();
        Ethernet::start(&Self::MAC)
    }

    fn has_frame() -> bool {
        ethernet::has_frame()
    }

    fn set_led(on: bool) {
        registers::set_led(on);
    }

    fn send(octet: u8) {
        console::send(octet);
    }
}

#[unsafe(no_mangle)]
fn board_print(line: fmt::Arguments<'_>) {
    print_line(console::send, line);
}

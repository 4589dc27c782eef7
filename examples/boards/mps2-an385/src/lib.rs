//! Board support for the Arm MPS2 with the AN385 image: a Cortex-M3 with a LAN9220 Ethernet controller.
//!
//! Register names and addresses are those of Application Note AN385, and of the documents that the drivers name.
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

/// What the processor and the console run at (AN385, clocks).
const FREQUENCY: u32 = 25_000_000;

#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [Handler; ethernet::INTERRUPT as usize + 1] = interrupt::table(&[
    (ticks::INTERRUPT, ticks::on_tick),
    (ethernet::INTERRUPT, ethernet::on_frame),
]);

/// The processor and what the image has around it.
#[derive(Debug)]
pub enum An385 {}

/// The board, but for its Ethernet controller.
pub type Board = board_cortex_m::Board<An385>;

impl Chip for An385 {
    const NAME: &'static str = "mps2-an385";
    const MAC: [u8; 6] = [0x02, 0x00, 0x00, 0x03, 0x85, 0x01];
    const FREQUENCY: u32 = FREQUENCY;
    const INTERRUPTS: &'static [u16] = &[ticks::INTERRUPT, ethernet::INTERRUPT];

    type Ethernet = Ethernet;

    fn start() -> Ethernet {
        console::start();
        ticks::start();
        Ethernet::start(Self::MAC)
    }

    fn has_frame() -> bool {
        ethernet::watch()
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

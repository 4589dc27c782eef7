//! Board support for the Arm MPS2 with the AN385 image: a Cortex-M3 with a LAN9220 Ethernet controller.
//!
//! Register names and addresses are those of Application Note AN385, and of the documents that the drivers name.
#![no_std]

mod console;
mod ethernet;
mod registers;
mod ticks;

use core::fmt;
use core::time::Duration;

use board_cortex_m::interrupt::{self, Handler};
use board_cortex_m::{clock, stack};
use cortex_m::peripheral::SCB;
use responder::StackUse;

pub use ethernet::Ethernet;

/// What the processor and the console run at (AN385, clocks).
const FREQUENCY: u32 = 25_000_000;

#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [Handler; ethernet::INTERRUPT as usize + 1] = interrupt::table(&[
    (ticks::INTERRUPT, ticks::on_tick),
    (ethernet::INTERRUPT, ethernet::on_frame),
]);

/// The board, but for its Ethernet controller.
#[derive(Debug)]
pub struct Board(());

impl Board {
    /// The board and its Ethernet controller; `None` but for the first time.
    pub fn take() -> Option<(Self, Ethernet)> {
        let mut peripherals = cortex_m::Peripherals::take()?;
        stack::guard(&mut peripherals.MPU);
        console::start();
        clock::start(peripherals.SYST, FREQUENCY);
        let ethernet = Ethernet::start(<Self as responder::Board>::MAC);
        ticks::start();
        interrupt::enable(ethernet::INTERRUPT);
        interrupt::enable(ticks::INTERRUPT);
        Some((Self(()), ethernet))
    }
}

impl responder::Board for Board {
    const NAME: &'static str = "mps2-an385";
    const MAC: [u8; 6] = [0x02, 0x00, 0x00, 0x03, 0x85, 0x01];

    fn now(&self) -> Duration {
        clock::now()
    }

    fn seed(&self) -> u64 {
        clock::seed()
    }

    fn sleep(&mut self, most: Option<Duration>) {
        interrupt::sleep(most, ethernet::watch);
    }

    fn set_led(&mut self, on: bool) {
        registers::set_led(on);
    }

    fn print(&mut self, line: fmt::Arguments<'_>) {
        console::print(line);
    }

    fn reset(&mut self) -> ! {
        SCB::sys_reset()
    }

    fn stack() -> StackUse {
        stack::usage()
    }
}

#[unsafe(no_mangle)]
fn board_print(line: fmt::Arguments<'_>) {
    console::print(line);
}

//! Board support for the Stellaris LM3S6965 evaluation board.
//!
//! Register names and addresses are those of the LM3S6965 data sheet.
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

/// The main oscillator's 8 MHz are not used: the processor runs at what it has after a reset (chapter 5.2.4; QEMU's too).
const FREQUENCY: u32 = 12_500_000;

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
        registers::enable_clocks();
        console::start();
        clock::start(peripherals.SYST, FREQUENCY);
        let ethernet = Ethernet::start(&<Self as responder::Board>::MAC);
        ticks::start();
        interrupt::enable(ethernet::INTERRUPT);
        interrupt::enable(ticks::INTERRUPT);
        Some((Self(()), ethernet))
    }
}

impl responder::Board for Board {
    const NAME: &'static str = "lm3s6965";
    const MAC: [u8; 6] = [0x02, 0x00, 0x00, 0x69, 0x65, 0x01];

    fn now(&self) -> Duration {
        clock::now()
    }

    fn seed(&self) -> u64 {
        clock::seed()
    }

    fn sleep(&mut self, most: Option<Duration>) {
        interrupt::sleep(most, ethernet::has_frame);
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

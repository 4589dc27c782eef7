//! The board, but for what differs from chip to chip.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use cortex_m::peripheral::SCB;
use responder::{StackUse, print_line};

use crate::{clock, interrupt, stack};

/// What differs between boards whose Ethernet controller has a driver of smoltcp's kind.
pub trait Chip {
    /// The board's name.
    const NAME: &'static str;
    /// The Ethernet controller's address.
    const MAC: [u8; 6];
    /// What the processor runs at, in Hz.
    const FREQUENCY: u32;
    /// The interrupts that are used: the controller's, and that of a timer that wakes the board each millisecond.
    const INTERRUPTS: &'static [u16];

    /// The controller.
    type Ethernet;

    /// Starts pins and clocks, the console, the timer and the controller.
    fn start() -> Self::Ethernet;

    /// Whether the controller has a frame; its interrupt tells of one that comes after.
    fn has_frame() -> bool;

    /// Switches the light.
    fn set_led(on: bool);

    /// Sends an octet to the console; waits until there is room for it.
    fn send(octet: u8);
}

/// A board with the chip `C`, but for its Ethernet controller.
#[derive(Debug)]
pub struct Board<C>(PhantomData<C>);

impl<C: Chip> Board<C> {
    /// The board and its Ethernet controller; `None` but for the first time.
    pub fn take() -> Option<(Self, C::Ethernet)> {
        let mut peripherals = cortex_m::Peripherals::take()?;
        stack::guard(&mut peripherals.MPU);
        clock::start(peripherals.SYST, C::FREQUENCY);
        let ethernet = C::start();
        C::INTERRUPTS.iter().copied().for_each(interrupt::enable);
        Some((Self(PhantomData), ethernet))
    }
}

impl<C: Chip> responder::Board for Board<C> {
    const NAME: &'static str = C::NAME;
    const MAC: [u8; 6] = C::MAC;

    fn now(&self) -> Duration {
        clock::now()
    }

    fn seed(&self) -> u64 {
        clock::seed()
    }

    fn sleep(&mut self, most: Option<Duration>) {
        interrupt::sleep(most, C::has_frame);
    }

    fn set_led(&mut self, on: bool) {
        C::set_led(on);
    }

    fn print(&mut self, line: fmt::Arguments<'_>) {
        print_line(C::send, line);
    }

    fn reset(&mut self) -> ! {
        SCB::sys_reset()
    }

    fn stack() -> StackUse {
        stack::usage()
    }
}

//! Board support for QEMU's RISC-V machine: `virt`, with a network controller on its virtio bus.
#![no_std]

mod clock;
mod console;
mod dma;
mod ethernet;
mod fault;
mod interrupts;
mod queue;
mod registers;
mod stack;

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use responder::StackUse;
use riscv::asm;

pub use ethernet::Ethernet;
pub use registers::reset;

/// The board, but for its network controller.
#[derive(Debug)]
pub struct Board(());

impl Board {
    /// The board and its network controller; `None` but for the first time.
    ///
    /// Without a controller there is nothing to do: ends QEMU.
    pub fn take() -> Option<(Self, Ethernet)> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        stack::guard();
        console::start();
        let Some(ethernet) = Ethernet::start() else {
            console::print(format_args!(
                "no network controller: QEMU needs -device virtio-net-device"
            ));
            registers::exit()
        };
        Some((Self(()), ethernet))
    }
}

impl responder::Board for Board {
    const NAME: &'static str = "riscv-virt";
    const MAC: [u8; 6] = [0x02, 0x00, 0x00, 0x72, 0x76, 0x01];

    fn now(&self) -> Duration {
        clock::now()
    }

    fn seed(&self) -> u64 {
        // How long the start took.
        u64::try_from(clock::now().as_nanos()).unwrap_or(1)
    }

    fn sleep(&mut self, most: Option<Duration>) {
        if most == Some(Duration::ZERO) || !ethernet::is_drained() {
            return;
        }
        clock::set_alarm(most);
        // A frame that has arrived since the queue was found empty has left its interrupt pending, which ends this.
        asm::wfi();
    }

    /// The machine has no light: does nothing.
    fn set_led(&mut self, _: bool) {}

    fn print(&mut self, line: fmt::Arguments<'_>) {
        console::print(line);
    }

    fn reset(&mut self) -> ! {
        registers::reset()
    }

    fn stack() -> StackUse {
        stack::usage()
    }
}

//! The responder on QEMU's RISC-V machine.
#![no_std]
#![no_main]

use board::Board;
use riscv_rt::entry;

#[entry]
fn main() -> ! {
    match Board::take() {
        Some((board, ethernet)) => responder::run(board, ethernet),
        None => board::reset(),
    }
}

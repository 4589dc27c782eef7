//! Overflows its stack on purpose: a fault is to tell, before any data is overwritten.
#![no_std]
#![no_main]

use board::Board;
use riscv_rt::entry;

#[entry]
fn main() -> ! {
    match Board::take() {
        Some((board, _)) => responder::overflow(board),
        None => board::reset(),
    }
}

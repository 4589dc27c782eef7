//! The responder on the MPS2 with the AN385 image.
#![no_std]
#![no_main]

use board::Board;
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    match Board::take() {
        Some((board, ethernet)) => responder::run(board, ethernet),
        None => cortex_m::peripheral::SCB::sys_reset(),
    }
}

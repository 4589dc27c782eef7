//! Overflows its stack on purpose, on the LM3S6965 evaluation board.
#![no_std]
#![no_main]

use board::Board;
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    match Board::take() {
        Some((board, _)) => responder::overflow(board),
        None => cortex_m::peripheral::SCB::sys_reset(),
    }
}

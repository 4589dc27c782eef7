//! Overflows its stack on purpose: a fault is to tell, before anything else is overwritten.
#![no_std]
#![no_main]

use core::hint::black_box;

use board::Board;
use responder::Board as _;
use riscv_rt::entry;

#[entry]
fn main() -> ! {
    let Some((mut board, _)) = Board::take() else {
        board::reset()
    };
    board.print(format_args!("overflowing"));
    let depth = descend(0);
    board.print(format_args!("no fault after {depth} calls"));
    board.reset()
}

/// Calls itself until there is no stack left.
#[inline(never)]
#[expect(unconditional_recursion, reason = "this is what it is for")]
fn descend(depth: u32) -> u32 {
    let room = black_box([depth; 16]);
    descend(depth + 1) + room[depth as usize % 16]
}

//! An overflow of the stack on purpose.

use core::hint::black_box;

use crate::board::Board;

/// Overflows the stack: a fault is to tell, before any data is overwritten.
pub fn overflow(mut board: impl Board) -> ! {
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

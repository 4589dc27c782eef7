//! What boards with a Cortex-M have in common: the clock, the call stack, the interrupt, and what is said of faults and
//! panics.
//!
//! A board has a function `board_print` without a mangled name, which those write to: see its declaration in `fault.rs`.
#![no_std]

mod board;
pub mod clock;
mod fault;
pub mod interrupt;
pub mod stack;

pub use board::{Board, Chip};

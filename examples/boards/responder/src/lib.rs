//! The responder: what each board runs, whatever its hardware.
#![no_std]
#![forbid(unsafe_code)]

mod bare;
mod board;
mod memory;
mod network;
mod overflow;

pub use bare::bare;
pub use board::{Board, StackUse};
pub use overflow::overflow;

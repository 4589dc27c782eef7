//! What boards with a Cortex-M have in common: the clock, the call stack, and what is said of faults.
#![no_std]

pub mod clock;
pub mod fault;
pub mod stack;

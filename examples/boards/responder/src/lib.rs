//! The responder: what each board runs, whatever its hardware.
//!
//! [`Application`] has the servers, over any stack of embedded-nal; [`run`] and what belongs to it put them on smoltcp, for
//! boards whose driver is a [`smoltcp::phy::Device`]. A board is what implements [`Board`].
#![no_std]
#![forbid(unsafe_code)]

mod application;
#[cfg(feature = "smoltcp")]
mod bare;
mod board;
mod commands;
mod console;
mod disk;
mod files;
#[cfg(feature = "smoltcp")]
mod frame;
pub mod memory;
#[cfg(feature = "smoltcp")]
mod network;
mod overflow;
mod place;
#[cfg(feature = "smoltcp")]
mod run;
mod service;
mod shared;
mod stack;

pub use application::{Application, BindError, PORT, Place, Remembered, TIMEOUTS, UdpPlace};
#[cfg(feature = "smoltcp")]
pub use bare::bare;
pub use board::Board;
pub use console::print_line;
#[cfg(feature = "smoltcp")]
pub use frame::Received;
pub use overflow::overflow;
pub use place::{filled, made};
#[cfg(feature = "smoltcp")]
pub use run::run;
pub use service::Services;
pub use shared::{Load, Shared, Stats};
pub use stack::{Callers, PAINT, StackUse};

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
mod disk;
mod files;
pub mod memory;
#[cfg(feature = "smoltcp")]
mod network;
mod overflow;
#[cfg(feature = "smoltcp")]
mod run;
mod service;
mod shared;
mod stack;

pub use application::{Application, BindError, PORT, Place, Remembered, TIMEOUTS, UdpPlace};
#[cfg(feature = "smoltcp")]
pub use bare::bare;
pub use board::Board;
pub use overflow::overflow;
#[cfg(feature = "smoltcp")]
pub use run::run;
pub use service::Services;
pub use shared::{Load, Shared, Stats};
pub use stack::{Callers, PAINT, StackUse};

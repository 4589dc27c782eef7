//! The frame decoder, the connection and the services of unstick.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod error;
mod frame;
pub mod json;
pub mod length;

pub use error::{DecodeError, EncodeError, HeaderError, HeaderErrorKind};
pub use frame::{Event, Header};

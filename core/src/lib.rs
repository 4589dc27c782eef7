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

mod buffer;
mod connection;
mod decode;
mod encode;
mod error;
mod frame;
mod head;
pub mod io;
pub mod json;
pub mod length;
mod octets;
mod service;
pub mod services;
mod session;

pub use connection::{Connection, Fault, Phase, Wants};
pub use decode::Decoder;
pub use encode::encode;
pub use error::{DecodeError, EncodeError, HeaderError, HeaderErrorKind};
pub use frame::{Event, Header, PREFIX_LEN};
pub use head::{Code, FILENAME_LEN, MESSAGE_LEN, OP_LEN, Op, Refusal, Reply, Request, Stream};
pub use service::{Or, Route, Service};
pub use session::{Needs, Session, Timeouts};

//! Frames over any stream of octets, and the server's side of a connection: no heap, no `unsafe`, no I/O.
//!
//! TCP hands over octets, not messages. A frame is a *prefix* (4 octets: the header's length), a *header* (one JSON
//! object, whose `total_size` is the body's length) and a *body*; PROTOCOL.md has the wire. This crate has five layers,
//! and each is of use without those above it:
//!
//! 1. **Frames.** [`Decoder`] takes octets as they come and returns [`Event`]s; [`encode`] writes a prefix and a header.
//!    The header is a type of yours, a [`Header`]; [`json`] reads and writes those that derive serde's traits.
//!    [`length`] is the same for protocols whose prefix is all the header they have.
//! 2. **Requests.** [`Request`] and [`Reply`] are this protocol's headers, [`Code`] and [`Refusal`] its errors.
//! 3. **Services.** A [`Service`] carries requests out; [`services`] has those that run everywhere, and the
//!    [small responder](services::Responder) that makes a service of a closure. [`Route::or`] puts them side by side.
//! 4. **A connection.** [`Connection`] is the server's side as a state machine: octets in, octets out, and what it
//!    [wants](Wants) next. [`Session`] adds buffers and deadlines, for engines with many connections.
//! 5. **Streams.** [`io`] has readers, writers and a server over `embedded_io`, blocking and `nb`.
//!
//! Engines with sockets are crates of their own: `unstick-std` (threads, UDP, a client) and `unstick-nal` (any
//! embedded-nal stack).
//!
//! # Panics
//!
//! Nothing here panics, whatever a peer sends. Framing with a hand-written header links without a panic;
//! headers by way of serde bring the panics of serde-json-core along, which [`json`] keeps from being reached and
//! names where a header type of yours could reach one.
//!
//! # Memory
//!
//! Every buffer is a const parameter or the caller's. None grows with a length that a peer declares.
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
mod digest;
mod encode;
mod error;
mod frame;
mod head;
pub mod io;
pub mod json;
pub mod length;
mod mode;
mod octets;
mod service;
pub mod services;
mod session;

pub use connection::{Connection, Fault, Phase, Wants};
pub use decode::Decoder;
pub use digest::{Digest, Hasher};
pub use encode::encode;
pub use error::{DecodeError, EncodeError, HeaderError, HeaderErrorKind};
pub use frame::{Event, Header, PREFIX_LEN};
pub use head::{Code, FILENAME_LEN, MESSAGE_LEN, OP_LEN, Op, Refusal, Reply, Request, Stream};
pub use mode::Mode;
pub use service::{Or, Route, Service};
pub use session::{Needs, Session, Timeouts};

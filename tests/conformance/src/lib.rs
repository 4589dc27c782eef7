//! PROTOCOL.md, asked of whatever listens.
//!
//! A [`Target`] is two addresses and the little that cannot be asked over the wire. [`cases()`] are written once, against
//! those, with a client that shares nothing with the code under test. [`ENGINES`] are the servers that run inside of this
//! process; a board is one more [`Engine`], which starts elsewhere. Every one of them has to pass every case: there is no
//! way to skip one.
//!
//! `cargo test -p conformance` runs the engines of this process, `cargo xtask conformance` prints a table.

mod at_once;
mod cases;
mod counts;
mod datagrams;
mod engines;
mod frame;
mod mutation;
mod peer;
mod random;
mod report;
mod service;
mod target;

pub use cases::{Case, cases};
pub use engines::{ENGINES, Engine, Running, Server};
pub use report::{Report, run, run_some};
pub use target::Target;

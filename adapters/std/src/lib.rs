//! The desktop side of unstick: blocking client, threaded server, UDP and the shell service.

mod client;
mod limits;
mod poll;
#[cfg(unix)]
pub mod shell;
mod shutdown;
pub mod tcp;
pub mod udp;

pub use client::{Body, Client, Error, Frame, Replies};
pub use limits::{HEADER_CAPACITY, Limits};
#[cfg(unix)]
pub use shell::Shell;
pub use shutdown::Shutdown;

//! The desktop side of unstick, over `std::net`: for Unix, tested on Linux.
//!
//! - [`Client`] asks a server over TCP, [`udp::Client`] over UDP.
//! - [`transfer`] moves files: [`get`](transfer::get), [`put`](transfer::put).
//! - [`tcp::Server`] serves one thread a connection, [`udp::Server`] carries each request out once. Both make a service
//!   for each peer, of `unstick_core::services` or of your own, keep to [`Limits`] and end with a [`Shutdown`].
//! - [`bare`] has servers for what is not framed, as short to use as Python's `socketserver`, which they are shown beside.
//! - [`Shell`] is the operation `exec`; [`Directory`] is what `get`, `put`, `list` and `stat` are about.

mod accept;
pub mod bare;
mod client;
#[cfg(unix)]
pub mod directory;
mod limits;
mod poll;
#[cfg(unix)]
pub mod shell;
mod shutdown;
mod stats;
pub mod tcp;
#[cfg(unix)]
pub mod transfer;
pub mod udp;
mod wake;

pub use client::{Body, Client, Error, Frame, Replies, connect};
#[cfg(unix)]
pub use directory::Directory;
pub use limits::{HEADER_CAPACITY, Limits};
#[cfg(unix)]
pub use shell::Shell;
pub use shutdown::Shutdown;
pub use stats::{TcpStats, UdpStats};
pub use wake::WakePipe;

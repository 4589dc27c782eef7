//! TCP: the server with its slots, and the client.

mod client;
mod linger;
mod server;
mod slot;
mod spare;

pub use client::{Client, ClientError, body_of};
pub use server::{TcpServer, TcpStats};
pub use slot::{Slot, Waits};

//! The server and the client of unstick over any stack of [`embedded_nal`]: no heap, no operating system.
//!
//! [`TcpServer`] has a fixed number of slots, [`UdpServer`] a fixed number of replies that it remembers; both memories
//! are the caller's. Each `poll` is one bounded pass that never waits: `nb::Error::WouldBlock` means that there was
//! nothing to do. The stack is lent to every call, since one stack carries TCP and UDP, and the clock is the caller's:
//! any that never goes back.
//!
//! What embedded-nal leaves open, and stacks decide differently, is settled by a [`TcpPolicy`] and a [`UdpPolicy`].
//!
//! ```
//! use core::time::Duration;
//! use std::io::{Read, Write};
//! use std::time::Instant;
//!
//! use unstick_core::services::Echo;
//! use unstick_nal::{Limits, Slot, TcpServer, std_stack};
//!
//! let mut stack = std_embedded_nal::Stack;
//! // Two peers at once; headers of 256 octets; 128 octets of input and 256 of output for each.
//! let mut slots: [Slot<_, Echo<64>, 256, 128, 256>; 2] = [const { Slot::FREE }; 2];
//! let policy = std_stack::Policy::default();
//! let mut server = TcpServer::bind(&mut stack, 0, policy, Limits::default(), &mut slots)
//!     .map_err(|error| error.0)?;
//! # let port = std_stack::local_port(server.listener())?;
//! # let client = std::thread::spawn(move || {
//! #     let mut peer = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
//! #     peer.write_all(b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}hello").unwrap();
//! #     let mut reply = [0; 25];
//! #     peer.read_exact(&mut reply).unwrap();
//! #     assert_eq!(&reply, b"\x10\0\0\0{\"total_size\":5}hello");
//! # });
//!
//! let start = Instant::now();
//! loop {
//!     match server.poll(&mut stack, start.elapsed(), |_peer| Echo::new()) {
//!         Ok(()) => {}
//!         // A board would sleep until its network or its timer interrupts: see `next_deadline`.
//!         Err(nb::Error::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
//!         Err(nb::Error::Other(error)) => eprintln!("cannot accept: {error:?}"),
//!     }
//! #     if client.is_finished() { client.join().unwrap(); break }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![cfg_attr(not(feature = "std"), forbid(unsafe_code))]
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

#[cfg(feature = "std")]
extern crate std;

mod limits;
mod policy;
#[cfg(feature = "smoltcp")]
pub mod smoltcp_stack;
#[cfg(all(feature = "std", unix))]
pub mod std_stack;
mod tcp;
mod udp;

pub use limits::Limits;
pub use policy::{
    Received, Sent, TcpPolicy, Turned, UdpPolicy, UdpReceived, ZeroIsEnd, ZeroIsNothing,
};
pub use tcp::{Client, ClientError, Slot, TcpServer, TcpStats, Waits, body_of};
pub use udp::{Entry, UdpClient, UdpClientError, UdpServer, UdpSlot, UdpStats};

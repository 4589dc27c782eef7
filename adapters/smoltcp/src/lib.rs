//! embedded-nal's [`TcpFullStack`](embedded_nal::TcpFullStack) and [`UdpFullStack`](embedded_nal::UdpFullStack) over
//! [smoltcp]: for firmware whose network code is written against the traits, on boards whose driver is a smoltcp
//! [`Device`](smoltcp::phy::Device).
//!
//! `no_std`, no alloc, no `unsafe`. A [`Stack`] is given everything it uses, and never asks for more. It does nothing on its
//! own: [`Stack::poll`] is one bounded pass, [`Stack::poll_delay`] says how long a board may sleep.
//!
//! # What embedded-nal leaves open, and what holds here
//!
//! [`nb::Error::WouldBlock`](embedded_nal::nb::Error::WouldBlock) means that there is nothing to do yet; it is never an
//! error, and `Ok(0)` never means it.
//!
//! | TCP | |
//! |---|---|
//! | `connect` | `WouldBlock` until the peer has answered, then `Ok`; [`Refused`](Error::Refused) at a reset, [`TimedOut`](Error::TimedOut) after [`Settings::connect`]. After an error the socket is as new |
//! | `receive`, no data | `WouldBlock` |
//! | `receive`, the peer has ended its stream | what is left, then `Ok(0)`, again and again |
//! | `receive`, the connection was reset | what is left, then [`Closed`](Error::Closed), whose kind is `PipeClosed` |
//! | `send`, no room | `WouldBlock`; `Ok(n)` may be less than was given |
//! | `send`, the peer has ended its stream | works on |
//! | `send`, reset or [shut down](Stack::shutdown) here | [`Closed`](Error::Closed) |
//! | `accept`, nobody there | `WouldBlock` |
//! | `close` | what was sent is delivered; bounded by [`Settings::close`] |
//!
//! | UDP | |
//! |---|---|
//! | `receive`, no datagram | `WouldBlock` |
//! | `receive`, longer than the buffer | [`Truncated`](Error::Truncated), and the datagram is gone |
//! | `send`, no room | `WouldBlock` |
//! | `send`, longer than a frame or the socket's buffer | [`TooLong`](Error::TooLong) |
//! | `receive` on a connected socket | what others send is thrown away |
//! | `send` to a neighbor that does not exist | `Ok`, and dropped after [`Settings::datagram`] |
//!
//! # Listening, and the backlog
//!
//! smoltcp has no backlog: a socket that listens becomes the connection. Here all sockets that are free listen, shared out
//! between the ports that are [listened](embedded_nal::TcpFullStack::listen) on, and one that becomes free listens before the
//! next frame is looked at. So a burst of as many connections as there are sockets is served; a peer beyond them is
//! reset, and the next one after a close is served again.
//!
//! With [`Stack::add_backlog`] a peer beyond the sockets waits: the frame with its SYN is held, and when a socket listens on
//! its port again, smoltcp gets the oldest one that is held before the next frame is looked at. Nobody is reset
//! for lack of a socket then: a peer for whom the backlog has no room either is not answered, so that it tries again.
//!
//! | what comes from a peer that is held, or would be | what happens |
//! |---|---|
//! | the SYN again | it replaces the one that is held, in its place, and counts as new |
//! | a reset that fits the SYN | it is dropped |
//! | nothing for [`Settings::backlog`] | it is dropped |
//! | a SYN in a frame of more than 114 octets, which has data | it is not held: a repeated one has none |
//!
//! Whoever closes the listener drops who waits for it. A peer that is gone when its turn comes costs what any does that
//! does not complete its handshake: a socket for [`Settings::handshake`], or until the reset comes with which hosts answer for
//! a program that has given up. All ports share the backlog.
//!
//! | a socket is held by | for how long |
//! |---|---|
//! | a handshake that is not completed | [`Settings::handshake`] |
//! | a connection that waits to be accepted | until it is, or is reset by the peer |
//! | a connection | until it is closed by the application, whatever happened to it. Who never closes idle ones needs deadlines |
//! | a closed connection, until both ends have said goodbye | [`Settings::close`] |
//! | TIME-WAIT | until it is needed |
//!
//! # Not here
//!
//! IP addresses to bind to (embedded-nal has none), DNS, DHCP ([`Stack::add`] takes smoltcp's), multicast, keep-alive
//! (set it on the sockets that are given to the stack), and connections between two sockets of one stack.
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

mod address;
mod backlog;
mod clock;
mod error;
mod frame;
mod settings;
mod stack;
mod tcp;
mod udp;

pub use embedded_nal;
pub use smoltcp;

pub use backlog::Pending;
pub use error::Error;
pub use settings::Settings;
pub use stack::{Stack, Usage};
pub use tcp::TcpSocket;
pub use udp::UdpSocket;

//! How large everything is, in octets unless said otherwise: what a board with 64 KiB of memory can give.

/// Peers that are served at once over TCP.
pub const SLOTS: usize = 4;

/// A header.
pub const HEADER_LEN: usize = 512;
/// What is held of a peer's input.
pub const INPUT_LEN: usize = 512;
/// What is held of the output for a peer.
pub const OUTPUT_LEN: usize = 512;

/// What the echo holds.
pub const ECHO_LEN: usize = 512;
/// A command line.
pub const COMMAND_LEN: usize = 64;
/// What a command writes.
pub const COMMAND_OUTPUT_LEN: usize = 512;

/// A datagram, in either direction.
pub const DATAGRAM_LEN: usize = 1024;
/// Replies over UDP that are remembered.
pub const REPLIES: usize = 4;

/// Sockets of the stack: one for each slot, and one for a peer that is told `busy`.
#[cfg(feature = "smoltcp")]
pub const SOCKETS: usize = SLOTS + 1;
/// Each direction's buffer of such a socket: the window that a peer may fill.
#[cfg(feature = "smoltcp")]
pub const BUFFER_LEN: usize = 1024;
/// Datagrams that wait in the stack, in each direction.
#[cfg(feature = "smoltcp")]
pub const DATAGRAMS: usize = 2;

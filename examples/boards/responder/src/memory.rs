//! How large everything is, in octets unless said otherwise: what a board with 64 KiB of memory can give.

/// Peers that are served at once over TCP.
pub const SLOTS: usize = 4;

/// A header.
pub const HEADER_LEN: usize = 512;
/// What is held of a peer's input.
pub const INPUT_LEN: usize = 256;
/// What is held of the output for a peer.
pub const OUTPUT_LEN: usize = 512;

/// What the echo holds.
pub const ECHO_LEN: usize = 512;
/// A command line.
pub const COMMAND_LEN: usize = 64;
/// What a command writes.
pub const COMMAND_OUTPUT_LEN: usize = 448;

/// What `info` says.
pub const INFO_LEN: usize = 256;

/// Files in memory, but for the one that is being uploaded.
pub const DISK_FILES: usize = 2;
/// The content of one.
pub const DISK_FILE_LEN: usize = 768;
/// The name of one.
pub const DISK_NAME_LEN: usize = 32;
/// What is read or listed at a time.
pub const FILES_BUFFER_LEN: usize = 192;
/// The content of a file in a datagram: with a header it fits.
pub const FILES_FRAME_LEN: u64 = 512;

/// A datagram, in either direction.
pub const DATAGRAM_LEN: usize = 1024;
/// Replies over UDP that are remembered.
pub const REPLIES: usize = 3;

/// Sockets of the stack: one for each slot, and one for a peer that is told `busy`.
#[cfg(feature = "smoltcp")]
pub const SOCKETS: usize = SLOTS + 1;
/// Each direction's buffer of such a socket: the window that a peer may fill.
#[cfg(feature = "smoltcp")]
pub const BUFFER_LEN: usize = 1024;
/// Peers that wait until one of them is free.
#[cfg(feature = "smoltcp")]
pub const BACKLOG: usize = 12;
/// Datagrams that wait in the stack to be received; of those to be sent it is one.
#[cfg(feature = "smoltcp")]
pub const DATAGRAMS: usize = 2;

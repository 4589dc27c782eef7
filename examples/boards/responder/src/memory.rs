//! How large everything is, in octets unless said otherwise: what a board with 64 KiB of memory can give, or with the feature
//! `small` one with 32.

/// The first on a board with 64 KiB of memory, the second on one with 32.
const fn of(large: usize, small: usize) -> usize {
    match cfg!(feature = "small") {
        true => small,
        false => large,
    }
}

/// Peers that are served at once over TCP.
pub const SLOTS: usize = of(4, 2);

/// A header.
pub const HEADER_LEN: usize = of(512, 256);
/// What is held of a peer's input.
pub const INPUT_LEN: usize = 256;
/// What is held of the output for a peer.
pub const OUTPUT_LEN: usize = of(512, 384);

/// What the echo holds.
pub const ECHO_LEN: usize = of(512, 256);
/// A command line.
pub const COMMAND_LEN: usize = 64;
/// What a command writes.
pub const COMMAND_OUTPUT_LEN: usize = 448;

/// What `info` says.
pub const INFO_LEN: usize = 256;

/// Files in memory, but for the one that is being uploaded.
pub const DISK_FILES: usize = 2;
/// The content of one.
pub const DISK_FILE_LEN: usize = of(608, 256);
/// The name of one.
pub const DISK_NAME_LEN: usize = 32;
/// What is read or listed at a time: a line of a listing, in which each octet of a name may be escaped, and as much again.
pub const FILES_BUFFER_LEN: usize = of(256, 192);
// The line has this besides the name; what is left of the buffer is what is digested at a time.
const _: () = assert!(2 * DISK_NAME_LEN + 80 < FILES_BUFFER_LEN);
/// The content of a file in a datagram: with a header it fits.
pub const FILES_FRAME_LEN: u64 = of(512, 256) as u64;

/// A datagram, in either direction.
pub const DATAGRAM_LEN: usize = of(1024, 512);
/// Replies over UDP that are remembered.
pub const REPLIES: usize = of(3, 2);

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

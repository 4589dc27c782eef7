//! UDP: one datagram is one frame (PROTOCOL.md, "UDP").

mod cache;
mod client;
mod server;

pub use cache::Entry;
pub use client::{UdpClient, UdpClientError};
pub use server::{UdpServer, UdpSlot, UdpStats};

use unstick_core::{DecodeError, Decoder, Event, Header};

/// The header of the frame in `datagram`, and how many octets are behind it.
///
/// Whether these are as many as the header says is the caller's to check, who then knows the `id`. Not inlined: the decoder is
/// on the stack.
#[inline(never)]
fn open<H: Header, const N: usize>(
    datagram: &[u8],
    max_header: usize,
) -> Result<(H, usize), DecodeError> {
    let mut input = datagram;
    match Decoder::<H, N>::with_max_header_len(max_header).decode(&mut input)? {
        Some(Event::Header(header)) => Ok((header, input.len())),
        _ => Err(DecodeError::Truncated),
    }
}

//! What the decoders of this crate hand out, and what a header has to be able to do.

use crate::error::{EncodeError, HeaderError};

/// The length of a frame's prefix, in octets.
pub const PREFIX_LEN: usize = 4;

/// One step of a frame, as a decoder returns it.
///
/// The events of a stream follow the grammar `(Header Body* End)*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'b, H> {
    /// A header has arrived whole.
    Header(H),
    /// The next octets of the body: never empty, and a slice of the caller's own input.
    Body(&'b [u8]),
    /// The frame is complete.
    End,
}

/// A frame's header: how it is read, how it is written, and how long a body it announces.
///
/// For a type that derives serde's traits both conversions are one line each, by way of [`json`](crate::json):
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use unstick_core::{EncodeError, Header, HeaderError, json};
///
/// #[derive(Serialize, Deserialize)]
/// struct Reading {
///     total_size: u64,
///     sensor: heapless::String<16>,
/// }
///
/// impl Header for Reading {
///     fn body_len(&self) -> u64 {
///         self.total_size
///     }
///     fn decode(text: &mut [u8], scratch: &mut [u8]) -> Result<Self, HeaderError> {
///         json::decode(text, scratch)
///     }
///     fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
///         json::encode(self, out)
///     }
/// }
/// ```
pub trait Header: Sized {
    /// The length of the body that follows this header, in octets: the value of `total_size`.
    fn body_len(&self) -> u64;

    /// Reads a header from its octets, which may be rewritten on the way.
    ///
    /// `scratch` is at least as long as `text`; what it holds before and after is of no meaning.
    ///
    /// # Errors
    /// [`HeaderError`] if `text` is not a header of this type.
    fn decode(text: &mut [u8], scratch: &mut [u8]) -> Result<Self, HeaderError>;

    /// Writes the header's octets to the start of `out` and returns how many they are.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`] if they do not fit.
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError>;
}

//! The JSON side of a header.

use crate::error::{EncodeError, HeaderError};

/// How deep arrays and objects may nest in a header, the header's own object included.
pub const MAX_DEPTH: usize = 32;

/// Reads a header of type `T` from the JSON object in `text`.
///
/// # Errors
/// [`HeaderError`] says what is wrong and where.
pub fn decode<T: serde::de::DeserializeOwned>(
    _text: &mut [u8],
    _scratch: &mut [u8],
) -> Result<T, HeaderError> {
    todo!()
}

/// Writes `value` as a JSON object to the start of `out` and returns its length in octets.
///
/// # Errors
/// [`EncodeError::BufferTooSmall`] if it does not fit.
pub fn encode<T: serde::Serialize>(_value: &T, _out: &mut [u8]) -> Result<usize, EncodeError> {
    todo!()
}

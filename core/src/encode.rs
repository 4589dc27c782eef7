//! Writing frames.

use crate::error::EncodeError;
use crate::frame::{Header, PREFIX_LEN};

/// Writes a frame's prefix and header to the start of `out` and returns how many octets they are.
///
/// The body, `header.body_len()` octets, is the caller's to send after them.
///
/// ```
/// use unstick_core::{Request, encode};
///
/// let mut out = [0; 64];
/// let len = encode(&Request::new("echo", 5), &mut out)?;
/// assert_eq!(&out[..len], b"\x1c\0\0\0{\"total_size\":5,\"op\":\"echo\"}");
/// # Ok::<(), unstick_core::EncodeError>(())
/// ```
///
/// # Errors
/// [`EncodeError::BufferTooSmall`] if they do not fit, [`EncodeError::HeaderLength`] if the header has
/// a length that no prefix can say: 0, or more than `i32::MAX` octets.
pub fn encode<H: Header>(header: &H, out: &mut [u8]) -> Result<usize, EncodeError> {
    let (prefix, rest) = out
        .split_first_chunk_mut::<PREFIX_LEN>()
        .ok_or(EncodeError::BufferTooSmall)?;
    let len = header.encode(rest)?;
    *prefix = match i32::try_from(len) {
        Ok(announced) if announced > 0 => announced.to_le_bytes(),
        _ => return Err(EncodeError::HeaderLength),
    };
    if len > rest.len() {
        return Err(EncodeError::BufferTooSmall);
    }
    Ok(len.saturating_add(PREFIX_LEN))
}

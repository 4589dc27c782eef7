//! SHA-256: what a [`Digest`] is in a header, and how it comes about.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

use crate::head::deserialize_name;

/// How many digits a digest has in a header.
const DIGITS: usize = 64;

/// A SHA-256 digest; in a header, and wherever it is shown, 64 hex digits in lower case.
///
/// ```
/// use unstick_core::{Digest, Hasher};
///
/// let mut hasher = Hasher::new();
/// hasher.update(b"ab");
/// hasher.update(b"c");
/// let digest = hasher.digest();
/// let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// assert_eq!(digest.to_string(), text);
/// assert_eq!(Digest::from_hex(text), Some(digest));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest that these are the digits of; `None` unless they are 64 hex digits in lower case.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut octets = [0; 32];
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        if pairs.len() != octets.len() || !rest.is_empty() {
            return None;
        }
        for (octet, [high, low]) in octets.iter_mut().zip(pairs) {
            *octet = value_of(*high)? << 4 | value_of(*low)?;
        }
        Some(Self(octets))
    }

    /// Calls `show` with the digits.
    fn with_hex<T>(&self, show: impl FnOnce(&str) -> T) -> T {
        let mut digits = [0; DIGITS];
        let (pairs, _) = digits.as_chunks_mut::<2>();
        for ([high, low], octet) in pairs.iter_mut().zip(self.0) {
            (*high, *low) = (digit_of(octet >> 4), digit_of(octet & 0xF));
        }
        show(core::str::from_utf8(&digits).unwrap_or_default())
    }
}

/// What a hex digit in lower case stands for.
fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit & 0xF),
        // In ASCII `a` is 0x61.
        b'a'..=b'f' => Some((digit & 0xF).wrapping_add(9)),
        _ => None,
    }
}

/// The hex digit for a number less than 16.
fn digit_of(value: u8) -> u8 {
    match value {
        0..10 => b'0' | value,
        _ => b'a'.wrapping_add(value.wrapping_sub(10)),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_hex(|digits| f.write_str(digits))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_hex(|digits| serializer.serialize_str(digits))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_name(deserializer, Self::from_hex)?
            .ok_or_else(|| de::Error::custom("a digest has 64 hex digits in lower case"))
    }
}

/// Digests octets as they pass.
///
/// On boards, `--cfg sha2_backend="soft" --cfg sha2_backend_soft="compact"` in `RUSTFLAGS` makes it smaller and
/// slower.
#[derive(Clone, Debug, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// A hasher of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Digests `octets`, which follow those before.
    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// The digest of all octets so far.
    pub fn digest(&self) -> Digest {
        Digest(self.0.clone().finalize().into())
    }
}

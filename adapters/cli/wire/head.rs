//! The header of replies on the wire `header`.

use serde::{Deserialize, Serialize};
use unstick_core::{EncodeError, Header, HeaderError, json};

/// What a reply says of its body. The order is the one that these peers have.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    /// A name for the body.
    #[serde(default)]
    pub filename: Option<String>,
    /// The body's digest in hexadecimal digits, or what stands in its place.
    #[serde(default)]
    pub md5: Option<String>,
    /// The length of the body, in octets.
    pub total_size: u64,
}

impl Header for Head {
    fn body_len(&self) -> u64 {
        self.total_size
    }

    fn decode(text: &mut [u8], scratch: &mut [u8]) -> Result<Self, HeaderError> {
        json::decode(text, scratch)
    }

    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        json::encode(self, out)
    }
}

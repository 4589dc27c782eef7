//! The permissions of a file, as they are in headers.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Permission bits of a file: read, write and execute for its owner, its group and all others. None that let a program
/// run as somebody else.
///
/// ```
/// use unstick_core::Mode;
///
/// let mode = Mode::new(0o644).unwrap();
/// assert_eq!(mode.bits(), 0o644);
/// assert_eq!(Mode::new(0o4755), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(u16);

impl Mode {
    /// All of the bits.
    const ALL: u16 = 0o777;

    /// These permissions; `None` if there are other bits than 0o777 among them.
    pub const fn new(bits: u16) -> Option<Self> {
        if bits > Self::ALL {
            return None;
        }
        Some(Self(bits))
    }

    /// The bits.
    pub const fn bits(self) -> u16 {
        self.0
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The type that other keys have: one more is 100 octets of a board's flash.
        serializer.serialize_u64(self.0.into())
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bits = u64::deserialize(deserializer)?;
        let mode = u16::try_from(bits).ok().and_then(Self::new);
        mode.ok_or_else(|| de::Error::custom("a mode has the bits of 0o777 alone"))
    }
}

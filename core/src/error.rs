//! Errors, sorted by who is to blame: [`DecodeError`] is the peer's doing, [`EncodeError`] is ours.

use core::fmt;

/// What is wrong with octets that a peer sent (PROTOCOL.md, "Errors").
///
/// Once a [`Decoder`](crate::Decoder) has returned one, it returns the same one for ever: there is no
/// way to find the start of the next frame in a stream whose lengths cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The prefix, as sent, is zero or negative: it has to be the header's length in octets.
    PrefixNotPositive(i32),
    /// The prefix announces a header of this many octets, more than the receiver takes.
    HeaderTooLong(u32),
    /// The header arrived whole but is not what a header has to be.
    Header(HeaderError),
    /// The stream ended inside a frame.
    Truncated,
}

/// What is wrong with a header, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderError {
    /// Where in the header, in octets from its start; the header's length where no single octet is to blame.
    pub offset: u32,
    /// What is wrong there.
    pub kind: HeaderErrorKind,
}

/// What can be wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderErrorKind {
    /// The octets are not UTF-8.
    NotUtf8,
    /// The header is JSON of another kind than an object, or empty.
    NotAnObject,
    /// The text breaks the grammar of RFC 8259 here.
    Syntax,
    /// Arrays and objects are nested deeper than [`json::MAX_DEPTH`](crate::json::MAX_DEPTH).
    TooDeep,
    /// A `\u` escape is half of a surrogate pair without the other half.
    LoneSurrogate,
    /// Something other than white space follows the object.
    TrailingOctets,
    /// A number is negative, has a fraction or exponent, or is too large for its key.
    Number,
    /// A key's value has another type than the key asks for.
    Type,
    /// A required key is missing, a known key is there twice, or a value is longer than its key allows or no digest.
    Key,
}

impl fmt::Display for HeaderErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "not UTF-8",
            Self::NotAnObject => "not a JSON object",
            Self::Syntax => "not valid JSON",
            Self::TooDeep => "nested too deep",
            Self::LoneSurrogate => "half a surrogate pair",
            Self::TrailingOctets => "more text after the object",
            Self::Number => "a number is negative, fractional or too large",
            Self::Type => "a value has the wrong type",
            Self::Key => "a key is missing, repeated or has a bad value",
        })
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header: {} (octet {})", self.kind, self.offset)
    }
}

impl core::error::Error for HeaderError {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrefixNotPositive(prefix) => {
                write!(f, "the prefix is {prefix}: a header's length is at least 1")
            }
            Self::HeaderTooLong(len) => {
                write!(f, "the prefix announces a header of {len} octets: too long")
            }
            Self::Header(error) => error.fmt(f),
            Self::Truncated => f.write_str("the stream ended inside a frame"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl From<HeaderError> for DecodeError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

/// Why a frame could not be written: our own doing, never the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The buffer is too small for the prefix and the header together.
    BufferTooSmall,
    /// The header has no octets, or more than its prefix can say.
    HeaderLength,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BufferTooSmall => "the buffer is too small for the frame's prefix and header",
            Self::HeaderLength => "the header is empty or longer than its prefix can say",
        })
    }
}

impl core::error::Error for EncodeError {}

// Every result on the receive path carries this type, and on a board its size is flash.
const _: () = assert!(size_of::<DecodeError>() <= 12);
const _: () = assert!(size_of::<EncodeError>() == 1);

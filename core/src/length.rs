//! The length codec on its own: frames that are a length and that many octets, with no JSON header.
//!
//! ```text
//! frame  = prefix body
//! prefix = 1, 2, 3, 4 or 8 octets, an unsigned integer, big or little endian
//! ```
//!
//! A [`Format`] says what the prefix looks like, what it counts, and how long a body may be. A format that
//! exists is sound: every body length up to its maximum can be encoded, every prefix that it encodes it also
//! decodes, and every prefix that it decodes is the one it would have encoded for that length.
//!
//! ```
//! use unstick_core::Event;
//! use unstick_core::length::{Counts, Decoder, Endian, Format, Width};
//!
//! let format = Format::new(Width::U16, Endian::Big, Counts::Body).with_max_len(1024)?;
//!
//! let mut decoder = Decoder::new(format);
//! let mut input: &[u8] = b"\x00\x05hello\x00\x03wo"; // one frame, and all of the next but its last octet
//! let mut events = Vec::new();
//! while let Some(event) = decoder.decode(&mut input)? {
//!     events.push(event);
//! }
//! assert_eq!(
//!     events,
//!     [Event::Header(5), Event::Body(b"hello"), Event::End, Event::Header(3), Event::Body(b"wo")]
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;

use crate::frame::Event;

/// How wide the prefix is. The discriminant is its length in octets.
///
/// ```
/// # use unstick_core::length::Width;
/// assert_eq!(Width::U24 as usize, 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// One octet.
    U8 = 1,
    /// Two octets.
    U16 = 2,
    /// Three octets.
    U24 = 3,
    /// Four octets.
    U32 = 4,
    /// Eight octets.
    U64 = 8,
}

impl Width {
    /// How many bits of a `u64` the prefix does not use.
    const fn spare_bits(self) -> u32 {
        match self {
            Self::U8 => 56,
            Self::U16 => 48,
            Self::U24 => 40,
            Self::U32 => 32,
            Self::U64 => 0,
        }
    }
}

/// In which order the octets of the prefix come.
///
/// ```
/// # use unstick_core::length::{Counts, Endian, Format, Width};
/// let mut out = [0; 2];
/// Format::new(Width::U16, Endian::Big, Counts::Body).encode(5, &mut out)?;
/// assert_eq!(out, [0, 5]);
/// Format::new(Width::U16, Endian::Little, Counts::Body).encode(5, &mut out)?;
/// assert_eq!(out, [5, 0]);
/// # Ok::<(), unstick_core::length::EncodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endian {
    /// The most significant octet first: network byte order.
    Big,
    /// The least significant octet first.
    Little,
}

/// What the number in the prefix counts.
///
/// ```
/// # use unstick_core::length::{Counts, Endian, Format, Width};
/// let mut out = [0; 1];
/// Format::new(Width::U8, Endian::Big, Counts::Body).encode(5, &mut out)?;
/// assert_eq!(out, [5]);
/// Format::new(Width::U8, Endian::Big, Counts::Frame).encode(5, &mut out)?;
/// assert_eq!(out, [6]);
/// # Ok::<(), unstick_core::length::EncodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counts {
    /// The body alone.
    Body,
    /// The prefix and the body together.
    Frame,
}

/// What a protocol's frames look like.
///
/// ```
/// use unstick_core::length::{Counts, Endian, Format, Width};
///
/// const FORMAT: Format = match Format::new(Width::U32, Endian::Little, Counts::Body).with_max_len(1 << 20) {
///     Ok(format) => format,
///     Err(_) => panic!("the prefix cannot say the maximum"), // while compiling, not on the board
/// };
/// let mut prefix = [0; FORMAT.prefix_len()];
/// assert_eq!(FORMAT.encode(300, &mut prefix), Ok(4));
/// assert_eq!(prefix, [0x2c, 0x01, 0, 0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    width: Width,
    endian: Endian,
    counts: Counts,
    /// Invariant: with [`overhead`](Self::overhead) added, it fits in the prefix. All else relies on that.
    max_len: u64,
}

impl Format {
    /// The format with this prefix, whose bodies may be as long as the prefix can say.
    ///
    /// There is nothing to refuse: every combination has a longest body.
    ///
    /// ```
    /// # use unstick_core::length::{Counts, Endian, Format, Width};
    /// assert_eq!(Format::new(Width::U24, Endian::Big, Counts::Body).max_len(), 16_777_215);
    /// assert_eq!(Format::new(Width::U24, Endian::Big, Counts::Frame).max_len(), 16_777_212);
    /// ```
    #[must_use]
    pub const fn new(width: Width, endian: Endian, counts: Counts) -> Self {
        let mut format = Self {
            width,
            endian,
            counts,
            max_len: 0,
        };
        format.max_len = format.longest();
        format
    }

    /// The same format with bodies of at most `max_len` octets, the prefix never counted.
    ///
    /// # Errors
    /// [`FormatError::MaxTooLong`] if the prefix cannot say that length.
    ///
    /// ```
    /// # use unstick_core::length::{Counts, Endian, Format, FormatError, Width};
    /// let format = Format::new(Width::U8, Endian::Big, Counts::Frame);
    /// assert_eq!(format.with_max_len(100)?.max_len(), 100);
    /// assert_eq!(format.with_max_len(255), Err(FormatError::MaxTooLong(254)));
    /// # Ok::<(), FormatError>(())
    /// ```
    pub const fn with_max_len(self, max_len: u64) -> Result<Self, FormatError> {
        if max_len > self.longest() {
            return Err(FormatError::MaxTooLong(self.longest()));
        }
        Ok(Self { max_len, ..self })
    }

    /// The longest body that a frame may have, in octets.
    ///
    /// ```
    /// # use unstick_core::length::{Counts, Endian, Format, Width};
    /// assert_eq!(Format::new(Width::U8, Endian::Big, Counts::Body).max_len(), 255);
    /// ```
    #[must_use]
    pub const fn max_len(&self) -> u64 {
        self.max_len
    }

    /// The length of the prefix itself, in octets.
    ///
    /// ```
    /// # use unstick_core::length::{Counts, Endian, Format, Width};
    /// assert_eq!(Format::new(Width::U64, Endian::Big, Counts::Body).prefix_len(), 8);
    /// ```
    #[must_use]
    pub const fn prefix_len(&self) -> usize {
        self.width as usize
    }

    /// Writes the prefix of a body of `len` octets to the start of `out`; returns its length in octets.
    ///
    /// # Errors
    /// [`EncodeError`] if the body is too long or `out` too small; `out` is then as it was.
    ///
    /// ```
    /// # use unstick_core::length::{Counts, EncodeError, Endian, Format, Width};
    /// let format = Format::new(Width::U16, Endian::Big, Counts::Frame);
    /// let mut out = [0; 64];
    /// assert_eq!(format.encode(5, &mut out), Ok(2));
    /// assert_eq!(out[..2], [0, 7]);
    /// assert_eq!(format.encode(65_534, &mut out), Err(EncodeError::BodyTooLong));
    /// assert_eq!(format.encode(5, &mut out[..1]), Err(EncodeError::BufferTooSmall));
    /// ```
    pub fn encode(&self, len: u64, out: &mut [u8]) -> Result<usize, EncodeError> {
        if len > self.max_len {
            return Err(EncodeError::BodyTooLong);
        }
        let out = out
            .get_mut(..self.prefix_len())
            .ok_or(EncodeError::BufferTooSmall)?;
        let number = len.wrapping_add(self.overhead()); // never wraps: see `max_len`
        let octets = match self.endian {
            Endian::Big => number.wrapping_shl(self.width.spare_bits()).to_be_bytes(),
            Endian::Little => number.to_le_bytes(),
        };
        // The spare octets are the last ones in either order: the shorter side ends the copy.
        for (to, from) in out.iter_mut().zip(octets) {
            *to = from;
        }
        Ok(self.prefix_len())
    }

    /// The body's length, from the prefix's octets read as if they were big endian.
    fn decode(&self, octets: u64) -> Result<u64, DecodeError> {
        let number = match self.endian {
            Endian::Big => octets,
            Endian::Little => octets.swap_bytes().wrapping_shr(self.width.spare_bits()),
        };
        let len = number
            .checked_sub(self.overhead())
            .ok_or(DecodeError::BelowPrefix(number))?;
        if len > self.max_len {
            return Err(DecodeError::BodyTooLong(len));
        }
        Ok(len)
    }

    /// What the number in the prefix counts besides the body, in octets.
    const fn overhead(&self) -> u64 {
        match self.counts {
            Counts::Body => 0,
            Counts::Frame => self.width as u64,
        }
    }

    /// The longest body whose prefix can be written, in octets.
    const fn longest(&self) -> u64 {
        u64::MAX
            .wrapping_shr(self.width.spare_bits())
            .wrapping_sub(self.overhead())
    }
}

/// Splits a stream into frames, in constant memory, whatever the lengths say.
///
/// Only the octets of a prefix are kept from one call to the next. Bodies are never copied.
#[derive(Debug, Clone)]
pub struct Decoder {
    format: Format,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In a prefix, or between two frames: the octets so far, as a big-endian number, and how many.
    Prefix { octets: u64, count: usize },
    /// In a body: how many of its octets are still to come. At 0 only the `End` is.
    Body(u64),
    /// An error was returned: it is all there will ever be.
    Failed(DecodeError),
}

impl State {
    const BETWEEN_FRAMES: Self = Self::Prefix {
        octets: 0,
        count: 0,
    };
}

impl Decoder {
    /// A decoder at the start of a stream.
    ///
    /// ```
    /// # use unstick_core::length::{Counts, Decoder, Endian, Format, Width};
    /// const DECODER: Decoder = Decoder::new(Format::new(Width::U8, Endian::Big, Counts::Body));
    /// assert_eq!(DECODER.finish(), Ok(()));
    /// ```
    #[must_use]
    pub const fn new(format: Format) -> Self {
        Self {
            format,
            state: State::BETWEEN_FRAMES,
        }
    }

    /// Takes the next event from the start of `input` and moves `input` past the octets that it used up.
    ///
    /// The header is the body's length in octets; what the prefix counts of itself is already taken off.
    /// `None` means that `input` is empty and more of the stream is needed. The converse does not hold:
    /// a frame's `End` needs no octet of its own, so call until `None`, not until `input` is empty.
    /// However the stream is cut into inputs, the events are the same but for where bodies are cut.
    ///
    /// # Errors
    /// [`DecodeError`] if the peer announces a length that the format does not allow. Every later call
    /// returns the same error and leaves its input alone.
    ///
    /// ```
    /// # use unstick_core::{Event, length::{Counts, DecodeError, Decoder, Endian, Format, Width}};
    /// let mut decoder = Decoder::new(Format::new(Width::U8, Endian::Big, Counts::Frame));
    /// let mut input: &[u8] = b"\x01\x00";
    /// assert_eq!(decoder.decode(&mut input), Ok(Some(Event::Header(0))));
    /// assert_eq!(decoder.decode(&mut input), Ok(Some(Event::End)));
    /// assert_eq!(decoder.decode(&mut input), Err(DecodeError::BelowPrefix(0)));
    /// ```
    pub fn decode<'b>(
        &mut self,
        input: &mut &'b [u8],
    ) -> Result<Option<Event<'b, u64>>, DecodeError> {
        match self.state {
            State::Prefix {
                mut octets,
                mut count,
            } => {
                while count < self.format.prefix_len() {
                    let Some(&octet) = input.split_off_first() else {
                        self.state = State::Prefix { octets, count };
                        return Ok(None);
                    };
                    octets = octets << 8 | u64::from(octet);
                    count = count.wrapping_add(1);
                }
                match self.format.decode(octets) {
                    Ok(len) => {
                        self.state = State::Body(len);
                        Ok(Some(Event::Header(len)))
                    }
                    Err(error) => {
                        self.state = State::Failed(error);
                        Err(error)
                    }
                }
            }
            State::Body(0) => {
                self.state = State::BETWEEN_FRAMES;
                Ok(Some(Event::End))
            }
            State::Body(_) if input.is_empty() => Ok(None),
            State::Body(remaining) => {
                // Of a body that no slice can hold, every slice is a part.
                let here =
                    usize::try_from(remaining).map_or(input.len(), |len| len.min(input.len()));
                let body = input.split_off(..here).unwrap_or_default();
                self.state = State::Body(remaining.wrapping_sub(body.len() as u64));
                Ok(Some(Event::Body(body)))
            }
            State::Failed(error) => Err(error),
        }
    }

    /// Says whether the stream may end here. Call it when there is no more input and
    /// [`decode`](Self::decode) has returned `None`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if a frame has begun whose `End` has not been returned; the error of
    /// [`decode`](Self::decode) if there was one.
    ///
    /// ```
    /// # use unstick_core::length::{Counts, DecodeError, Decoder, Endian, Format, Width};
    /// let mut decoder = Decoder::new(Format::new(Width::U16, Endian::Big, Counts::Body));
    /// assert_eq!(decoder.finish(), Ok(()));
    /// assert_eq!(decoder.decode(&mut [0].as_slice()), Ok(None));
    /// assert_eq!(decoder.finish(), Err(DecodeError::Truncated));
    /// ```
    pub const fn finish(&self) -> Result<(), DecodeError> {
        match self.state {
            State::Prefix { count: 0, .. } => Ok(()),
            State::Prefix { .. } | State::Body(_) => Err(DecodeError::Truncated),
            State::Failed(error) => Err(error),
        }
    }
}

/// Why a [`Format`] cannot be: the programmer's doing.
///
/// ```
/// # use unstick_core::length::FormatError;
/// assert_eq!(FormatError::MaxTooLong(255).to_string(), "the prefix can say at most 255 octets of body");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The maximum is longer than the prefix can say; this is the longest that it can, in octets of body.
    MaxTooLong(u64),
}

/// Why a prefix could not be written: our own doing, never the peer's.
///
/// ```
/// # use unstick_core::length::EncodeError;
/// assert_eq!(EncodeError::BodyTooLong.to_string(), "the body is longer than the format allows");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body is longer than [`Format::max_len`].
    BodyTooLong,
    /// The buffer is shorter than [`Format::prefix_len`].
    BufferTooSmall,
}

/// What is wrong with a stream: the peer's doing.
///
/// ```
/// # use unstick_core::length::DecodeError;
/// assert_eq!(DecodeError::Truncated.to_string(), "the stream ended inside a frame");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The prefix counts itself, but this number, as sent, is less than its own length in octets.
    BelowPrefix(u64),
    /// The prefix announces a body of this many octets (the prefix not counted), more than
    /// [`Format::max_len`].
    BodyTooLong(u64),
    /// The stream ended inside a frame.
    Truncated,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::MaxTooLong(longest) = self;
        write!(f, "the prefix can say at most {longest} octets of body")
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BodyTooLong => "the body is longer than the format allows",
            Self::BufferTooSmall => "the buffer is too small for the prefix",
        })
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowPrefix(number) => {
                write!(
                    f,
                    "the length is {number}: less than the prefix that it counts"
                )
            }
            Self::BodyTooLong(len) => {
                write!(f, "the prefix announces a body of {len} octets: too long")
            }
            Self::Truncated => f.write_str("the stream ended inside a frame"),
        }
    }
}

impl core::error::Error for FormatError {}
impl core::error::Error for EncodeError {}
impl core::error::Error for DecodeError {}

// Every result on the receive path carries this type, and on a board its size is flash.
const _: () = assert!(size_of::<DecodeError>() <= 16);
const _: () = assert!(size_of::<EncodeError>() == 1);

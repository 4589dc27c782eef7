//! The frame decoder: a push parser that owns no input and does no I/O.

use core::marker::PhantomData;

use crate::error::{DecodeError, HeaderError};
use crate::frame::{Event, Header, PREFIX_LEN};
use crate::octets::{copy, take};

/// Decodes a stream of frames, however the stream is cut into pieces (PROTOCOL.md, "Frames").
///
/// `H` is the type of the header, `N` the most octets a header may have. The decoder keeps one header of
/// `N` octets and a few words of state, whatever lengths the peer declares: bodies pass through as slices of
/// the caller's input and may be of any length up to `u64::MAX`.
///
/// # Laws
/// 1. Progress: [`decode`](Self::decode) returns `None` only when the input is empty.
/// 2. Grammar: the events are `(Header Body* End)*`, and no `Body` is empty.
/// 3. Chunking: however a stream is cut, its events are the same but for where bodies are cut.
/// 4. Fused errors: after an error, always the same error.
///
/// ```
/// use unstick_core::{Decoder, Event, Request};
///
/// let mut decoder = Decoder::<Request, 256>::new();
/// let mut input = &b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}hello"[..];
/// while let Some(event) = decoder.decode(&mut input)? {
///     match event {
///         Event::Header(request) => assert_eq!(request.total_size, 5),
///         Event::Body(octets) => assert_eq!(octets, b"hello"),
///         Event::End => assert!(input.is_empty()),
///     }
/// }
/// decoder.finish()?;
/// # Ok::<(), unstick_core::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Decoder<H, const N: usize> {
    state: State,
    max_header_len: usize,
    header: [u8; N],
    header_type: PhantomData<fn() -> H>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Prefix {
        prefix: [u8; PREFIX_LEN],
        filled: usize,
    },
    Header {
        len: usize,
        filled: usize,
    },
    Body {
        left: u64,
    },
    Failed(DecodeError),
}

impl State {
    const START: Self = Self::Prefix {
        prefix: [0; PREFIX_LEN],
        filled: 0,
    };
}

impl<H: Header, const N: usize> Decoder<H, N> {
    /// A decoder at the start of a stream, for headers of up to `N` octets.
    pub const fn new() -> Self {
        Self::with_max_header_len(N)
    }

    /// A decoder at the start of a stream, for headers of up to `max` octets, or `N` if that is less.
    pub const fn with_max_header_len(max: usize) -> Self {
        Self {
            state: State::START,
            max_header_len: if max < N { max } else { N },
            header: [0; N],
            header_type: PhantomData,
        }
    }

    /// Goes back to the start of a stream, with headers of up to `max` octets, or `N` if that is less.
    ///
    /// As good as a new decoder, without moving one of `N` octets and more: on a board that would be stack.
    pub const fn restart(&mut self, max: usize) {
        self.state = State::START;
        self.max_header_len = if max < N { max } else { N };
    }

    /// The most octets a header may have.
    pub const fn max_header_len(&self) -> usize {
        self.max_header_len
    }

    /// How many octets of the current frame's body are still to come; 0 outside a body.
    pub const fn body_left(&self) -> u64 {
        match self.state {
            State::Body { left } => left,
            _ => 0,
        }
    }

    /// Whether not one octet of the next frame has arrived: the stream may end here.
    pub const fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Prefix { filled: 0, .. })
    }

    /// Whether [`decode`](Self::decode) can return something only if it is given octets.
    pub const fn needs_input(&self) -> bool {
        !matches!(self.state, State::Body { left: 0 } | State::Failed(_))
    }

    /// Takes octets off the front of `input` until there is an event to return.
    ///
    /// `None` means that all of `input` is taken and more is needed. Call it until then: the
    /// [`End`](Event::End) of an empty body takes no octets.
    ///
    /// # Errors
    /// [`DecodeError`] if the stream is not made of frames; from then on, every call returns the same.
    pub fn decode<'b>(
        &mut self,
        input: &mut &'b [u8],
    ) -> Result<Option<Event<'b, H>>, DecodeError> {
        loop {
            match &mut self.state {
                State::Prefix { prefix, filled } => {
                    if !fill(prefix, filled, input) {
                        return Ok(None);
                    }
                    let prefix = i32::from_le_bytes(*prefix);
                    self.state = match u32::try_from(prefix) {
                        Err(_) | Ok(0) => State::Failed(DecodeError::PrefixNotPositive(prefix)),
                        Ok(announced) => match usize::try_from(announced) {
                            Ok(len) if len <= self.max_header_len => {
                                State::Header { len, filled: 0 }
                            }
                            _ => State::Failed(DecodeError::HeaderTooLong(announced)),
                        },
                    };
                }
                State::Header { len, filled } => {
                    let len = *len;
                    let header = self.header.get_mut(..len).unwrap_or_default();
                    if !fill(header, filled, input) {
                        return Ok(None);
                    }
                    match decode_header::<H, N>(&mut self.header, len) {
                        Ok(header) => {
                            self.state = State::Body {
                                left: header.body_len(),
                            };
                            return Ok(Some(Event::Header(header)));
                        }
                        Err(error) => self.state = State::Failed(error.into()),
                    }
                }
                State::Body { left: 0 } => {
                    self.state = State::START;
                    return Ok(Some(Event::End));
                }
                State::Body { left } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let body = take(input, *left);
                    *left = left.saturating_sub(body.len() as u64);
                    return Ok(Some(Event::Body(body)));
                }
                State::Failed(error) => return Err(*error),
            }
        }
    }

    /// Says that the stream has ended here.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] inside a frame; after an error of [`decode`](Self::decode), that error.
    pub const fn finish(&self) -> Result<(), DecodeError> {
        match self.state {
            State::Prefix { filled: 0, .. } => Ok(()),
            State::Failed(error) => Err(error),
            _ => Err(DecodeError::Truncated),
        }
    }
}

impl<H: Header, const N: usize> Default for Decoder<H, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Moves octets from `input` to `buffer`, of which `filled` are there already; whether it is full now.
fn fill(buffer: &mut [u8], filled: &mut usize, input: &mut &[u8]) -> bool {
    let free = buffer.get_mut(*filled..).unwrap_or_default();
    let missing = free.len();
    let copied = copy(free, take(input, missing as u64));
    *filled = filled.saturating_add(copied);
    copied == missing
}

/// Decodes the header in the first `len` octets of `buffer`.
///
/// A header of up to half the buffer, nearly every one, has its scratch behind it.
fn decode_header<H: Header, const N: usize>(
    buffer: &mut [u8; N],
    len: usize,
) -> Result<H, HeaderError> {
    let (text, scratch) = buffer.split_at_mut_checked(len).unwrap_or_default();
    if scratch.len() >= text.len() {
        H::decode(text, scratch)
    } else {
        decode_long_header::<H, N>(text)
    }
}

/// Apart, so that only headers that need it cost `N` octets of stack.
#[cold]
#[inline(never)]
fn decode_long_header<H: Header, const N: usize>(text: &mut [u8]) -> Result<H, HeaderError> {
    H::decode(text, &mut [0; N])
}

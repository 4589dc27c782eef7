//! Headers as JSON: [`decode`] reads one, [`encode`] writes one.
//!
//! A header is exactly one JSON object in UTF-8 (RFC 8259): white space may stand around it, a byte order
//! mark may not. [`decode`] gives the result of `serde_json::from_slice`, without its allocator, but for
//! these five differences:
//!
//! 1. Nesting deeper than [`MAX_DEPTH`] is refused. serde_json skips an unknown value of any depth.
//! 2. A struct is read from an object only, the header itself included. serde_json takes an array too.
//! 3. Half a surrogate pair is refused everywhere. serde_json lets it pass inside the value of an unknown key.
//! 4. Octets that are not UTF-8 are refused everywhere. serde_json lets them pass in the same place.
//! 5. `-0` is 0 for a signed integer. serde_json refuses it there; for an unsigned one both refuse it.
//!
//! What `T` may hold is bounded by serde-json-core: integers up to 64 bits, `bool`, strings of fixed capacity,
//! and options, arrays, structs and unit enums of these. In particular:
//!
//! - No map whose keys are anything but `heapless::String`: any other key type **panics** when the peer sends one.
//! - No `char`, no tuple variant, no 128-bit integer and no [`Serialize`] of your own that fails: [`encode`] panics.
//! - `#[serde(flatten)]`, untagged enums and octet strings are never read: every header is refused.
//! - Floats are read loosely: `null` is NaN, `1e999` is infinite.

use core::{cell::Cell, slice, str};

use serde::{Serialize, de::DeserializeOwned};
use serde_json_core::de;

use crate::error::{EncodeError, HeaderError, HeaderErrorKind};

/// How deep arrays and objects may nest in a header, the header's own object included.
///
/// It bounds the stack: the reader of unknown values recurses once a level.
pub const MAX_DEPTH: usize = 32;

/// Reads a header of type `T` from `text`: one JSON object in UTF-8 (RFC 8259, sections 2 to 8), whole.
///
/// `text` is rewritten in place and holds nothing of use afterwards. `scratch` is where a string that still has
/// escapes is unescaped: as many octets as `text` are always enough, fewer may lead to [`HeaderErrorKind::Key`].
/// Keys that `T` does not know are skipped; the [module's page](self) says what `T` may hold.
///
/// ```
/// use serde::Deserialize;
/// use unstick_core::{HeaderErrorKind, json};
///
/// #[derive(Debug, Deserialize)]
/// struct Head {
///     total_size: u64,
///     filename: heapless::String<16>,
/// }
///
/// // What Python's json.dumps makes of "😀.txt".
/// let mut text = *br#"{"total_size": 5, "filename": "\ud83d\ude00.txt", "colour": null}"#;
/// let head: Head = json::decode(&mut text, &mut [0; 128])?;
/// assert_eq!(head.total_size, 5);
/// assert_eq!(head.filename, "😀.txt");
///
/// let mut text = *br#"{"total_size": 05}"#;
/// let error = json::decode::<Head>(&mut text, &mut [0; 128]).unwrap_err();
/// assert_eq!(error.kind, HeaderErrorKind::Syntax);
/// assert_eq!(error.offset, 16);
/// # Ok::<(), unstick_core::HeaderError>(())
/// ```
///
/// # Errors
/// [`HeaderError`]: what is wrong, and at which octet of `text` as it was sent. `offset` is exact for everything
/// that breaks JSON itself: the first octet with which no header can go on, or `text.len()` where more had to
/// follow; for half a surrogate pair, its backslash. [`Number`](HeaderErrorKind::Number),
/// [`Type`](HeaderErrorKind::Type) and [`Key`](HeaderErrorKind::Key) are found later, when the place is no longer
/// known: `offset` is `text.len()`.
pub fn decode<T: DeserializeOwned>(text: &mut [u8], scratch: &mut [u8]) -> Result<T, HeaderError> {
    let len = text.len();
    let written = rewrite(text)?;
    match de::from_slice_escaped(text.get(..written).unwrap_or_default(), scratch) {
        Ok((header, _)) => Ok(header),
        Err(error) => Err(error_at(len, kind_of(error))),
    }
}

/// Writes `value` as a JSON object to the start of `out` and returns its length in octets.
///
/// The output is compact, and UTF-8 rather than escapes wherever JSON allows it (RFC 8259, section 7). Names of
/// fields and variants are written as they are: keep quotes, backslashes and control characters out of them. The
/// [module's page](self) says what else `T` must not hold.
///
/// ```
/// use serde::Serialize;
/// use unstick_core::{EncodeError, json};
///
/// #[derive(Serialize)]
/// struct Head<'a> {
///     total_size: u64,
///     message: &'a str,
/// }
///
/// let head = Head { total_size: 0, message: "no \"such\" file" };
/// let mut out = [0; 64];
/// let len = json::encode(&head, &mut out)?;
/// assert_eq!(&out[..len], br#"{"total_size":0,"message":"no \"such\" file"}"#);
/// assert_eq!(json::encode(&head, &mut [0; 8]), Err(EncodeError::BufferTooSmall));
/// # Ok::<(), EncodeError>(())
/// ```
///
/// # Errors
/// [`EncodeError::BufferTooSmall`] if it does not fit; what `out` then holds is of no use.
pub fn encode<T: Serialize>(value: &T, out: &mut [u8]) -> Result<usize, EncodeError> {
    serde_json_core::to_slice(value, out).map_err(|_| EncodeError::BufferTooSmall)
}

/// What serde-json-core's error means for a text that [`rewrite`] has passed.
fn kind_of(error: de::Error) -> HeaderErrorKind {
    use de::Error::*;
    match error {
        // No comma is missing: an integer ended at the `.` or `e` of a number that is none.
        InvalidNumber | ExpectedObjectCommaOrEnd | ExpectedListCommaOrEnd => {
            HeaderErrorKind::Number
        }
        // serde's own complaints arrive without their text.
        CustomError | EscapedStringIsTooLong => HeaderErrorKind::Key,
        _ => HeaderErrorKind::Type,
    }
}

/// Validates `text` as a header, and rewrites it in place to a shorter text of the same meaning that
/// serde-json-core reads as it should. Returns the new length.
///
/// serde-json-core cannot be given the text as it came: it refuses surrogate pairs wherever they stand, recurses
/// without a bound, and takes almost anything inside the value of an unknown key. So here every escape becomes the
/// character it stands for, in UTF-8, except where JSON demands an escape; white space goes as well, since it is
/// faster dropped than read twice.
fn rewrite(text: &mut [u8]) -> Result<usize, HeaderError> {
    let len = text.len();
    let utf8_len = str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
    let utf8 = text.get_mut(..utf8_len).unwrap_or_default();
    let cells = Cell::from_mut(utf8).as_slice_of_cells();
    let mut pass = Pass {
        input: cells.iter(),
        output: cells.iter(),
    };
    let kind = match pass.header() {
        // Good as far as it goes, or for want of more: the octet to blame is the one that is not UTF-8.
        _ if pass.input.len() == 0 && utf8_len < len => HeaderErrorKind::NotUtf8,
        Ok(()) => return Ok(utf8_len.saturating_sub(pass.output.len())),
        Err(kind) => kind,
    };
    Err(error_at(utf8_len.saturating_sub(pass.input.len()), kind))
}

fn error_at(offset: usize, kind: HeaderErrorKind) -> HeaderError {
    HeaderError {
        offset: u32::try_from(offset).unwrap_or(u32::MAX),
        kind,
    }
}

/// The state of [`rewrite`]. Every octet written replaces at least one already read, so `output` never
/// overtakes `input`. On an error `input` stands at the octet to blame.
struct Pass<'t> {
    input: slice::Iter<'t, Cell<u8>>,
    output: slice::Iter<'t, Cell<u8>>,
}

type Step<T = ()> = Result<T, HeaderErrorKind>;

impl Pass<'_> {
    /// Everything: white space, one object, white space.
    fn header(&mut self) -> Step {
        if self.token() != Some(b'{') {
            return Err(HeaderErrorKind::NotAnObject);
        }
        // A stack of bits under a sentinel, innermost lowest: 1 for an open object, 0 for an open array.
        let mut open = 1_u64;
        loop {
            match self.token() {
                Some(bracket @ (b'{' | b'[')) => {
                    if open >> MAX_DEPTH != 0 {
                        return Err(HeaderErrorKind::TooDeep);
                    }
                    open = open << 1 | u64::from(bracket == b'{');
                    self.keep();
                    if self.token() != Some(closer(open)) {
                        self.name_in(open)?;
                        continue;
                    }
                }
                Some(b'"') => self.string()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => self.number()?,
            }
            while self.token() == Some(closer(open)) {
                self.keep();
                open >>= 1;
                if open == 1 {
                    return match self.token() {
                        None => Ok(()),
                        Some(_) => Err(HeaderErrorKind::TrailingOctets),
                    };
                }
            }
            self.expect(b',')?;
            self.name_in(open)?;
        }
    }

    /// In an object, a name and its colon; in an array, nothing.
    fn name_in(&mut self, open: u64) -> Step {
        if closer(open) == b'}' {
            self.token();
            self.string()?;
            self.token();
            self.expect(b':')?;
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Step {
        word.iter().try_for_each(|octet| self.expect(*octet))
    }

    fn number(&mut self) -> Step {
        if self.peek() == Some(b'-') {
            self.keep();
        }
        match self.peek() {
            Some(b'0') => self.keep(),
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.keep();
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.keep();
            if let Some(b'+' | b'-') = self.peek() {
                self.keep();
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Step {
        let before = self.input.len();
        while let Some(b'0'..=b'9') = self.peek() {
            self.keep();
        }
        if self.input.len() == before {
            Err(HeaderErrorKind::Syntax)
        } else {
            Ok(())
        }
    }

    fn string(&mut self) -> Step {
        self.expect(b'"')?;
        loop {
            self.plain();
            match self.peek() {
                Some(b'\\') => self.escape()?,
                _ => return self.expect(b'"'),
            }
        }
    }

    /// Keeps what stands for itself in a string. Most of a header does, and this takes half the
    /// instructions that octet by octet takes.
    fn plain(&mut self) {
        let mut run = 0_usize;
        for (from, to) in self.input.as_slice().iter().zip(self.output.as_slice()) {
            if let ..b' ' | b'"' | b'\\' = from.get() {
                break;
            }
            to.set(from.get());
            run = run.wrapping_add(1);
        }
        self.input = self.input.as_slice().get(run..).unwrap_or_default().iter();
        self.output = self.output.as_slice().get(run..).unwrap_or_default().iter();
    }

    fn escape(&mut self) -> Step {
        let start = self.input.clone();
        self.input.next();
        match self.peek() {
            Some(b'/') => self.keep(),
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.put(b'\\');
                self.keep();
            }
            Some(b'u') => match char::from_u32(self.code_point()?) {
                None => {
                    self.input = start;
                    return Err(HeaderErrorKind::LoneSurrogate);
                }
                Some('\0'..='\x1F') => start.take(6).for_each(|cell| self.put(cell.get())),
                Some(character) => {
                    if let '"' | '\\' = character {
                        self.put(b'\\');
                    }
                    for octet in character.encode_utf8(&mut [0; 4]).bytes() {
                        self.put(octet);
                    }
                }
            },
            _ => return Err(HeaderErrorKind::Syntax),
        }
        Ok(())
    }

    /// What `uXXXX`, or `uXXXX\uXXXX` for a surrogate pair, stands for. A surrogate alone stays one.
    fn code_point(&mut self) -> Step<u32> {
        let first = self.code_unit()?;
        let rest = self.input.as_slice();
        let escape_follows = rest.first().is_some_and(|cell| cell.get() == b'\\')
            && rest.get(1).is_some_and(|cell| cell.get() == b'u');
        if !((0xD800..0xDC00).contains(&first) && escape_follows) {
            return Ok(first);
        }
        self.input.next();
        let second = self.code_unit()?;
        if !(0xDC00..0xE000).contains(&second) {
            return Ok(first);
        }
        Ok(((first & 0x3FF) << 10 | (second & 0x3FF)).wrapping_add(0x1_0000))
    }

    /// `uXXXX`, four hexadecimal digits: a UTF-16 code unit.
    fn code_unit(&mut self) -> Step<u32> {
        self.input.next();
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|octet| char::from(octet).to_digit(16));
            unit = unit << 4 | digit.ok_or(HeaderErrorKind::Syntax)?;
            self.input.next();
        }
        Ok(unit)
    }

    // These three are called from everywhere. Inlined, they make a desktop a tenth faster and a board's flash
    // 650 octets fuller.

    /// Drops white space and looks at the octet after it.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.input.next(),
                other => return other,
            };
        }
    }

    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn expect(&mut self, octet: u8) -> Step {
        if self.peek() != Some(octet) {
            return Err(HeaderErrorKind::Syntax);
        }
        self.keep();
        Ok(())
    }

    /// Reads the octet that [`peek`](Self::peek) has shown, and writes it.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn keep(&mut self) {
        if let Some(cell) = self.input.next() {
            self.put(cell.get());
        }
    }

    fn peek(&self) -> Option<u8> {
        self.input.as_slice().first().map(Cell::get)
    }

    fn put(&mut self, octet: u8) {
        if let Some(cell) = self.output.next() {
            cell.set(octet);
        }
    }
}

/// What closes the innermost open bracket.
fn closer(open: u64) -> u8 {
    if open & 1 == 1 { b'}' } else { b']' }
}

//! The headers of requests and replies (PROTOCOL.md, "Header keys").

use core::fmt;

use heapless::String;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::Digest;
use crate::error::{EncodeError, HeaderError};
use crate::frame::Header;
use crate::json;
use crate::mode::Mode;

/// The longest `op` that is kept, in octets.
pub const OP_LEN: usize = 16;
/// The longest `filename`, in octets of UTF-8.
pub const FILENAME_LEN: usize = 255;
/// The longest `message`, in octets of UTF-8; [`Refusal::new`] cuts longer ones.
pub const MESSAGE_LEN: usize = 96;

/// The header of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Request {
    /// The length of the body, in octets.
    pub total_size: u64,
    /// What is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<Op>,
    /// Chosen by the client and repeated in every frame of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// The name of the file that the request is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String<FILENAME_LEN>>,
    /// Where in the file to begin, in octets from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// With `get`, the digest of the octets before `offset`; with `put`, that of the whole content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Whether `put` may replace a file that is there.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub overwrite: bool,
    /// With `put`, the permissions of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// With `put`, when the file was modified, in nanoseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime_ns: Option<u64>,
    /// How long the whole request may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl Request {
    /// A request for `op` with a body of `total_size` octets.
    pub fn new(op: &str, total_size: u64) -> Self {
        Self {
            total_size,
            op: Some(Op::new(op)),
            id: None,
            filename: None,
            offset: None,
            sha256: None,
            overwrite: true,
            mode: None,
            mtime_ns: None,
            timeout_ms: None,
        }
    }

    /// Whether to carry it out twice is the same as once: true of the operations that change nothing (PROTOCOL.md, "UDP").
    ///
    /// ```
    /// use unstick_core::Request;
    ///
    /// assert!(Request::new("get", 0).is_safe());
    /// assert!(!Request::new("exec", 0).is_safe() && !Request::new("a later one", 0).is_safe());
    /// ```
    pub fn is_safe(&self) -> bool {
        let op = self.op.as_ref().map(Op::as_str);
        op.is_some_and(|op| SAFE_OPS.contains(&op))
    }
}

/// The operations that change nothing.
const SAFE_OPS: [&str; 5] = ["echo", "info", "get", "list", "stat"];

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// The name of an operation.
///
/// A name longer than [`OP_LEN`] octets is kept cut, at a character's end: it is the name of no operation
/// there is, and a peer that asks for it deserves the answer `unknown_op` rather than `bad_header`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op(String<OP_LEN>);

impl Op {
    /// An operation of this name.
    pub fn new(name: &str) -> Self {
        Self(prefix_of(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_name(deserializer, Op::new)
    }
}

/// The header of one frame of a reply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reply {
    /// The length of the body, in octets.
    pub total_size: u64,
    /// The request's `id`, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Whether another frame of this reply follows.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub more: bool,
    /// Where in the file the body begins, in octets from its start. In a datagram of a reply of several frames: how
    /// many octets of body go before this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The digest of the whole content; in the reply to `stat`, of the octets before `offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Which stream of a command the body was written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
    /// The exit status of a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Why the request was not carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Code>,
    /// The same in a sentence; one that is longer than [`MESSAGE_LEN`] is kept cut.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "cut_message"
    )]
    pub message: Option<String<MESSAGE_LEN>>,
    /// With [`Code::Busy`]: when to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
}

impl Reply {
    /// The header of a reply of one frame, with a body of `total_size` octets.
    pub fn new(total_size: u64) -> Self {
        Self {
            total_size,
            ..Self::default()
        }
    }
}

/// The streams of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The short codes of an error frame (PROTOCOL.md, "Errors").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The frame is not what its prefix and header say.
    BadHeader,
    /// The header, the body or the answer is larger than the limit.
    TooLarge,
    /// The server knows no such operation.
    UnknownOp,
    /// There is no such thing.
    NotFound,
    /// The server is told not to do this.
    Denied,
    /// Too much is going on: try again later.
    Busy,
    /// It took too long.
    Deadline,
    /// The octets do not match their digest.
    Digest,
    /// The server failed.
    Internal,
    /// A code that this version does not know.
    Unknown,
}

impl Code {
    const NAMES: [(Self, &'static str); 9] = [
        (Self::BadHeader, "bad_header"),
        (Self::TooLarge, "too_large"),
        (Self::UnknownOp, "unknown_op"),
        (Self::NotFound, "not_found"),
        (Self::Denied, "denied"),
        (Self::Busy, "busy"),
        (Self::Deadline, "deadline"),
        (Self::Digest, "digest"),
        (Self::Internal, "internal"),
    ];

    /// The code as it is on the wire.
    pub fn as_str(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        names
            .find(|(code, _)| *code == self)
            .map_or("unknown", |(_, name)| name)
    }

    /// The code of this name; [`Code::Unknown`] if this version knows none.
    pub fn from_name(name: &str) -> Self {
        let mut names = Self::NAMES.iter();
        names
            .find(|(_, known)| *known == name)
            .map_or(Self::Unknown, |(code, _)| *code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_name(deserializer, Code::from_name)
    }
}

/// Why a request is not carried out: becomes an error frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// A sentence for the person at the other end.
    pub message: String<MESSAGE_LEN>,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u32>,
}

impl Refusal {
    /// A refusal with this code and sentence, which is cut after [`MESSAGE_LEN`] octets.
    ///
    /// ```
    /// use unstick_core::{Code, Refusal};
    ///
    /// let refusal = Refusal::new(Code::NotFound, format_args!("no command `{}`", "fly"));
    /// assert_eq!(refusal.message, "no command `fly`");
    /// ```
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        let mut cut = Cut(String::new());
        // An error stops it where the room ends: what does not fit is left out.
        let _ = fmt::write(&mut cut, format_args!("{message}"));
        Self {
            code,
            message: cut.0,
            retry_after_ms: None,
        }
    }

    /// The refusal `busy`, with the time after which to try again, in milliseconds.
    pub fn busy(message: impl fmt::Display, retry_after_ms: u32) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(Code::Busy, message)
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self {
            error: Some(refusal.code),
            message: Some(refusal.message),
            retry_after_ms: refusal.retry_after_ms,
            ..Self::default()
        }
    }
}

/// Text that is cut where its room ends.
struct Cut<const N: usize>(String<N>);

impl<const N: usize> fmt::Write for Cut<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        s.chars()
            .try_for_each(|c| self.0.push(c))
            .map_err(|_| fmt::Error)
    }
}

/// As much of `text` as fits.
fn prefix_of<const N: usize>(text: &str) -> String<N> {
    let mut cut = Cut(String::new());
    let _ = fmt::Write::write_str(&mut cut, text);
    cut.0
}

impl<'de, const N: usize> Deserialize<'de> for Cut<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_name(deserializer, |text| Self(prefix_of(text)))
    }
}

/// Another server's sentence is not refused for its length.
fn cut_message<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String<MESSAGE_LEN>>, D::Error> {
    let message = Option::<Cut<MESSAGE_LEN>>::deserialize(deserializer)?;
    Ok(message.map(|cut| cut.0))
}

/// Reads a JSON string and makes something of it that every string has a value of.
pub(crate) fn deserialize_name<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    from_name: fn(&str) -> T,
) -> Result<T, D::Error> {
    struct Visitor<T>(fn(&str) -> T);

    impl<T> de::Visitor<'_> for Visitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
            Ok(self.0(name))
        }
    }

    deserializer.deserialize_str(Visitor(from_name))
}

impl Header for Request {
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

impl Header for Reply {
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

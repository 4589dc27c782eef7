//! Messages as frames (PROTOCOL.md, "Chat").

use serde::{Deserialize, Serialize};
use unstick_core::{
    Code, Decoder, EncodeError, Event, Header, HeaderError, Op, PREFIX_LEN, Refusal, Reply, encode,
    json,
};

/// The operation.
const OP: &str = "chat";
/// The longest text of a message in a frame, in octets.
pub const MAX_BODY_LEN: u64 = 64 * 1024;
/// The longest header that is taken, in octets.
const MAX_HEADER_LEN: usize = 4096;
/// Room for the prefixes and headers that are sent: theirs are of bounded length.
const HEAD_ROOM: usize = PREFIX_LEN + 512;

/// Decodes messages.
pub type MessageDecoder = Decoder<Head, MAX_HEADER_LEN>;

/// The header of a message, or of what comes in its place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    /// The length of the body, in octets.
    total_size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    op: Option<Op>,
    /// Chosen by who sends the message, and repeated in its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Code>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// What a frame is.
#[derive(Debug)]
pub enum Meaning {
    /// Its body is a message.
    Message,
    /// It says why something is not taken.
    Refused(String),
    /// It asks for what is not here.
    Unknown(Refusal),
    /// It has a longer body than is taken.
    TooLarge(Refusal),
}

impl Head {
    /// What the frame is.
    pub fn meaning(&self) -> Meaning {
        match (&self.op, self.error) {
            (None, Some(code)) => {
                let message = self.message.as_deref().unwrap_or("no reason given");
                Meaning::Refused(format!("{message} ({code})"))
            }
            (Some(op), _) if op.as_str() != OP => Meaning::Unknown(Refusal::new(
                Code::UnknownOp,
                format_args!("there is no op `{}` here; this is a chat", op.as_str()),
            )),
            _ if self.total_size > MAX_BODY_LEN => Meaning::TooLarge(Refusal::new(
                Code::TooLarge,
                format_args!(
                    "a message of {} octets: the limit is {MAX_BODY_LEN}",
                    self.total_size
                ),
            )),
            _ => Meaning::Message,
        }
    }

    /// Whether a datagram with this header only answers one that was sent.
    pub fn is_answer(&self) -> bool {
        self.op.is_none() && self.id.is_some()
    }
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

/// A message.
pub fn message(text: &str, id: u32) -> Vec<u8> {
    let head = Head {
        total_size: text.len() as u64,
        op: Some(Op::new(OP)),
        id: Some(id),
        error: None,
        message: None,
    };
    frame(&head, text.as_bytes())
}

/// What is sent back for a datagram that has arrived.
pub fn answer(id: u32) -> Vec<u8> {
    let mut reply = Reply::new(0);
    reply.id = Some(id);
    frame(&reply, b"")
}

/// What is sent back for what is not taken.
pub fn refusal(refusal: Refusal, id: Option<u32>) -> Vec<u8> {
    let mut reply = Reply::from(refusal);
    reply.id = id;
    frame(&reply, b"")
}

fn frame(head: &impl Header, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEAD_ROOM];
    // There is room for every header above.
    let len = encode(head, &mut frame).unwrap_or_default();
    frame.truncate(len);
    frame.extend_from_slice(body);
    frame
}

/// The one frame that a datagram is.
pub fn open(datagram: &[u8]) -> Result<(Head, Vec<u8>), Refusal> {
    let mut decoder = Box::new(MessageDecoder::new());
    let (mut octets, mut head, mut body) = (datagram, None, Vec::new());
    let bad = |message: &dyn std::fmt::Display| Refusal::new(Code::BadHeader, message);
    loop {
        match decoder.decode(&mut octets).map_err(|error| bad(&error))? {
            Some(Event::Header(found)) => head = Some(found),
            Some(Event::Body(octets)) => body.extend_from_slice(octets),
            Some(Event::End) if octets.is_empty() => break,
            Some(Event::End) => return Err(bad(&"there is more in the datagram than its frame")),
            None => return Err(bad(&"the datagram ends inside its frame")),
        }
    }
    head.map(|head| (head, body))
        .ok_or_else(|| bad(&"the datagram is empty"))
}

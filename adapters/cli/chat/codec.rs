//! Messages as they are on each wire: what is sent, and what comes of octets that arrive.

use encoding_rs::UTF_8;
use unstick_core::{Code, Event, Refusal};

use super::frame::{self, Meaning, MessageDecoder};
use crate::printable::Printable;
use crate::wire::reply::{self, Incoming};
use crate::wire::spool::Spool;
use crate::wire::text::{Text, Transcoder};
use crate::wire::{Dialect, Wire, is_goodbye};

/// The longest text that is sent as one message, in octets.
pub const MAX_TEXT_LEN: usize = 64 * 1024;
/// The longest message that is taken on the wires of older peers, in octets.
const MAX_HEARD_LEN: usize = 1024 * 1024;
/// What a header calls the body of a message.
const FILENAME: &str = "message.txt";
/// The message that says goodbye.
pub const GOODBYE: &str = "q";

/// How one side speaks.
#[derive(Debug, Clone, Copy)]
pub struct Speech {
    wire: Wire,
    text: Text,
    operator: bool,
}

/// What has arrived.
#[derive(Debug)]
pub enum Heard {
    /// A message that is not empty.
    Message(String),
    /// The message that says goodbye.
    Goodbye,
    /// That a message of ours is not taken, and why.
    Refused(String),
    /// What can be answered with these octets alone.
    Answered(Vec<u8>),
    /// What no message can follow, and why; with these octets as the last word.
    Broken(String, Vec<u8>),
}

impl Speech {
    /// As this side speaks, which may be the operator's.
    pub fn new(dialect: Dialect, operator: bool) -> Self {
        Self {
            wire: dialect.wire(),
            // What is shown has to be text.
            text: Text(dialect.text().0.or(Some(UTF_8))),
            operator,
        }
    }

    /// Whether messages are frames.
    pub fn is_framed(self) -> bool {
        self.wire == Wire::Framed
    }

    /// A message as it is sent. In a frame it has the `id`.
    ///
    /// # Errors
    /// A sentence that says why it cannot be.
    pub fn encode(self, text: &str, id: u32) -> Result<Vec<u8>, String> {
        if text.len() > MAX_TEXT_LEN {
            let len = text.len();
            return Err(format!(
                "a line of {len} octets is too long: the limit is {MAX_TEXT_LEN}; not sent"
            ));
        }
        if self.is_framed() {
            return Ok(frame::message(text, id));
        }
        let mut octets = Vec::new();
        if self.text.encoder().push(text.as_bytes(), true, &mut octets) {
            let start: String = text.chars().take(40).collect();
            let start = Printable(&start);
            return Err(format!(
                "`{start}` cannot be said in this --encoding: not sent"
            ));
        }
        if !self.operator {
            return Ok(octets);
        }
        let mut message = Vec::new();
        Spool::of(&octets)
            .and_then(|body| reply::send(self.wire, FILENAME, body, &mut message))
            .map_err(|error| error.to_string())?;
        Ok(message)
    }

    /// What makes messages of a stream's octets.
    pub fn listener(self) -> Listener {
        match self.wire {
            Wire::Framed => Listener::Frames(Box::default()),
            Wire::Length | Wire::Header if !self.operator => Listener::Replies {
                incoming: Incoming::new(self.wire),
                body: Vec::new(),
                text: self.text,
            },
            _ => Listener::Chunks(self.text.decoder()),
        }
    }

    /// The message that a datagram of bare text is.
    pub fn bare_datagram(self, datagram: &[u8]) -> Option<Heard> {
        heard(&whole(self.text, datagram))
    }
}

/// Makes messages of octets as they arrive.
pub enum Listener {
    /// Frames.
    Frames(Box<Frames>),
    /// What an operator sends on an older wire that says where a message ends.
    Replies {
        /// The message on its way in.
        incoming: Incoming,
        /// What there is of it.
        body: Vec<u8>,
        /// How it is encoded.
        text: Text,
    },
    /// Bare text: what one receive returns is a message.
    Chunks(Transcoder),
}

/// A stream of frames.
#[derive(Default)]
pub struct Frames {
    decoder: MessageDecoder,
    /// The frame on its way in, if its body is a message.
    is_message: bool,
    body: Vec<u8>,
}

impl Listener {
    /// Takes what one receive has returned.
    pub fn take(&mut self, mut octets: &[u8], out: &mut Vec<Heard>) {
        match self {
            Self::Frames(frames) => frames.take(octets, out),
            Self::Replies {
                incoming,
                body,
                text,
            } => {
                while !octets.is_empty() {
                    match incoming.take(&mut octets, body) {
                        Ok(_) if body.len() > MAX_HEARD_LEN => {
                            let why =
                                format!("it sends a message of more than {MAX_HEARD_LEN} octets");
                            return out.push(Heard::Broken(why, Vec::new()));
                        }
                        Ok(true) => {
                            out.extend(heard(&whole(*text, body)));
                            body.clear();
                        }
                        Ok(false) => {}
                        Err(why) => {
                            let why = format!("it sends what is no message: {why}");
                            return out.push(Heard::Broken(why, Vec::new()));
                        }
                    }
                }
            }
            Self::Chunks(decoder) => {
                let mut text = Vec::new();
                decoder.push(octets, false, &mut text);
                out.extend(heard(&String::from_utf8_lossy(&text)));
            }
        }
    }

    /// Why the stream must not end here, if it must not.
    pub fn finish(&self) -> Option<&'static str> {
        let inside = match self {
            Self::Frames(frames) => frames.decoder.finish().is_err(),
            Self::Replies { body, .. } => !body.is_empty(),
            Self::Chunks(_) => false,
        };
        inside.then_some("the connection ended inside a message")
    }
}

impl Frames {
    fn take(&mut self, mut octets: &[u8], out: &mut Vec<Heard>) {
        loop {
            match self.decoder.decode(&mut octets) {
                Ok(None) => return,
                Ok(Some(Event::Header(head))) => {
                    self.body.clear();
                    self.is_message = false;
                    match head.meaning() {
                        Meaning::Message => self.is_message = true,
                        Meaning::Refused(why) => out.push(Heard::Refused(why)),
                        Meaning::Unknown(refusal) => {
                            out.push(Heard::Answered(frame::refusal(refusal, head.id)));
                        }
                        Meaning::TooLarge(refusal) => {
                            let why = refusal.message.to_string();
                            let last = frame::refusal(refusal, head.id);
                            return out.push(Heard::Broken(why, last));
                        }
                    }
                }
                Ok(Some(Event::Body(octets))) if self.is_message => {
                    self.body.extend_from_slice(octets);
                }
                Ok(Some(Event::Body(_))) => {}
                Ok(Some(Event::End)) if self.is_message => {
                    out.extend(heard(&String::from_utf8_lossy(&self.body)));
                }
                Ok(Some(Event::End)) => {}
                Err(error) => {
                    let code = match error {
                        unstick_core::DecodeError::HeaderTooLong(_) => Code::TooLarge,
                        _ => Code::BadHeader,
                    };
                    let refusal = Refusal::new(code, error);
                    let why = format!("it sends what is no frame: {error}");
                    return out.push(Heard::Broken(why, frame::refusal(refusal, None)));
                }
            }
        }
    }
}

/// A text that is there as a whole.
fn whole(text: Text, octets: &[u8]) -> String {
    let mut utf8 = Vec::new();
    text.decoder().push(octets, true, &mut utf8);
    String::from_utf8_lossy(&utf8).into_owned()
}

/// What a text is, if it is anything.
pub fn heard(text: &str) -> Option<Heard> {
    if is_goodbye(text.as_bytes()) {
        return Some(Heard::Goodbye);
    }
    // Who types at a `nc` sends the end of the line too.
    let text = text.trim_end_matches(['\r', '\n']);
    (!text.trim().is_empty()).then(|| Heard::Message(text.to_owned()))
}

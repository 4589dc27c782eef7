//! The wires of older peers (PROTOCOL.md, "Older peers"): requests are bare chunks of text, replies a length, a header
//! or nothing in front of text.

mod answer;
mod client;
mod command;
mod head;
pub mod reply;
mod server;
pub mod spool;
pub mod text;

pub use client::exec;
pub use server::serve;

use clap::{Args, ValueEnum};
use encoding_rs::Encoding;

use crate::failure::Failure;
use text::Text;

/// What a peer gets from one `recv(1024)`, in octets: the longest request.
const CHUNK_LEN: usize = 1024;
/// The longest body of a reply, in octets: peers read its length as a signed number of 32 bits.
const MAX_BODY_LEN: u64 = i32::MAX as u64;
/// Octets that are read, and written, at a time.
const BUFFER_LEN: usize = 16 * 1024;

/// What is spoken on the wire.
#[derive(Debug, Clone, Copy, Args)]
pub struct Dialect {
    /// What requests and replies look like. In all but `framed`, a request is a bare chunk of text of up to 1024 octets,
    /// and `q` alone says goodbye
    #[arg(long, value_enum, default_value_t = Wire::Framed)]
    wire: Wire,
    /// How text is encoded on an older wire: utf-8, gbk, big5, shift_jis, … What cannot be said in it becomes `?`, and
    /// what is not valid in it U+FFFD [default: octets pass as they are]
    #[arg(long, value_name = "NAME", value_parser = text::encoding)]
    encoding: Option<&'static Encoding>,
}

/// What requests and replies look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    /// Frames of prefix, JSON header and body, both ways
    Framed,
    /// Replies, and what a chat's operator says, have a 4-octet length, a JSON header with `filename`, `md5` and `total_size`,
    /// and that much text
    Header,
    /// Replies, and what a chat's operator says, have a 4-octet length and that much text
    Length,
    /// Text with nothing around it, over UDP a datagram
    Raw,
}

impl Dialect {
    /// Whether this is one of older peers.
    pub fn is_older(self) -> bool {
        self.wire != Wire::Framed
    }

    /// Whether it is spoken over UDP as well.
    pub fn has_datagrams(self) -> bool {
        matches!(self.wire, Wire::Framed | Wire::Raw)
    }

    /// Refuses what does not go together.
    pub fn check(self, udp: bool) -> Result<(), Failure> {
        if !self.is_older() && self.encoding.is_some() {
            let sentence =
                "--encoding goes with --wire header, length or raw: frames have octets and UTF-8";
            return Err(Failure::Usage(sentence.to_owned()));
        }
        if udp && !self.has_datagrams() {
            let sentence =
                "--wire header and length are for TCP; over UDP there are framed and raw";
            return Err(Failure::Usage(sentence.to_owned()));
        }
        Ok(())
    }

    /// What is spoken.
    pub fn wire(self) -> Wire {
        self.wire
    }

    /// How text is encoded.
    pub fn text(self) -> Text {
        Text(self.encoding)
    }
}

/// Whether a peer says goodbye. Those who type at a `nc` send the end of the line too.
pub fn is_goodbye(chunk: &[u8]) -> bool {
    matches!(chunk.trim_ascii_end(), b"q" | b"Q")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodbye_is_a_q_alone() {
        for goodbye in ["q", "Q", "q\n", "Q\r\n"] {
            assert!(is_goodbye(goodbye.as_bytes()), "{goodbye:?}");
        }
        for other in ["", "\n", "qq", " q", "q q", "quit"] {
            assert!(!is_goodbye(other.as_bytes()), "{other:?}");
        }
    }
}

//! `info`: who answers here, and what it takes.

use serde::Serialize;

use super::responder::{Output, Respond, Responder};
use crate::head::{Code, Refusal};
use crate::json;

/// The room for the reply to `info`, in octets.
const INFO_LEN: usize = 256;

/// What the operation `info` says of a server: one JSON object (PROTOCOL.md, "info").
///
/// The limits are the true ones, so that a peer need not find them by running into them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Info {
    /// The server's name.
    pub name: &'static str,
    /// The server's version.
    pub version: &'static str,
    /// The longest header it takes, in octets.
    pub max_header: u64,
    /// The longest body it takes, in octets.
    pub max_body: u64,
    /// The longest datagram it takes, in octets; 0 if it has no UDP.
    pub max_datagram: u64,
    /// The operations it carries out, `info` included.
    pub ops: &'static [&'static str],
}

impl Info {
    /// The service for the operation `info`.
    pub const fn into_service(self) -> Responder<Self, 0, INFO_LEN> {
        Responder::new("info", self)
    }
}

impl Respond for Info {
    fn respond(&mut self, _: &[u8], out: &mut Output<'_>) -> Result<(), Refusal> {
        let mut text = [0; INFO_LEN];
        match json::encode(self, &mut text) {
            Ok(len) => out.write(text.get(..len).unwrap_or_default()),
            Err(error) => return Err(Refusal::new(Code::Internal, error)),
        }
        Ok(())
    }
}

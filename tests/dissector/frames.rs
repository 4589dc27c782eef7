//! Frames to send, and what has to be shown of them.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::common::text;
use crate::tshark::Frame;

/// Numbers without a pattern, the same in each run.
pub struct Noise(pub u64);

impl Noise {
    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    /// Octets, of a length in this range.
    pub fn octets(&mut self, len: Range<usize>) -> Vec<u8> {
        let len = len.start + self.below(len.len());
        (0..len).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }
}

/// A frame with this text as its header.
pub fn with_header(header: &[u8], body: &[u8]) -> Vec<u8> {
    let prefix = i32::try_from(header.len()).expect("short").to_le_bytes();
    [&prefix, header, body].concat()
}

/// A frame of these keys, and `total_size`.
pub fn frame(keys: Value, body: &[u8]) -> Vec<u8> {
    let Value::Object(mut keys) = keys else {
        panic!("no object");
    };
    keys.insert("total_size".to_owned(), body.len().into());
    with_header(Value::Object(keys).to_string().as_bytes(), body)
}

/// What has to be shown of whole frames, as another reader of JSON has them.
pub fn expected(mut octets: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !octets.is_empty() {
        let prefix = i32::from_le_bytes(octets[..4].try_into().expect("4 octets"));
        let (header, rest) = octets[4..].split_at(usize::try_from(prefix).expect("a length"));
        let keys: Map<String, Value> = serde_json::from_slice(header).expect("an object");
        let len = usize::try_from(keys["total_size"].as_u64().expect("a length")).expect("short");
        let (body, rest) = rest.split_at(len);
        octets = rest;
        let (known, unknown): (Map<_, _>, Map<_, _>) = keys
            .into_iter()
            .partition(|(key, _)| !matches!(&key[..], "md5" | "colour" | "größe"));
        let error = known.contains_key("error");
        frames.push(Frame {
            prefix: Some(prefix),
            header: Some(text(header).to_owned()),
            keys: sorted(known.into_iter().map(|(key, value)| {
                let value = match value {
                    Value::String(text) => text,
                    Value::Bool(value) => u8::from(value).to_string(),
                    value => value.to_string(),
                };
                (key, value)
            })),
            unknown: sorted(
                unknown
                    .into_iter()
                    .map(|(key, value)| (key, value.to_string())),
            ),
            text: (len > 0)
                .then(|| String::from_utf8(body.to_vec()).ok())
                .flatten(),
            body: body.to_vec(),
            offset: None,
            remarks: Vec::from_iter(error.then(|| ("refusal".to_owned(), String::new()))),
        });
    }
    frames
}

fn sorted(members: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort();
    members
}

/// What is shown, in a form that can be compared with what is expected.
pub fn comparable(shown: impl IntoIterator<Item = Frame>) -> Vec<Frame> {
    let frames = shown.into_iter().map(|mut frame| {
        frame.keys.sort();
        frame.unknown.sort();
        // Their wording is checked where it matters.
        for (_, sentence) in &mut frame.remarks {
            sentence.clear();
        }
        frame
    });
    frames.collect()
}

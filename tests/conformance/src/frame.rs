//! Frames as a client sees them: read and written with serde_json, and with nothing of the code under test.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

/// What is still taken to be a header's length: a reply's header is short.
const LONGEST_HEADER: i32 = 64 * 1024;
/// What is still taken to be a reply's body, in octets.
const LONGEST_BODY: u64 = 16 * 1024 * 1024;

/// One frame of a reply.
#[derive(Clone, PartialEq)]
pub struct Frame {
    /// Its header.
    pub header: Map<String, Value>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Frame {
    /// Takes the frame at the front of `octets`; none if it is not whole.
    pub fn take(octets: &mut &[u8]) -> Result<Option<Self>> {
        let Some((prefix, rest)) = octets.split_first_chunk() else {
            return Ok(None);
        };
        let Some((text, rest)) = rest.split_at_checked(header_len(*prefix)?) else {
            return Ok(None);
        };
        let header = header(text)?;
        let Some((body, rest)) = rest.split_at_checked(body_len(&header)?) else {
            return Ok(None);
        };
        let body = body.to_vec();
        *octets = rest;
        Ok(Some(Self { header, body }))
    }

    /// The `id`, if there is one.
    pub fn id(&self) -> Option<u64> {
        self.header.get("id").and_then(Value::as_u64)
    }

    /// The error's code, if it is one.
    pub fn error(&self) -> Option<&str> {
        self.header.get("error").and_then(Value::as_str)
    }

    /// Whether another frame of this reply follows.
    pub fn more(&self) -> bool {
        self.header.get("more") == Some(&Value::Bool(true))
    }

    /// The exit status, if there is one.
    pub fn exit(&self) -> Option<i64> {
        self.header.get("exit").and_then(Value::as_i64)
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str> {
        str::from_utf8(&self.body).with_context(|| format!("no UTF-8 in {self:?}"))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = Value::Object(self.header.clone());
        write!(f, "{header} {}", Octets(&self.body))
    }
}

/// How long a header is, by its prefix.
pub fn header_len(prefix: [u8; 4]) -> Result<usize> {
    let len = i32::from_le_bytes(prefix);
    ensure!(
        (1..=LONGEST_HEADER).contains(&len),
        "a reply's prefix is {len}: {}",
        Octets(&prefix)
    );
    Ok(usize::try_from(len)?)
}

/// Reads a reply's header, and checks that its keys are those of PROTOCOL.md and go together.
pub fn header(text: &[u8]) -> Result<Map<String, Value>> {
    let header: Map<String, Value> = serde_json::from_slice(text)
        .with_context(|| format!("a reply's header is no JSON object: {}", Octets(text)))?;
    let is_u32 = |value: &Value| {
        value
            .as_u64()
            .is_some_and(|number| u32::try_from(number).is_ok())
    };
    for (key, value) in &header {
        let right = match key.as_str() {
            "total_size" | "offset" => value.is_u64(),
            "id" | "retry_after_ms" => is_u32(value),
            "more" => value == &Value::Bool(true),
            "stream" => value == "stdout" || value == "stderr",
            "exit" => value.is_i64(),
            "error" | "message" | "filename" | "md5" | "sha256" => value.is_string(),
            _ => false,
        };
        ensure!(
            right,
            "a reply's header has an odd `{key}`: {}",
            Octets(text)
        );
    }
    if let Some(error) = header.get("error") {
        let sentence = header.get("message").and_then(Value::as_str).unwrap_or("");
        ensure!(
            !sentence.is_empty(),
            "an error without a sentence: {}",
            Octets(text)
        );
        ensure!(
            !header.contains_key("more"),
            "an error is the last frame: {}",
            Octets(text)
        );
        ensure!(
            header.contains_key("retry_after_ms") == (error == "busy"),
            "`retry_after_ms` goes with `busy`: {}",
            Octets(text)
        );
    }
    Ok(header)
}

/// How long the body is, by the header.
pub fn body_len(header: &Map<String, Value>) -> Result<usize> {
    match header.get("total_size").and_then(Value::as_u64) {
        Some(len) if len <= LONGEST_BODY => Ok(usize::try_from(len)?),
        _ => bail!("a reply's total_size: {header:?}"),
    }
}

/// A request: this header, to which `total_size` is added, and body.
pub fn request(header: &Value, body: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    header["total_size"] = body.len().into();
    framed(header.to_string().as_bytes(), body)
}

/// The same with every character that is not ASCII escaped, as Python's `json.dumps` does.
pub fn dumps(header: &Value, body: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    header["total_size"] = body.len().into();
    let mut text = String::new();
    for unit in header.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(ascii @ 0..0x80) => text.push(char::from(ascii)),
            _ => text += &format!("\\u{unit:04x}"),
        }
    }
    framed(text.as_bytes(), body)
}

/// A header as it is, its prefix in front of it, and what is behind it.
pub fn framed(header: &[u8], behind: &[u8]) -> Vec<u8> {
    let len = i32::try_from(header.len())
        .unwrap_or(i32::MAX)
        .to_le_bytes();
    [&len, header, behind].concat()
}

/// Octets for a person: as text where they are ASCII, and not all of them.
pub struct Octets<'a>(pub &'a [u8]);

impl fmt::Display for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(160)];
        write!(f, "b\"{}\"", shown.escape_ascii())?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} octets more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_are_taken_whole() -> Result<()> {
        let octets = request(&json!({"id": 7}), b"hello");
        for cut in 0..octets.len() {
            assert!(Frame::take(&mut &octets[..cut])?.is_none());
        }
        let two = [&octets[..], b"x"].concat();
        let mut rest = &two[..];
        let frame = Frame::take(&mut rest)?.context("whole")?;
        assert_eq!(
            (frame.id(), &frame.body[..], rest),
            (Some(7), &b"hello"[..], &b"x"[..])
        );
        Ok(())
    }

    #[test]
    fn odd_replies_are_noticed() {
        for odd in [
            r#"{"total_size":0,"error":"busy","message":"later"}"#,
            r#"{"total_size":0,"error":"internal"}"#,
            r#"{"total_size":0,"more":false}"#,
            r#"{"total_size":0,"id":4294967296}"#,
            r#"{"total_size":0,"colour":"red"}"#,
            "[]",
        ] {
            assert!(header(odd.as_bytes()).is_err(), "{odd}");
        }
        assert!(header(br#"{"total_size":0,"exit":-1,"stream":"stdout"}"#).is_ok());
    }

    #[test]
    fn dumps_is_pythons() {
        let text = dumps(&json!({"filename": "测😀"}), b"");
        assert_eq!(
            &text[4..],
            br#"{"filename":"\u6d4b\ud83d\ude00","total_size":0}"#
        );
    }
}

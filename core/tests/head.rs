//! The headers' own types: names, codes and sentences of bounded length.

mod common;

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use unstick_core::{
    Code, Digest, Hasher, Header, MESSAGE_LEN, Mode, OP_LEN, Op, Refusal, Reply, Request,
};

/// The digests of `abc` and of nothing (FIPS 180-4).
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn decode<H: Header>(text: &str) -> Result<H, String> {
    let mut text = text.as_bytes().to_vec();
    let mut scratch = vec![0; text.len()];
    H::decode(&mut text, &mut scratch).map_err(|error| error.to_string())
}

fn encode(header: &impl Header) -> String {
    let mut out = [0; 1024];
    let len = header.encode(&mut out).unwrap();
    String::from_utf8(out[..len].to_vec()).unwrap()
}

/// The longest start of `text` of at most `most` octets that ends with a character.
fn start_of(text: &str, most: usize) -> &str {
    let ends = (0..=text.len().min(most)).rev();
    let mut ends = ends.filter(|end| text.is_char_boundary(*end));
    &text[..ends.next().unwrap()]
}

#[test]
fn a_header_is_its_keys() {
    let request: Request = decode(
        r#"{"op":"put","id":7,"filename":"a\u00e9","timeout_ms":5,"total_size":9,"colour":null}"#,
    )
    .unwrap();
    assert!(request.overwrite);
    assert_eq!(request.body_len(), 9);
    assert_eq!(
        encode(&request),
        r#"{"total_size":9,"op":"put","id":7,"filename":"aé","timeout_ms":5}"#
    );

    let text = format!(
        r#"{{"total_size":9,"op":"put","filename":"a","offset":5,"sha256":"{ABC}","overwrite":false}}"#
    );
    let request: Request = decode(&text).unwrap();
    assert!(!request.overwrite);
    assert_eq!(encode(&request), text);

    let text = r#"{"total_size":9,"op":"put","mode":493,"mtime_ns":18446744073709551615}"#;
    let request: Request = decode(text).unwrap();
    assert_eq!(request.mode.map(Mode::bits), Some(0o755));
    assert_eq!(encode(&request), text);

    let text = concat!(
        r#"{"total_size":3,"id":1,"more":true,"offset":2,"stream":"stderr","exit":-1,"#,
        r#""error":"busy","message":"later","retry_after_ms":250}"#
    );
    let reply: Reply = decode(text).unwrap();
    assert_eq!(reply.body_len(), 3);
    assert_eq!(encode(&reply), text);

    let text = format!(r#"{{"total_size":0,"offset":3,"sha256":"{ABC}"}}"#);
    let reply: Reply = decode(&text).unwrap();
    assert_eq!(encode(&reply), text);

    assert_eq!(encode(&Reply::new(0)), r#"{"total_size":0}"#);
    assert_eq!(decode(r#"{"total_size":0}"#), Ok(Reply::default()));
    assert!(decode::<Request>(r#"{"op":"echo"}"#).is_err());
    assert!(decode::<Request>(r#"{"op":5,"total_size":0}"#).is_err());
}

#[test]
fn a_digest_is_64_digits() {
    let digest = Digest::from_hex(ABC).unwrap();
    assert_eq!(digest.0[..4], [0xBA, 0x78, 0x16, 0xBF]);
    assert_eq!(digest.to_string(), ABC);
    assert_eq!(format!("{digest:?}"), format!("Digest({ABC})"));
    assert_eq!(Hasher::new().digest().to_string(), EMPTY);

    let upper = ABC.to_uppercase();
    let (short, long) = (&ABC[1..], format!("{ABC}0"));
    let other = ABC.replace('f', "g");
    let wide = ABC.replace("ff", "\u{e9}");
    let signed = format!("+{}", &ABC[1..]);
    for bad in [&upper, short, &ABC[2..], &long, &other, &wide, &signed, ""] {
        assert_eq!(Digest::from_hex(bad), None, "{bad}");
        let error = decode::<Request>(&format!(r#"{{"total_size":0,"sha256":"{bad}"}}"#));
        assert!(error.unwrap_err().contains("a key is missing"), "{bad}");
    }
    assert!(decode::<Request>(r#"{"total_size":0,"sha256":5}"#).is_err());
    let none: Request = decode(r#"{"total_size":0,"sha256":null,"md5":[]}"#).unwrap();
    assert_eq!(none.sha256, None);
}

#[test]
fn a_mode_is_permissions_alone() {
    for bits in [0, 0o400, 0o777] {
        let text = format!(r#"{{"total_size":0,"mode":{bits}}}"#);
        let request: Request = decode(&text).unwrap();
        assert_eq!(request.mode, Mode::new(bits));
        assert_eq!(encode(&request), text);
    }
    assert_eq!(Mode::new(0o1000), None);
    for bad in ["512", "4095", "65536", "-1", "\"644\"", "1.0", "true"] {
        let text = format!(r#"{{"total_size":0,"mode":{bad}}}"#);
        assert!(decode::<Request>(&text).is_err(), "{bad}");
    }
    let none: Request = decode(r#"{"total_size":0,"mode":null,"mtime_ns":null}"#).unwrap();
    assert_eq!((none.mode, none.mtime_ns), (None, None));
}

#[test]
fn every_code_has_a_name() {
    for (code, name) in [
        (Code::BadHeader, "bad_header"),
        (Code::TooLarge, "too_large"),
        (Code::UnknownOp, "unknown_op"),
        (Code::NotFound, "not_found"),
        (Code::Denied, "denied"),
        (Code::Busy, "busy"),
        (Code::Deadline, "deadline"),
        (Code::Digest, "digest"),
        (Code::Internal, "internal"),
        (Code::Unknown, "unknown"),
    ] {
        assert_eq!(code.as_str(), name);
        assert_eq!(code.to_string(), name);
        assert_eq!(Code::from_name(name), code);
        let text = format!(r#"{{"total_size":0,"error":"{name}"}}"#);
        let reply: Reply = decode(&text).unwrap();
        assert_eq!(reply.error, Some(code));
        assert_eq!(encode(&reply), text);
    }
    // Of a newer peer.
    let reply: Reply = decode(r#"{"total_size":0,"error":"on_fire"}"#).unwrap();
    assert_eq!(reply.error, Some(Code::Unknown));
}

#[test]
fn a_name_is_text() {
    let error = serde_json::from_str::<Op>("5").unwrap_err();
    assert!(error.to_string().contains("expected a string"));
}

#[test]
fn a_refusal_becomes_an_error_frame() {
    let reply = Reply::from(Refusal::new(Code::Denied, "not for you"));
    assert_eq!(
        encode(&reply),
        r#"{"total_size":0,"error":"denied","message":"not for you"}"#
    );
    let reply = Reply::from(Refusal::busy(format_args!("{} at once", 9), 250));
    assert_eq!(
        encode(&reply),
        r#"{"total_size":0,"error":"busy","message":"9 at once","retry_after_ms":250}"#
    );
}

/// Shown piece by piece.
struct Pieces(Vec<String>);

impl fmt::Display for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| f.write_str(piece))
    }
}

#[test]
fn a_sentence_has_no_holes() {
    let start = "x".repeat(MESSAGE_LEN - 1);
    let refusal = Refusal::new(Code::Internal, format_args!("{start}{}{}", 'é', 'a'));
    assert_eq!(refusal.message.as_str(), start);
}

#[test]
fn another_servers_sentence_may_be_longer() {
    let long = "é".repeat(MESSAGE_LEN);
    let reply: Reply = decode(&format!(r#"{{"total_size":0,"message":"{long}"}}"#)).unwrap();
    assert_eq!(reply.message.unwrap(), start_of(&long, MESSAGE_LEN));
    let reply: Reply = decode(r#"{"total_size":0,"message":null}"#).unwrap();
    assert_eq!(reply.message, None);
    assert!(decode::<Reply>(r#"{"total_size":0,"message":5}"#).is_err());
}

proptest! {
    #![proptest_config(common::config(1000))]

    #[test]
    fn a_digest_comes_back(octets in any::<[u8; 32]>()) {
        let digest = Digest(octets);
        prop_assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
    }

    #[test]
    fn an_op_is_cut_where_a_character_ends(name in common::text()) {
        let op = Op::new(&name);
        prop_assert_eq!(op.as_str(), start_of(&name, OP_LEN));
    }

    #[test]
    fn a_sentence_is_cut_where_a_character_ends(pieces in vec(common::text(), 0..8)) {
        let whole = pieces.concat();
        let refusal = Refusal::new(Code::Internal, Pieces(pieces));
        prop_assert_eq!(refusal.message.as_str(), start_of(&whole, MESSAGE_LEN));
    }
}

#[test]
fn what_changes_nothing_is_safe() {
    for op in ["echo", "info", "get", "list", "stat"] {
        assert!(Request::new(op, 0).is_safe(), "{op}");
    }
    for op in ["exec", "put", "", "a later one"] {
        assert!(!Request::new(op, 0).is_safe(), "{op}");
    }
    let mut request = Request::new("", 0);
    request.op = None;
    assert!(!request.is_safe());
}

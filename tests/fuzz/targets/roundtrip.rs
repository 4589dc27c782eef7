//! What is written is read: headers of requests and replies with any values, by this crate and by serde_json.
//!
//! Input: the fields' values, as `arbitrary` makes them of octets.
#![no_main]

use std::fmt::Debug;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use unstick_core::{
    Code, Decoder, Digest, EncodeError, Event, Header, Mode, Op, PREFIX_LEN, Reply, Request,
    Stream, encode,
};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    room: u16,
    total_size: u64,
    id: Option<u32>,
    op: Option<&'a str>,
    text: Option<&'a str>,
    timeout_ms: Option<u64>,
    more: bool,
    offset: Option<u64>,
    stream: Option<bool>,
    exit: Option<i32>,
    error: Option<&'a str>,
    retry_after_ms: Option<u32>,
    sha256: Option<[u8; 32]>,
    mode: Option<u16>,
    mtime_ns: Option<u64>,
}

/// As much of `text` as fits.
fn cut<const N: usize>(text: &str) -> heapless::String<N> {
    let mut cut = heapless::String::new();
    let _ = text.chars().try_for_each(|c| cut.push(c));
    cut
}

fn comes_back<H: Header + Debug + PartialEq + DeserializeOwned>(header: &H, room: usize) {
    const MOST: usize = 2048;
    let mut out = [0xEE; MOST];
    let len = encode(header, &mut out).unwrap();
    assert!(out[len..].iter().all(|octet| *octet == 0xEE));
    let text = &out[PREFIX_LEN..len];
    assert_eq!(serde_json::from_slice::<H>(text).unwrap(), *header);

    let mut decoder = Decoder::<H, MOST>::new();
    let mut input = &out[..len];
    match decoder.decode(&mut input) {
        Ok(Some(Event::Header(decoded))) => assert_eq!(decoded, *header),
        other => panic!("{other:?} instead of {header:?}"),
    }
    assert!(input.is_empty() && decoder.body_left() == header.body_len());

    let mut small = [0; MOST];
    match encode(header, &mut small[..room % MOST]) {
        Ok(again) => assert_eq!(small[..again], out[..len]),
        Err(error) => {
            assert_eq!(error, EncodeError::BufferTooSmall);
            assert!(room % MOST < len);
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let mut request = Request::new("", input.total_size);
    request.op = input.op.map(Op::new);
    request.id = input.id;
    request.filename = input.text.map(cut);
    request.offset = input.offset;
    request.sha256 = input.sha256.map(Digest);
    request.overwrite = input.more;
    request.mode = input.mode.and_then(Mode::new);
    request.mtime_ns = input.mtime_ns;
    request.timeout_ms = input.timeout_ms;
    comes_back(&request, input.room.into());

    let mut reply = Reply::new(input.total_size);
    reply.id = input.id;
    reply.more = input.more;
    reply.offset = input.offset;
    reply.sha256 = input.sha256.map(Digest);
    reply.stream = input.stream.map(|error| match error {
        false => Stream::Stdout,
        true => Stream::Stderr,
    });
    reply.exit = input.exit;
    reply.error = input.error.map(Code::from_name);
    reply.message = input.text.map(cut);
    reply.retry_after_ms = input.retry_after_ms;
    comes_back(&reply, input.room.into());
});

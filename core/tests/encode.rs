//! Writing frames: what is written is read, and nothing is written that cannot be.

mod common;

use proptest::option;
use proptest::prelude::*;
use unstick_core::{
    Code, Decoder, Digest, EncodeError, Event, Header, HeaderError, Op, Reply, Request, Stream,
    encode,
};

/// Text of every kind of character, no longer than `N` octets.
fn text<const N: usize>() -> impl Strategy<Value = heapless::String<N>> {
    common::text().prop_map(|any| {
        let mut text = heapless::String::new();
        any.chars().all(|c| text.push(c).is_ok());
        text
    })
}

fn request() -> impl Strategy<Value = Request> {
    let op = option::of(common::text().prop_map(|name| Op::new(&name)));
    let id = option::of(any::<u32>());
    let timeout_ms = option::of(any::<u64>());
    let part = (
        option::of(any::<u64>()),
        option::of(any::<[u8; 32]>()),
        any::<bool>(),
    );
    (any::<u64>(), op, id, option::of(text()), part, timeout_ms).prop_map(
        |(total_size, op, id, filename, (offset, sha256, overwrite), timeout_ms)| {
            let mut request = Request::new("", total_size);
            request.op = op;
            request.id = id;
            request.filename = filename;
            request.offset = offset;
            request.sha256 = sha256.map(Digest);
            request.overwrite = overwrite;
            request.timeout_ms = timeout_ms;
            request
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let code = (0..10_usize).prop_map(|code| CODES[code]);
    let stream = any::<bool>().prop_map(|out| if out { Stream::Stdout } else { Stream::Stderr });
    let numbers = (
        any::<u64>(),
        option::of(any::<u64>()),
        option::of(any::<[u8; 32]>()),
    );
    let options = (
        option::of(any::<u32>()),
        option::of(any::<u32>()),
        option::of(any::<i32>()),
    );
    (
        numbers,
        options,
        any::<bool>(),
        option::of(stream),
        option::of(code),
        option::of(text()),
    )
        .prop_map(
            |(
                (total_size, offset, sha256),
                (id, retry_after_ms, exit),
                more,
                stream,
                error,
                message,
            )| {
                let mut reply = Reply::new(total_size);
                reply.id = id;
                reply.more = more;
                reply.offset = offset;
                reply.sha256 = sha256.map(Digest);
                reply.stream = stream;
                reply.exit = exit;
                reply.error = error;
                reply.message = message;
                reply.retry_after_ms = retry_after_ms;
                reply
            },
        )
}

const CODES: [Code; 10] = [
    Code::BadHeader,
    Code::TooLarge,
    Code::UnknownOp,
    Code::NotFound,
    Code::Denied,
    Code::Busy,
    Code::Deadline,
    Code::Digest,
    Code::Internal,
    Code::Unknown,
];

/// The room that no header of ours exceeds.
const ROOM: usize = 2048;

fn comes_back<H: Header + PartialEq + std::fmt::Debug>(header: &H) {
    let mut out = [0xEE; ROOM + 4];
    let len = encode(header, &mut out).unwrap();
    assert!(out[len..].iter().all(|octet| *octet == 0xEE));

    let mut decoder = Decoder::<H, ROOM>::new();
    let mut input = &out[..len];
    match decoder.decode(&mut input) {
        Ok(Some(Event::Header(decoded))) => assert_eq!(decoded, *header),
        other => panic!("{other:?} instead of {header:?}"),
    }
    assert!(input.is_empty());
    assert_eq!(decoder.body_left(), header.body_len());

    // It fits exactly, and nowhere less.
    assert_eq!(encode(header, &mut out[..len]), Ok(len));
    for room in (0..len).step_by(common::STEP) {
        assert_eq!(
            encode(header, &mut out[..room]),
            Err(EncodeError::BufferTooSmall)
        );
    }
}

proptest! {
    #![proptest_config(common::config(300))]

    #[test]
    fn requests_come_back(request in request()) {
        comes_back(&request);
    }

    #[test]
    fn replies_come_back(reply in reply()) {
        comes_back(&reply);
    }
}

/// A header that says of itself whatever it is told.
#[derive(Debug)]
struct Claims(usize);

impl Header for Claims {
    fn body_len(&self) -> u64 {
        0
    }

    fn decode(text: &mut [u8], _: &mut [u8]) -> Result<Self, HeaderError> {
        Ok(Self(text.len()))
    }

    fn encode(&self, _: &mut [u8]) -> Result<usize, EncodeError> {
        Ok(self.0)
    }
}

#[test]
fn a_header_that_claims_an_impossible_length_is_found_out() {
    let mut out = [0; 12];
    assert_eq!(encode(&Claims(1), &mut out), Ok(5));
    assert_eq!(encode(&Claims(8), &mut out), Ok(12));
    assert_eq!(out, *b"\x08\0\0\0\0\0\0\0\0\0\0\0");
    let most = usize::try_from(i32::MAX).unwrap();
    for len in [9, most] {
        assert_eq!(
            encode(&Claims(len), &mut out),
            Err(EncodeError::BufferTooSmall)
        );
    }
    for len in [0, most + 1, usize::MAX] {
        assert_eq!(
            encode(&Claims(len), &mut out),
            Err(EncodeError::HeaderLength)
        );
    }
}

#[test]
fn errors_say_what_is_wrong() {
    assert_eq!(
        EncodeError::BufferTooSmall.to_string(),
        "the buffer is too small for the frame's prefix and header"
    );
    assert_eq!(
        EncodeError::HeaderLength.to_string(),
        "the header is empty or longer than its prefix can say"
    );
}

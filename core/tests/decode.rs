//! The decoder: its four laws against a second decoder, every boundary, and what it says of its state.

mod common;

use std::fmt::Debug;

use common::events::{Item, decode, laws_hold, reference};
use common::frame;
use proptest::collection::vec;
use proptest::prelude::*;
use unstick_core::{
    DecodeError, Decoder, EncodeError, Event, Header, HeaderError, HeaderErrorKind, Op, Reply,
    Request,
};

/// A header that is nothing but digits: the body's length.
#[derive(Debug, Clone, PartialEq)]
struct Digits(u64);

impl Header for Digits {
    fn body_len(&self) -> u64 {
        self.0
    }

    fn decode(text: &mut [u8], scratch: &mut [u8]) -> Result<Self, HeaderError> {
        assert!(scratch.len() >= text.len());
        let error = |offset| HeaderError {
            offset,
            kind: HeaderErrorKind::Number,
        };
        // What it may do to both of them.
        scratch.fill(0xFF);
        let mut number = 0_u64;
        for (offset, octet) in (0..).zip(text) {
            let digit = char::from(*octet).to_digit(10).ok_or(error(offset))?;
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(digit.into()))
                .ok_or(error(offset))?;
            *octet = 0xFF;
        }
        Ok(Self(number))
    }

    fn encode(&self, _: &mut [u8]) -> Result<usize, EncodeError> {
        Err(EncodeError::HeaderLength)
    }
}

// ---------------------------------------------------------------------------------------------------------------
// The laws.

/// The text of a header that is JSON, of most kinds there are.
fn header() -> impl Strategy<Value = String> {
    let op = prop_oneof![Just(""), Just(r#""op":"echo","#), Just(r#""op":"\u6d4b","#)];
    let unknown = prop_oneof![
        Just(""),
        Just(r#""unknown":[1,{"a":"\ud83d\ude00"}],"#),
        Just(r#""filename":"a name of some length, so that there is no room for it twice","#)
    ];
    let len = prop_oneof![0..40_u64, Just(u64::MAX)];
    let space = (0..9_usize).prop_map(|len| &"\t \r\n \n \r"[..len]);
    (op, unknown, space, len).prop_map(|(op, unknown, space, len)| {
        format!("{{{op}{unknown}{space}\"total_size\":{len}}}")
    })
}

/// A stream of frames, which may end in any way.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop_oneof![
        Just(0),
        Just(-1),
        Just(i32::MIN),
        Just(i32::MAX),
        60..70,
        250..260
    ];
    let piece = prop_oneof![
        8 => (header(), vec(any::<u8>(), 0..40)).prop_map(|(header, body)| {
            let header = header.replace("\"total_size\":0", &format!("\"total_size\":{}", body.len()));
            frame(&header, &body)
        }),
        1 => header().prop_map(|header| frame(&header, b"")),
        1 => prefix.prop_map(|prefix: i32| prefix.to_le_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
    ];
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(common::config(1000))]

    #[test]
    fn frames_in_any_partition(stream in stream(), lens in vec(1..30_usize, 1..6)) {
        laws_hold::<Request, 64>(64, &stream, &lens);
        laws_hold::<Request, 256>(100, &stream, &lens);
        laws_hold::<Reply, 256>(usize::MAX, &stream, &lens);
    }

    #[test]
    fn any_octets_in_any_partition(
        stream in vec(any::<u8>(), 0..200),
        lens in vec(1..30_usize, 1..6),
    ) {
        laws_hold::<Request, 64>(64, &stream, &lens);
    }

    #[test]
    fn digits_in_any_partition(
        frames in vec((0..200_u16, vec(any::<u8>(), 0..40)), 0..6),
        lens in vec(1..30_usize, 1..6),
    ) {
        let frames = frames.iter().map(|(header, body)| frame(&header.to_string(), body));
        laws_hold::<Digits, 8>(8, &frames.collect::<Vec<_>>().concat(), &lens);
    }
}

#[test]
fn every_cut_of_two_frames() {
    let stream = [
        frame(r#"{"op":"echo","id":1,"total_size":5}"#, b"hello"),
        frame(r#"{"op":"info","total_size":0}"#, b""),
    ]
    .concat();
    let (whole, end) = reference::<Request>(64, &stream);
    assert_eq!((whole.len(), end), (5, Ok(())));
    for at in (0..=stream.len()).step_by(common::STEP) {
        let (first, second) = stream.split_at(at);
        assert_eq!(
            decode::<Request, 64>(64, [first, second]),
            (whole.clone(), Ok(()))
        );
        assert_eq!(decode::<Request, 64>(64, [first]), reference(64, first));
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Boundaries.

/// What the decoder says of one frame's start.
fn start<H: Header + Clone + Debug + PartialEq, const N: usize>(
    decoder: &mut Decoder<H, N>,
    octets: &[u8],
) -> Result<H, DecodeError> {
    match decoder.decode(&mut &octets[..])? {
        Some(Event::Header(header)) => Ok(header),
        other => panic!("{other:?} instead of a header"),
    }
}

#[test]
fn a_prefix_is_positive_and_within_the_limit() {
    for prefix in [0, -1, -5, i32::MIN] {
        let mut decoder = Decoder::<Digits, 8>::new();
        let error = DecodeError::PrefixNotPositive(prefix);
        assert_eq!(start(&mut decoder, &prefix.to_le_bytes()), Err(error));
    }
    for prefix in [9, 256, i32::MAX] {
        let mut decoder = Decoder::<Digits, 8>::new();
        let error = DecodeError::HeaderTooLong(prefix.cast_unsigned());
        assert_eq!(start(&mut decoder, &prefix.to_le_bytes()), Err(error));
    }
    // A refused prefix does not wait for the header that it announces, and keeps no octet of it.
    assert_eq!(
        decode::<Digits, 8>(8, [&b"\x09\0\0"[..], b"\0", b"000000000"]).0,
        [Item::Failed(DecodeError::HeaderTooLong(9))]
    );
}

#[test]
fn a_header_may_be_as_long_as_the_limit_and_no_longer() {
    fn longest<const N: usize>(limit: usize) -> usize {
        let mut decoder = Decoder::<Digits, N>::with_max_header_len(limit);
        let longest = decoder.max_header_len();
        if longest > 0 {
            let text = "0".repeat(longest);
            assert_eq!(start(&mut decoder, &frame(&text, b"")), Ok(Digits(0)));
        }
        let mut decoder = Decoder::<Digits, N>::with_max_header_len(limit);
        let text = "0".repeat(longest + 1);
        let error = DecodeError::HeaderTooLong(u32::try_from(text.len()).unwrap());
        assert_eq!(start(&mut decoder, &frame(&text, b"")), Err(error));
        longest
    }
    assert_eq!(longest::<64>(64), 64);
    assert_eq!(longest::<64>(65), 64);
    assert_eq!(longest::<64>(63), 63);
    assert_eq!(longest::<64>(1), 1);
    assert_eq!(longest::<64>(0), 0);
    assert_eq!(longest::<0>(9), 0);
    assert_eq!(Decoder::<Digits, 7>::new().max_header_len(), 7);
    assert_eq!(Decoder::<Digits, 7>::default().max_header_len(), 7);
}

/// Up to half of the decoder's room, a header's strings are unescaped in the other half; behind it, elsewhere.
#[test]
fn a_header_of_any_length_has_its_escapes_read() {
    let text = r#"{"total_size":3,"op":"\n"}"#;
    for spaces in 0..=64 - text.len() {
        let text = format!("{}{text}", " ".repeat(spaces));
        let mut decoder = Decoder::<Request, 64>::new();
        let mut request = Request::new("\n", 3);
        assert_eq!(start(&mut decoder, &frame(&text, b"")), Ok(request.clone()));
        // And nothing is left behind for the next.
        assert_eq!(
            decoder.decode(&mut &b"abc"[..]),
            Ok(Some(Event::Body(b"abc")))
        );
        assert_eq!(decoder.decode(&mut &b""[..]), Ok(Some(Event::End)));
        request.op = Some(Op::new("echo"));
        let next = frame(r#"{"op":"echo","total_size":3}"#, b"");
        assert_eq!(start(&mut decoder, &next), Ok(request));
    }
}

#[test]
fn a_bad_header_says_where() {
    let mut decoder = Decoder::<Request, 64>::new();
    let error = HeaderError {
        offset: 14,
        kind: HeaderErrorKind::Syntax,
    };
    let octets = frame(r#"{"total_size":}"#, b"");
    assert_eq!(
        start(&mut decoder, &octets),
        Err(DecodeError::Header(error))
    );
    assert_eq!(
        decoder.decode(&mut &octets[..]),
        Err(DecodeError::Header(error))
    );
}

#[test]
fn a_body_of_any_length_streams_through() {
    let mut decoder = Decoder::<Digits, 20>::new();
    let octets = frame(&u64::MAX.to_string(), b"");
    assert_eq!(start(&mut decoder, &octets), Ok(Digits(u64::MAX)));
    assert_eq!(decoder.body_left(), u64::MAX);
    let piece = [7; 4096];
    for round in 1..=10 {
        assert_eq!(
            decoder.decode(&mut &piece[..]),
            Ok(Some(Event::Body(&piece)))
        );
        assert_eq!(decoder.decode(&mut &b""[..]), Ok(None));
        assert_eq!(decoder.body_left(), u64::MAX - round * 4096);
    }
    assert_eq!(decoder.finish(), Err(DecodeError::Truncated));
}

// ---------------------------------------------------------------------------------------------------------------
// The state, and what is said of it.

#[test]
fn the_state_is_told() {
    let mut decoder = Decoder::<Digits, 8>::new();
    let mut step = |octets: &'static [u8], event| {
        assert_eq!(decoder.decode(&mut &octets[..]), Ok(event));
        (
            decoder.finish().is_ok(),
            decoder.is_between_frames(),
            decoder.needs_input(),
            decoder.body_left(),
        )
    };
    assert_eq!(step(b"", None), (true, true, true, 0));
    assert_eq!(step(b"\x01", None), (false, false, true, 0));
    assert_eq!(step(b"\0\0\0", None), (false, false, true, 0));
    assert_eq!(
        step(b"2", Some(Event::Header(Digits(2)))),
        (false, false, true, 2)
    );
    assert_eq!(step(b"a", Some(Event::Body(b"a"))), (false, false, true, 1));
    assert_eq!(
        step(b"b", Some(Event::Body(b"b"))),
        (false, false, false, 0)
    );
    assert_eq!(step(b"", Some(Event::End)), (true, true, true, 0));
    assert_eq!(
        decoder.decode(&mut &[0; 4][..]),
        Err(DecodeError::PrefixNotPositive(0))
    );
    assert_eq!(decoder.finish(), Err(DecodeError::PrefixNotPositive(0)));
    assert!(!decoder.needs_input() && !decoder.is_between_frames());
    assert_eq!(decoder.body_left(), 0);
}

#[test]
fn errors_say_what_is_wrong() {
    fn header(kind: HeaderErrorKind) -> String {
        DecodeError::from(HeaderError { offset: 3, kind }).to_string()
    }
    assert_eq!(
        DecodeError::PrefixNotPositive(-1).to_string(),
        "the prefix is -1: a header's length is at least 1"
    );
    assert_eq!(
        DecodeError::HeaderTooLong(9).to_string(),
        "the prefix announces a header of 9 octets: too long"
    );
    assert_eq!(
        DecodeError::Truncated.to_string(),
        "the stream ended inside a frame"
    );
    for (kind, sentence) in [
        (HeaderErrorKind::NotUtf8, "not UTF-8"),
        (HeaderErrorKind::NotAnObject, "not a JSON object"),
        (HeaderErrorKind::Syntax, "not valid JSON"),
        (HeaderErrorKind::TooDeep, "nested too deep"),
        (HeaderErrorKind::LoneSurrogate, "half a surrogate pair"),
        (
            HeaderErrorKind::TrailingOctets,
            "more text after the object",
        ),
        (
            HeaderErrorKind::Number,
            "a number is negative, fractional or too large",
        ),
        (HeaderErrorKind::Type, "a value has the wrong type"),
        (
            HeaderErrorKind::Key,
            "a key is missing, repeated or has a bad value",
        ),
    ] {
        assert_eq!(header(kind), format!("header: {sentence} (octet 3)"));
    }
}

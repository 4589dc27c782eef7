//! The length codec: octets written out, boundaries, and the four laws against a second decoder.

use proptest::prelude::*;
use proptest::test_runner::Config;
use unstick_core::Event;
use unstick_core::length::{
    Counts, DecodeError, Decoder, EncodeError, Endian, Format, FormatError, Width,
};

const WIDTHS: [Width; 5] = [Width::U8, Width::U16, Width::U24, Width::U32, Width::U64];

/// What a stream holds, with neighbouring pieces of a body joined: what no partition may change.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Header(u64),
    Body(Vec<u8>),
    End,
    Failed(DecodeError),
}

/// Every format there is, up to the maximum.
fn formats() -> impl Iterator<Item = (Width, Endian, Counts)> {
    WIDTHS.into_iter().flat_map(|width| {
        [Endian::Big, Endian::Little]
            .into_iter()
            .flat_map(move |endian| {
                [Counts::Body, Counts::Frame].map(|counts| (width, endian, counts))
            })
    })
}

/// The largest number that fits in so many octets, without the code under test.
fn largest_number(octets: usize) -> u64 {
    u64::try_from((1_u128 << (8 * octets)) - 1).unwrap()
}

/// What the number in the prefix counts besides the body.
fn counted(width: Width, counts: Counts) -> u64 {
    match counts {
        Counts::Body => 0,
        Counts::Frame => width as u64,
    }
}

/// The prefix whose number is `number`, without the code under test.
fn prefix(width: Width, endian: Endian, number: u64) -> Vec<u8> {
    let mut octets = number.to_le_bytes()[..width as usize].to_vec();
    if endian == Endian::Big {
        octets.reverse();
    }
    octets
}

/// Decodes `input` until `None` or an error, checking on the way that the cursor moves as it has to.
fn feed(decoder: &mut Decoder, mut input: &[u8], items: &mut Vec<Item>) -> Result<(), DecodeError> {
    loop {
        let before = input;
        let event = match decoder.decode(&mut input) {
            Ok(event) => event,
            Err(error) => {
                items.push(Item::Failed(error));
                // Law 4: the error stays, and takes no more input.
                let rest = input;
                assert_eq!(decoder.decode(&mut input), Err(error));
                assert_eq!(decoder.decode(&mut [].as_slice()), Err(error));
                assert_eq!(decoder.finish(), Err(error));
                assert_eq!(input.as_ptr_range(), rest.as_ptr_range());
                return Err(error);
            }
        };
        let taken = &before[..before.len() - input.len()];
        assert_eq!(input.as_ptr_range().end, before.as_ptr_range().end);
        match event {
            None => {
                // Law 1.
                assert!(input.is_empty());
                return Ok(());
            }
            Some(Event::Header(len)) => items.push(Item::Header(len)),
            Some(Event::Body(piece)) => {
                // Law 2: not empty, and the very memory that was passed in.
                assert!(!piece.is_empty());
                assert_eq!(piece.as_ptr_range(), taken.as_ptr_range());
                match items.last_mut() {
                    Some(Item::Body(body)) => body.extend_from_slice(piece),
                    _ => items.push(Item::Body(piece.to_vec())),
                }
            }
            Some(Event::End) => {
                assert!(taken.is_empty());
                items.push(Item::End);
            }
        }
    }
}

/// All of a stream in one piece, and what `finish` says of it.
fn decode_whole(format: Format, stream: &[u8]) -> (Vec<Item>, Result<(), DecodeError>) {
    let mut decoder = Decoder::new(format);
    let mut items = Vec::new();
    let fed = feed(&mut decoder, stream, &mut items);
    let end = decoder.finish();
    assert!(fed.is_ok() || fed == end);
    (items, end)
}

/// The second decoder: needs the whole stream, and reads as the specification does.
fn reference(
    (width, endian, counts): (Width, Endian, Counts),
    max_len: u64,
    mut stream: &[u8],
) -> (Vec<Item>, Result<(), DecodeError>) {
    let counted = counted(width, counts);
    let width = width as usize;
    let mut items = Vec::new();
    let fail = |mut items: Vec<Item>, error| {
        items.push(Item::Failed(error));
        (items, Err(error))
    };
    while !stream.is_empty() {
        if stream.len() < width {
            return (items, Err(DecodeError::Truncated));
        }
        let mut wide = [0; 8];
        let number = match endian {
            Endian::Big => {
                wide[8 - width..].copy_from_slice(&stream[..width]);
                u64::from_be_bytes(wide)
            }
            Endian::Little => {
                wide[..width].copy_from_slice(&stream[..width]);
                u64::from_le_bytes(wide)
            }
        };
        stream = &stream[width..];
        if number < counted {
            return fail(items, DecodeError::BelowPrefix(number));
        }
        let len = number - counted;
        if len > max_len {
            return fail(items, DecodeError::BodyTooLong(len));
        }
        items.push(Item::Header(len));
        let here = len.min(stream.len() as u64);
        let body = &stream[..usize::try_from(here).unwrap()];
        if !body.is_empty() {
            items.push(Item::Body(body.to_vec()));
        }
        if here < len {
            return (items, Err(DecodeError::Truncated));
        }
        items.push(Item::End);
        stream = &stream[body.len()..];
    }
    (items, Ok(()))
}

// Vectors.

#[test]
fn octets_of_every_format() {
    use Counts::{Body, Frame};
    use Endian::{Big, Little};
    use Width::{U8, U16, U24, U32, U64};
    let vectors: [(Width, Endian, Counts, u64, &[u8]); 20] = [
        (U8, Big, Body, 0xfe, &[0xfe]),
        (U8, Little, Body, 0xfe, &[0xfe]),
        (U8, Big, Frame, 0xfe, &[0xff]),
        (U8, Little, Frame, 0xfe, &[0xff]),
        (U16, Big, Body, 0x0102, &[1, 2]),
        (U16, Little, Body, 0x0102, &[2, 1]),
        (U16, Big, Frame, 0x0102, &[1, 4]),
        (U16, Little, Frame, 0x0102, &[4, 1]),
        (U24, Big, Body, 0x01_02_03, &[1, 2, 3]),
        (U24, Little, Body, 0x01_02_03, &[3, 2, 1]),
        (U24, Big, Frame, 0x01_02_03, &[1, 2, 6]),
        (U24, Little, Frame, 0x01_02_03, &[6, 2, 1]),
        (U32, Big, Body, 0x0102_0304, &[1, 2, 3, 4]),
        (U32, Little, Body, 0x0102_0304, &[4, 3, 2, 1]),
        (U32, Big, Frame, 0x0102_0304, &[1, 2, 3, 8]),
        (U32, Little, Frame, 0x0102_0304, &[8, 3, 2, 1]),
        (
            U64,
            Big,
            Body,
            0x0102_0304_0506_0708,
            &[1, 2, 3, 4, 5, 6, 7, 8],
        ),
        (
            U64,
            Little,
            Body,
            0x0102_0304_0506_0708,
            &[8, 7, 6, 5, 4, 3, 2, 1],
        ),
        (
            U64,
            Big,
            Frame,
            0x0102_0304_0506_0708,
            &[1, 2, 3, 4, 5, 6, 7, 16],
        ),
        (
            U64,
            Little,
            Frame,
            0x0102_0304_0506_0708,
            &[16, 7, 6, 5, 4, 3, 2, 1],
        ),
    ];
    for (width, endian, counts, len, octets) in vectors {
        let format = Format::new(width, endian, counts);
        assert_eq!(format.prefix_len(), octets.len());
        let mut out = [0xaa; 10];
        assert_eq!(format.encode(len, &mut out), Ok(octets.len()), "{format:?}");
        assert_eq!(&out[..octets.len()], octets, "{format:?}");
        assert!(out[octets.len()..].iter().all(|&octet| octet == 0xaa));
        let (items, end) = decode_whole(format, octets);
        assert_eq!(items, [Item::Header(len)], "{format:?}");
        assert_eq!(end, Err(DecodeError::Truncated));
    }
}

#[test]
fn frames_stuck_together() {
    let format = Format::new(Width::U16, Endian::Big, Counts::Frame);
    let (items, end) = decode_whole(format, b"\x00\x04hi\x00\x02\x00\x05abc");
    assert_eq!(
        items,
        [
            Item::Header(2),
            Item::Body(b"hi".to_vec()),
            Item::End,
            Item::Header(0),
            Item::End,
            Item::Header(3),
            Item::Body(b"abc".to_vec()),
            Item::End,
        ]
    );
    assert_eq!(end, Ok(()));
}

#[test]
fn an_end_needs_no_input_but_a_call() {
    let mut decoder = Decoder::new(Format::new(Width::U8, Endian::Big, Counts::Body));
    let mut input: &[u8] = &[0];
    assert_eq!(decoder.decode(&mut input), Ok(Some(Event::Header(0))));
    assert!(input.is_empty());
    assert_eq!(decoder.finish(), Err(DecodeError::Truncated));
    assert_eq!(decoder.decode(&mut input), Ok(Some(Event::End)));
    assert_eq!(decoder.finish(), Ok(()));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn truncated_at_every_octet() {
    for parts in formats() {
        let format = Format::new(parts.0, parts.1, parts.2);
        let mut stream = vec![0; format.prefix_len()];
        format.encode(3, &mut stream).unwrap();
        stream.extend_from_slice(b"abc");
        stream.extend_from_within(..); // two frames
        for cut in 0..=stream.len() {
            let (items, end) = decode_whole(format, &stream[..cut]);
            assert_eq!((items, end), reference(parts, u64::MAX, &stream[..cut]));
            let whole = cut % (stream.len() / 2) == 0;
            assert_eq!(end.is_ok(), whole, "{format:?} cut at {cut}");
        }
    }
}

/// Longer than a 32-bit machine can address, and through one small buffer.
#[test]
fn a_body_beyond_32_bits_streams_through() {
    const PIECE: u64 = 1 << 20;
    let len = (1 << 32) + PIECE + 5;
    let format = Format::new(Width::U64, Endian::Little, Counts::Body);
    let mut decoder = Decoder::new(format);
    let mut octets = [0; 8];
    format.encode(len, &mut octets).unwrap();
    let mut input = octets.as_slice();
    assert_eq!(decoder.decode(&mut input), Ok(Some(Event::Header(len))));
    let buffer = vec![7; usize::try_from(PIECE).unwrap()];
    for _ in 0..len / PIECE {
        let mut input = buffer.as_slice();
        assert_eq!(decoder.decode(&mut input), Ok(Some(Event::Body(&buffer))));
        assert_eq!(decoder.decode(&mut input), Ok(None));
    }
    let mut input = b"12345\x00".as_slice();
    assert_eq!(
        decoder.decode(&mut input),
        Ok(Some(Event::Body(b"12345".as_slice())))
    );
    assert_eq!(decoder.decode(&mut input), Ok(Some(Event::End)));
    assert_eq!(input, [0]);
    assert_eq!(decoder.finish(), Ok(()));
}

// Boundaries.

#[test]
fn the_default_maximum_is_what_the_prefix_can_say() {
    for (width, endian, counts) in formats() {
        let format = Format::new(width, endian, counts);
        let largest = largest_number(width as usize);
        let counted = counted(width, counts);
        assert_eq!(format.max_len(), largest - counted, "{format:?}");

        let mut out = [0; 8];
        assert_eq!(
            format.encode(format.max_len(), &mut out),
            Ok(width as usize)
        );
        assert_eq!(out[..width as usize], [0xff; 8][..width as usize]);
        assert_eq!(
            decode_whole(format, &out[..width as usize]).0,
            [Item::Header(format.max_len())]
        );
    }
}

#[test]
fn a_maximum_that_the_prefix_cannot_say_is_refused() {
    for (width, endian, counts) in formats() {
        let format = Format::new(width, endian, counts);
        let longest = format.max_len();
        for max_len in [0, 1, longest / 2, longest - 1, longest] {
            assert_eq!(
                format.with_max_len(max_len).map(|format| format.max_len()),
                Ok(max_len)
            );
        }
        // Of 8 octets that count the body alone there is none: they can say every u64.
        for max_len in longest
            .checked_add(1)
            .into_iter()
            .chain(longest.checked_add(8))
        {
            assert_eq!(
                format.with_max_len(max_len),
                Err(FormatError::MaxTooLong(longest)),
                "{format:?}"
            );
        }
        if longest < u64::MAX {
            assert!(format.with_max_len(u64::MAX).is_err());
        }
        // A smaller maximum can be taken back.
        assert_eq!(
            format.with_max_len(1).unwrap().with_max_len(longest),
            Ok(format)
        );
    }
}

#[test]
fn the_maximum_holds_on_both_sides() {
    for (width, endian, counts) in formats() {
        for max_len in [0, 1, 20] {
            let format = Format::new(width, endian, counts)
                .with_max_len(max_len)
                .unwrap();
            let counted = counted(width, counts);
            for len in 0..=max_len + 1 {
                let octets = prefix(width, endian, len + counted);
                let mut out = [0; 8];
                let (items, end) = decode_whole(format, &octets);
                if len <= max_len {
                    assert_eq!(format.encode(len, &mut out), Ok(octets.len()));
                    assert_eq!(out[..octets.len()], octets);
                    assert_eq!(items[0], Item::Header(len));
                } else {
                    assert_eq!(format.encode(len, &mut out), Err(EncodeError::BodyTooLong));
                    assert_eq!(out, [0; 8]);
                    assert_eq!(items, [Item::Failed(DecodeError::BodyTooLong(len))]);
                    assert_eq!(end, Err(DecodeError::BodyTooLong(len)));
                }
            }
            assert_eq!(
                format.encode(u64::MAX, &mut [0; 8]),
                Err(EncodeError::BodyTooLong)
            );
        }
    }
}

#[test]
fn a_number_below_the_counted_prefix_is_refused() {
    for (width, endian, _) in formats() {
        let format = Format::new(width, endian, Counts::Frame);
        for number in 0..width as u64 {
            let (items, end) = decode_whole(format, &prefix(width, endian, number));
            assert_eq!(items, [Item::Failed(DecodeError::BelowPrefix(number))]);
            assert_eq!(end, Err(DecodeError::BelowPrefix(number)));
        }
        let (items, end) = decode_whole(format, &prefix(width, endian, width as u64));
        assert_eq!((items, end), (vec![Item::Header(0), Item::End], Ok(())));
    }
}

#[test]
fn a_buffer_too_small_is_left_alone() {
    for (width, endian, counts) in formats() {
        let format = Format::new(width, endian, counts);
        for short in 0..format.prefix_len() {
            let mut out = [0xaa; 8];
            assert_eq!(
                format.encode(1, &mut out[..short]),
                Err(EncodeError::BufferTooSmall)
            );
            assert_eq!(out, [0xaa; 8]);
        }
        let mut out = vec![0; format.prefix_len()];
        assert_eq!(format.encode(1, &mut out), Ok(out.len()));
    }
}

#[test]
fn every_error_is_a_sentence() {
    let sentences = [
        (
            FormatError::MaxTooLong(254).to_string(),
            "the prefix can say at most 254 octets of body",
        ),
        (
            EncodeError::BodyTooLong.to_string(),
            "the body is longer than the format allows",
        ),
        (
            EncodeError::BufferTooSmall.to_string(),
            "the buffer is too small for the prefix",
        ),
        (
            DecodeError::BelowPrefix(3).to_string(),
            "the length is 3: less than the prefix that it counts",
        ),
        (
            DecodeError::BodyTooLong(70_000).to_string(),
            "the prefix announces a body of 70000 octets: too long",
        ),
        (
            DecodeError::Truncated.to_string(),
            "the stream ended inside a frame",
        ),
    ];
    for (said, expected) in sentences {
        assert_eq!(said, expected);
    }
}

// Properties.

fn any_parts() -> impl Strategy<Value = (Width, Endian, Counts)> {
    prop::sample::select(formats().collect::<Vec<_>>())
}

/// A stream of small frames, some of them spoilt in the prefix, with loose octets at the end.
fn any_stream() -> impl Strategy<Value = ((Width, Endian, Counts), u64, Vec<u8>)> {
    let number = prop_oneof![6 => 0_u64..20, 1 => any::<u64>()];
    let frames = prop::collection::vec((number, any::<u8>()), 0..8);
    let loose = prop::collection::vec(any::<u8>(), 0..12);
    let max_len = prop_oneof![0_u64..20, Just(u64::MAX)];
    (any_parts(), max_len, frames, loose).prop_map(|(parts, max_len, frames, loose)| {
        let (width, endian, counts) = parts;
        let mut stream = Vec::new();
        for (number, fill) in frames {
            stream.extend(prefix(width, endian, number));
            let counted = counted(width, counts);
            let len = number.saturating_sub(counted).min(20);
            stream.resize(stream.len() + usize::try_from(len).unwrap(), fill);
        }
        stream.extend(loose);
        let longest = Format::new(width, endian, counts).max_len();
        (parts, max_len.min(longest), stream)
    })
}

fn config() -> Config {
    let mut config = Config::with_cases(if cfg!(miri) { 16 } else { 2048 });
    if cfg!(miri) {
        config.failure_persistence = None;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    /// Laws 1, 2 and 4 are checked in `feed`, law 3 here; the grammar is the second decoder's.
    #[test]
    fn any_partition_decodes_as_the_reference_does(
        (parts, max_len, stream) in any_stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let format = Format::new(parts.0, parts.1, parts.2).with_max_len(max_len).unwrap();
        let expected = reference(parts, max_len, &stream);
        prop_assert_eq!(&decode_whole(format, &stream), &expected);

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let octet_by_octet = (0..=stream.len()).collect();
        for cuts in [cuts, octet_by_octet] {
            let mut decoder = Decoder::new(format);
            let mut items = Vec::new();
            for pair in cuts.windows(2) {
                // Each piece in memory of its own: nothing can look past its end.
                let piece = stream[pair[0]..pair[1]].to_vec();
                if feed(&mut decoder, &piece, &mut items).is_err() {
                    break;
                }
            }
            prop_assert_eq!(&(items, decoder.finish()), &expected);
        }
    }

    #[test]
    fn what_is_encoded_decodes(
        (width, endian, counts) in any_parts(),
        max_len in any::<u64>(),
        len in any::<u64>(),
        shift in 0_u32..64,
    ) {
        let widest = Format::new(width, endian, counts);
        let format = widest.with_max_len(max_len >> shift).unwrap_or(widest);
        let len = len >> shift;
        let mut out = [0; 8];
        match format.encode(len, &mut out) {
            Ok(written) => {
                prop_assert_eq!(written, width as usize);
                prop_assert_eq!(&decode_whole(format, &out[..written]).0[0], &Item::Header(len));
            }
            Err(error) => {
                prop_assert!(len > format.max_len());
                prop_assert_eq!(error, EncodeError::BodyTooLong);
            }
        }
    }

    #[test]
    fn what_decodes_is_what_would_be_encoded(
        (width, endian, counts) in any_parts(),
        max_len in any::<u64>(),
        octets in any::<[u8; 8]>(),
        shift in 0_u32..64,
    ) {
        let widest = Format::new(width, endian, counts);
        let format = widest.with_max_len(max_len >> shift).unwrap_or(widest);
        let octets = &octets[..width as usize];
        if let Ok(Some(Event::Header(len))) = Decoder::new(format).decode(&mut &*octets) {
            let mut out = [0; 8];
            prop_assert_eq!(format.encode(len, &mut out), Ok(octets.len()));
            prop_assert_eq!(&out[..octets.len()], octets);
        }
    }
}

//! The length codec: its laws for every format, and that encoding and decoding agree.
//!
//! Input: octet 0 chooses the format (width, byte order, what is counted), octets 1 to 8 are the maximum, little
//! endian, octet 9 is the length of the pieces, and the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unstick_core::Event;
use unstick_core::length::{
    Counts, DecodeError, Decoder, EncodeError, Endian, Format, FormatError, Width,
};

#[derive(Debug, PartialEq)]
enum Item {
    Header(u64),
    Body(Vec<u8>),
    End,
    Failed(DecodeError),
}

fn decode<'b>(format: Format, pieces: impl Iterator<Item = &'b [u8]>) -> Vec<Item> {
    let mut decoder = Decoder::new(format);
    let mut items = Vec::new();
    for mut input in pieces {
        loop {
            let before = input;
            let event = decoder.decode(&mut input);
            let taken = &before[..before.len() - input.len()];
            assert_eq!(before.as_ptr_range().end, input.as_ptr_range().end);
            match event {
                Ok(None) => break assert!(input.is_empty()),
                Ok(Some(Event::Header(len))) => items.push(Item::Header(len)),
                Ok(Some(Event::Body(piece))) => {
                    assert!(!piece.is_empty());
                    assert_eq!(piece.as_ptr_range(), taken.as_ptr_range());
                    match items.last_mut() {
                        Some(Item::Body(body)) => body.extend_from_slice(piece),
                        _ => items.push(Item::Body(piece.to_vec())),
                    }
                }
                Ok(Some(Event::End)) => {
                    assert!(taken.is_empty() && decoder.finish().is_ok());
                    items.push(Item::End);
                }
                Err(error) => {
                    assert_eq!(decoder.decode(&mut input), Err(error));
                    assert_eq!(decoder.finish(), Err(error));
                    items.push(Item::Failed(error));
                    return items;
                }
            }
        }
    }
    items
}

/// The stream again, from its items.
fn encode(format: Format, items: &[Item]) -> Vec<u8> {
    let mut stream = Vec::new();
    for item in items {
        match item {
            Item::Header(len) => {
                let mut prefix = [0; 8];
                let prefix_len = format.encode(*len, &mut prefix).unwrap();
                stream.extend_from_slice(&prefix[..prefix_len]);
            }
            Item::Body(body) => stream.extend_from_slice(body),
            Item::End | Item::Failed(_) => {}
        }
    }
    stream
}

fuzz_target!(|input: &[u8]| {
    let [kind, rest @ ..] = input else {
        return;
    };
    let Some((max_len, [piece_len, stream @ ..])) = rest.split_first_chunk() else {
        return;
    };
    let width = [Width::U8, Width::U16, Width::U24, Width::U32, Width::U64][usize::from(kind % 5)];
    let endian = [Endian::Big, Endian::Little][usize::from(kind / 5 % 2)];
    let counts = [Counts::Body, Counts::Frame][usize::from(kind / 10 % 2)];
    let longest = Format::new(width, endian, counts);
    let max_len = u64::from_le_bytes(*max_len);
    let format = match longest.with_max_len(max_len) {
        Ok(format) => format,
        Err(error) => {
            assert!(max_len > longest.max_len());
            assert_eq!(error, FormatError::MaxTooLong(longest.max_len()));
            longest
        }
    };

    let whole = decode(format, std::iter::once(stream));
    assert_eq!(whole, decode(format, stream.chunks(1)));
    assert_eq!(
        whole,
        decode(format, stream.chunks(1 + usize::from(*piece_len)))
    );

    // What was understood is what would have been written, but for the end of it.
    let again = encode(format, &whole);
    assert!(stream.starts_with(&again));
    match whole.last() {
        Some(Item::Failed(DecodeError::BodyTooLong(len))) => {
            assert!(*len > format.max_len());
            assert_eq!(
                format.encode(*len, &mut [0; 8]),
                Err(EncodeError::BodyTooLong)
            );
        }
        Some(Item::Failed(_)) => assert_eq!(counts, Counts::Frame),
        _ => assert!(stream.len() - again.len() < format.prefix_len()),
    }

    // A number is as good as a length.
    let mut out = [0xEE; 9];
    match format.encode(max_len, &mut out) {
        Ok(len) => {
            assert_eq!((len, out[len]), (format.prefix_len(), 0xEE));
            let items = decode(format, std::iter::once(&out[..len]));
            assert_eq!(items[0], Item::Header(max_len));
            let small = format.encode(max_len, &mut out[..len - 1]);
            assert_eq!(small, Err(EncodeError::BufferTooSmall));
        }
        Err(error) => {
            assert!(max_len > format.max_len());
            assert_eq!(error, EncodeError::BodyTooLong);
        }
    }
});

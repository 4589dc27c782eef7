//! What a decoder makes of a stream, held against the four laws and a second decoder.

use std::fmt::Debug;

use unstick_core::{DecodeError, Decoder, Event, Header, PREFIX_LEN};

/// What a stream holds, with neighbouring pieces of a body joined: what no partition may change.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<H> {
    Header(H),
    Body(Vec<u8>),
    End,
    Failed(DecodeError),
}

/// Decodes one piece of a stream, and minds on the way the laws that each call has to keep.
pub fn feed<H: Header + Clone + Debug + PartialEq, const N: usize>(
    decoder: &mut Decoder<H, N>,
    mut input: &[u8],
    items: &mut Vec<Item<H>>,
) {
    loop {
        let before = input;
        let left = decoder.body_left();
        let starved = decoder.needs_input() && input.is_empty();
        let event = decoder.decode(&mut input);
        let taken = &before[..before.len() - input.len()];
        assert_eq!(input.as_ptr_range().end, before.as_ptr_range().end);
        assert_eq!(starved, event == Ok(None) && taken.is_empty());
        match event {
            Ok(None) => {
                // Law 1.
                assert!(input.is_empty() && decoder.needs_input());
                return;
            }
            Ok(Some(Event::Header(header))) => {
                assert_eq!(decoder.body_left(), header.body_len());
                items.push(Item::Header(header));
            }
            Ok(Some(Event::Body(piece))) => {
                // Law 2: not empty, and the very memory that was passed in.
                assert!(!piece.is_empty());
                assert_eq!(piece.as_ptr_range(), taken.as_ptr_range());
                assert_eq!(decoder.body_left(), left - piece.len() as u64);
                match items.last_mut() {
                    Some(Item::Body(body)) => body.extend_from_slice(piece),
                    _ => items.push(Item::Body(piece.to_vec())),
                }
            }
            Ok(Some(Event::End)) => {
                assert!(taken.is_empty() && left == 0 && decoder.is_between_frames());
                items.push(Item::End);
            }
            Err(error) => {
                // Law 4: the error stays, and takes no more input.
                let rest = input;
                assert_eq!(decoder.decode(&mut input), Err(error));
                assert_eq!(decoder.decode(&mut [].as_slice()), Err(error));
                assert_eq!(input.as_ptr_range(), rest.as_ptr_range());
                assert_eq!(decoder.finish(), Err(error));
                assert!(!decoder.needs_input() && !decoder.is_between_frames());
                if !items.contains(&Item::Failed(error)) {
                    items.push(Item::Failed(error));
                }
                return;
            }
        }
    }
}

/// All the items of a stream in these pieces, and what `finish` says of it.
pub fn decode<'b, H: Header + Clone + Debug + PartialEq, const N: usize>(
    max_header_len: usize,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> (Vec<Item<H>>, Result<(), DecodeError>) {
    let mut decoder = Decoder::<H, N>::with_max_header_len(max_header_len);
    assert!(decoder.is_between_frames());
    let mut items = Vec::new();
    for piece in pieces {
        feed(&mut decoder, piece, &mut items);
    }
    (items, decoder.finish())
}

/// The second decoder: has the whole stream before it, and reads as the specification does.
pub fn reference<H: Header>(
    limit: usize,
    mut stream: &[u8],
) -> (Vec<Item<H>>, Result<(), DecodeError>) {
    let mut items = Vec::new();
    while !stream.is_empty() {
        let Some((prefix, rest)) = stream.split_first_chunk::<PREFIX_LEN>() else {
            return (items, Err(DecodeError::Truncated));
        };
        let len = match i32::from_le_bytes(*prefix) {
            len @ ..=0 => return failed(items, DecodeError::PrefixNotPositive(len)),
            len => len.cast_unsigned(),
        };
        if len as usize > limit {
            return failed(items, DecodeError::HeaderTooLong(len));
        }
        let Some((text, rest)) = rest.split_at_checked(len as usize) else {
            return (items, Err(DecodeError::Truncated));
        };
        let header = match H::decode(&mut text.to_vec(), &mut vec![0; text.len()]) {
            Ok(header) => header,
            Err(error) => return failed(items, error.into()),
        };
        let len = header.body_len();
        items.push(Item::Header(header));
        let here = rest.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let (body, rest) = rest.split_at(here);
        if here > 0 {
            items.push(Item::Body(body.to_vec()));
        }
        if (here as u64) < len {
            return (items, Err(DecodeError::Truncated));
        }
        items.push(Item::End);
        stream = rest;
    }
    (items, Ok(()))
}

fn failed<H>(
    mut items: Vec<Item<H>>,
    error: DecodeError,
) -> (Vec<Item<H>>, Result<(), DecodeError>) {
    items.push(Item::Failed(error));
    (items, Err(error))
}

/// Cuts a stream into pieces of these lengths, over and over.
fn cut<'b>(stream: &'b [u8], lens: &[usize]) -> Vec<&'b [u8]> {
    let (mut rest, mut pieces) = (stream, Vec::new());
    for len in lens.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(*len));
        pieces.push(piece);
        // A piece without an octet is one too.
        pieces.push(&after[..0]);
        rest = after;
    }
    pieces
}

/// Holds every law for this stream, whole, octet by octet and in pieces of these lengths.
pub fn laws_hold<H: Header + Clone + Debug + PartialEq, const N: usize>(
    limit: usize,
    stream: &[u8],
    lens: &[usize],
) {
    let (items, end) = reference::<H>(limit.min(N), stream);
    assert_eq!(decode::<H, N>(limit, [stream]), (items.clone(), end));
    assert_eq!(
        decode::<H, N>(limit, stream.chunks(1)),
        (items.clone(), end)
    );
    assert_eq!(decode::<H, N>(limit, cut(stream, lens)), (items, end));
}

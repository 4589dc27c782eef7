//! Replies as they are on each wire.

use std::io::{self, BufWriter, Read, Write};
use std::mem;

use md5::{Digest, Md5};
use unstick_core::length::{Counts, Endian, Format, Width};
use unstick_core::{Decoder, Event, encode, length};

use super::head::Head;
use super::spool::Spool;
use super::{BUFFER_LEN, Wire};

/// The prefix of the wire `length`.
const LENGTH: Format = Format::new(Width::U32, Endian::Little, Counts::Body);
/// The longest header of a reply that is taken, in octets.
const MAX_HEADER_LEN: usize = 4096;

/// Sends a reply, in as few writes as there can be; `filename` is what a header calls its body.
pub fn send(wire: Wire, filename: &str, mut body: Spool, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_LEN, out);
    let mut start = [0; 256];
    let len = match wire {
        Wire::Framed | Wire::Raw => 0,
        Wire::Length => LENGTH
            .encode(body.len(), &mut start)
            .map_err(io::Error::other)?,
        Wire::Header => {
            let md5 = md5_of(body.reader()?)?;
            let head = Head {
                filename: Some(filename.to_owned()),
                md5: Some(md5),
                total_size: body.len(),
            };
            encode(&head, &mut start).map_err(io::Error::other)?
        }
    };
    out.write_all(&start[..len])?;
    if len == 0 && body.len() == 0 {
        // The peer waits for something to arrive.
        out.write_all(b"\n")?;
    }
    io::copy(&mut body.reader()?, &mut out)?;
    out.flush()
}

fn md5_of(mut octets: impl Read) -> io::Result<String> {
    let mut digest = Md5::new();
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        match octets.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            len => digest.update(&buffer[..len]),
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A reply on its way in.
pub enum Incoming {
    /// Everything is body, for as long as something comes.
    Raw,
    /// A length first.
    Length(length::Decoder),
    /// A header first; and what the digest is to be, and is so far.
    Header {
        decoder: Box<Decoder<Head, MAX_HEADER_LEN>>,
        announced: Option<String>,
        digest: Md5,
    },
}

impl Incoming {
    /// A reply of which nothing has arrived.
    pub fn new(wire: Wire) -> Self {
        match wire {
            Wire::Framed | Wire::Raw => Self::Raw,
            Wire::Length => Self::Length(length::Decoder::new(LENGTH)),
            Wire::Header => Self::Header {
                decoder: Box::default(),
                announced: None,
                digest: Md5::new(),
            },
        }
    }

    /// Whether the reply says where it ends.
    pub fn has_end(&self) -> bool {
        !matches!(self, Self::Raw)
    }

    /// Takes what has arrived, up to the end of a reply, and appends what is body to `body`; whether the reply is whole.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn take(&mut self, octets: &mut &[u8], body: &mut Vec<u8>) -> Result<bool, String> {
        match self {
            Self::Raw => {
                body.extend_from_slice(mem::take(octets));
                Ok(false)
            }
            Self::Length(decoder) => loop {
                match decoder.decode(octets).map_err(|error| error.to_string())? {
                    None => return Ok(false),
                    Some(Event::Header(_)) => {}
                    Some(Event::Body(octets)) => body.extend_from_slice(octets),
                    Some(Event::End) => return Ok(true),
                }
            },
            Self::Header {
                decoder,
                announced,
                digest,
            } => loop {
                match decoder.decode(octets).map_err(|error| error.to_string())? {
                    None => return Ok(false),
                    // Many of these peers have something else where the digest should be.
                    Some(Event::Header(head)) => *announced = head.md5.filter(|md5| is_md5(md5)),
                    Some(Event::Body(octets)) => {
                        digest.update(octets);
                        body.extend_from_slice(octets);
                    }
                    Some(Event::End) => {
                        let found = hex(&digest.finalize_reset());
                        return match announced {
                            Some(md5) if !md5.eq_ignore_ascii_case(&found) => {
                                Err(format!("the body's md5 should be {md5} and is {found}"))
                            }
                            _ => Ok(true),
                        };
                    }
                }
            },
        }
    }
}

fn is_md5(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(wire: Wire, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        send(
            wire,
            "output.txt",
            Spool::of(body).expect("memory"),
            &mut out,
        )
        .expect("memory");
        out
    }

    /// What is taken from `octets`, in pieces of this length.
    fn taken(wire: Wire, octets: &[u8], piece_len: usize) -> Result<(Vec<u8>, bool), String> {
        let mut incoming = Incoming::new(wire);
        let (mut body, mut whole) = (Vec::new(), false);
        for mut piece in octets.chunks(piece_len) {
            assert!(!whole);
            whole = incoming.take(&mut piece, &mut body)?;
        }
        Ok((body, whole))
    }

    #[test]
    fn replies_are_what_those_peers_read() {
        assert_eq!(sent(Wire::Raw, b"hi"), b"hi");
        assert_eq!(sent(Wire::Length, b"hi"), b"\x02\0\0\0hi");
        let header = b"\x51\0\0\0{\"filename\":\"output.txt\",\"md5\":\"49f68a5c8493ec2c0bf489821c21fc3b\",\"total_size\":2}hi";
        assert_eq!(sent(Wire::Header, b"hi"), header);
        // Somebody waits in recv for the answer to a command that says nothing.
        assert_eq!(sent(Wire::Raw, b""), b"\n");
        assert_eq!(sent(Wire::Length, b""), b"\0\0\0\0");
    }

    #[test]
    fn what_is_sent_is_taken_in_any_pieces() {
        for body in [b"".as_slice(), b"hi", &[0xff; 40_000]] {
            for wire in [Wire::Length, Wire::Header] {
                for piece_len in [1, 7, 100_000] {
                    let taken = taken(wire, &sent(wire, body), piece_len);
                    assert_eq!(taken, Ok((body.to_vec(), true)));
                }
            }
        }
    }

    #[test]
    fn a_digest_is_held_against_the_body_if_it_is_one() {
        let reply = |md5: &str| {
            let head = format!("{{\"filename\": \"a\", \"md5\": {md5}, \"total_size\": 2}}");
            let len = u32::try_from(head.len()).expect("short").to_le_bytes();
            [&len, head.as_bytes(), b"hi"].concat()
        };
        for good in ["\"49f68a5c8493ec2c0bf489821c21fc3b\"", "\"xxdxxx\"", "null"] {
            assert_eq!(
                taken(Wire::Header, &reply(good), 9),
                Ok((b"hi".to_vec(), true))
            );
        }
        let bad = reply("\"49f68a5c8493ec2c0bf489821c21fc3c\"");
        assert!(taken(Wire::Header, &bad, 9).is_err_and(|error| error.contains("md5")));
    }
}

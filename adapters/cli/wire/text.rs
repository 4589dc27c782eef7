//! Text that is not UTF-8 on the wire.

use encoding_rs::{Decoder, Encoder, EncoderResult, Encoding, UTF_8};

/// The encoding of this name, one that can be written as well as read.
pub fn encoding(name: &str) -> Result<&'static Encoding, String> {
    let encoding = Encoding::for_label_no_replacement(name.as_bytes())
        .ok_or("no such encoding: try utf-8, gbk, gb18030, big5, shift_jis or euc-kr")?;
    // UTF-16: there, `q` would not be one octet.
    match encoding.output_encoding() == encoding {
        true => Ok(encoding),
        false => Err("one in which ASCII is an octet a character is needed".to_owned()),
    }
}

/// How text is encoded on the wire; `None`: octets are what they are.
#[derive(Debug, Clone, Copy)]
pub struct Text(pub Option<&'static Encoding>);

impl Text {
    /// From the wire to UTF-8.
    pub fn decoder(self) -> Transcoder {
        Transcoder::new(self.0.map(|encoding| (encoding, UTF_8)))
    }

    /// From UTF-8 to the wire.
    pub fn encoder(self) -> Transcoder {
        Transcoder::new(self.0.map(|encoding| (UTF_8, encoding)))
    }
}

/// Text on its way from one encoding to another, in pieces that may end inside a character.
pub struct Transcoder(Option<(Decoder, Encoder)>);

impl Transcoder {
    fn new(encodings: Option<(&'static Encoding, &'static Encoding)>) -> Self {
        let coders = |(from, to): (&'static Encoding, &'static Encoding)| {
            (from.new_decoder_without_bom_handling(), to.new_encoder())
        };
        Self(encodings.map(coders))
    }

    /// Appends to `out` what `octets` are in the other encoding; `last` if no piece follows. Octets that are no
    /// character become U+FFFD, characters that the other encoding does not have become `?`. Whether any did.
    pub fn push(&mut self, octets: &[u8], last: bool, out: &mut Vec<u8>) -> bool {
        let Some((decoder, encoder)) = &mut self.0 else {
            out.extend_from_slice(octets);
            return false;
        };
        let mut text = String::new();
        let mut rest = octets;
        let mut replaced = false;
        loop {
            let room = decoder.max_utf8_buffer_length(rest.len());
            text.reserve(room.unwrap_or(rest.len()));
            let (result, read, malformed) = decoder.decode_to_string(rest, &mut text, last);
            rest = &rest[read..];
            replaced |= malformed;
            if result == encoding_rs::CoderResult::InputEmpty {
                break;
            }
        }
        replaced | encode(encoder, &text, last, out)
    }
}

/// Appends `text`; whether a `?` stands for any of it.
fn encode(encoder: &mut Encoder, mut text: &str, last: bool, out: &mut Vec<u8>) -> bool {
    let mut replaced = false;
    loop {
        let room = encoder.max_buffer_length_from_utf8_without_replacement(text.len());
        out.reserve(room.unwrap_or(text.len()));
        let (result, read) = encoder.encode_from_utf8_to_vec_without_replacement(text, out, last);
        text = &text[read..];
        match result {
            EncoderResult::InputEmpty => return replaced,
            EncoderResult::OutputFull => {}
            EncoderResult::Unmappable(_) => {
                replaced = true;
                // Through the encoder: it may have to leave another state first.
                encode(encoder, "?", false, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{GBK, ISO_2022_JP};

    use super::*;

    /// In pieces of this length.
    fn convert(mut transcoder: Transcoder, octets: &[u8], piece_len: usize) -> (Vec<u8>, bool) {
        let (mut out, mut replaced) = (Vec::new(), false);
        for piece in octets.chunks(piece_len) {
            replaced |= transcoder.push(piece, false, &mut out);
        }
        replaced |= transcoder.push(b"", true, &mut out);
        (out, replaced)
    }

    #[test]
    fn text_is_the_same_in_any_pieces() {
        let gbk = Text(Some(GBK));
        let (utf8, wire) = ("测试 ok", b"\xb2\xe2\xca\xd4 ok");
        for piece_len in 1..8 {
            let to = convert(gbk.encoder(), utf8.as_bytes(), piece_len);
            assert_eq!(to, (wire.to_vec(), false));
            let from = convert(gbk.decoder(), wire, piece_len);
            assert_eq!(from, (utf8.as_bytes().to_vec(), false));
        }
    }

    #[test]
    fn what_cannot_be_said_is_replaced_and_never_lost() {
        for piece_len in 1..8 {
            let to = convert(Text(Some(GBK)).encoder(), "a😀b".as_bytes(), piece_len);
            assert_eq!(to, (b"a?b".to_vec(), true));
            let from = convert(Text(Some(GBK)).decoder(), b"a\xffb\xb2", piece_len);
            assert_eq!(from, ("a\u{fffd}b\u{fffd}".as_bytes().to_vec(), true));
            let jis = convert(
                Text(Some(ISO_2022_JP)).encoder(),
                "日😀本".as_bytes(),
                piece_len,
            );
            let back = convert(Text(Some(ISO_2022_JP)).decoder(), &jis.0, piece_len);
            assert_eq!(back, ("日?本".as_bytes().to_vec(), false));
        }
    }

    #[test]
    fn without_an_encoding_octets_pass_as_they_are() {
        let octets = b"\xff\x00\xb2 ok";
        assert_eq!(
            convert(Text(None).encoder(), octets, 2),
            (octets.to_vec(), false)
        );
    }

    #[test]
    fn encodings_have_names() {
        assert_eq!(encoding("GBK"), Ok(GBK));
        assert_eq!(encoding("gb2312"), Ok(GBK));
        assert_eq!(encoding("utf8"), Ok(UTF_8));
        for wrong in ["utf-16", "replacement", "klingon", ""] {
            assert!(encoding(wrong).is_err(), "{wrong}");
        }
    }
}

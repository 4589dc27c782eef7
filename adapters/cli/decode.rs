//! `unstick decode`

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use unstick_core::{
    DecodeError, Decoder, EncodeError, Event, Header, HeaderError, PREFIX_LEN, Request,
};
use unstick_std::HEADER_CAPACITY;

use crate::args::Decode;
use crate::failure::Failure;
use crate::hex::HexReader;
use crate::printable::Printable;

/// The most octets of a body that are printed.
const PREVIEW_LEN: usize = 256;
/// Octets that are read at a time.
const BUFFER_LEN: usize = 64 * 1024;

/// Prints the frames of the input as lines of JSON.
pub fn run(args: &Decode) -> Result<ExitCode, Failure> {
    let path = args.file.as_deref().filter(|path| path.as_os_str() != "-");
    let input: Box<dyn Read> = match path {
        Some(path) => Box::new(File::open(path).map_err(|error| {
            Failure::io(format_args!("cannot open {}", path.display()), &error)
        })?),
        None => Box::new(io::stdin().lock()),
    };
    if args.hex {
        decode(HexReader::new(input), io::stdout().lock())?;
    } else {
        decode(input, io::stdout().lock())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints one line for each whole frame of `input`.
fn decode(mut input: impl Read, output: impl Write) -> Result<(), Failure> {
    let mut lines = Lines {
        output: io::BufWriter::new(output),
        frame: None,
        offset: 0,
        frame_offset: 0,
    };
    let mut decoder = Decoder::<SentHeader, HEADER_CAPACITY>::new();
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let len = match input.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                lines.flush()?;
                return Err(Failure::io("cannot read the input", &error));
            }
        };
        let mut piece = &buffer[..len];
        loop {
            let before = piece.len();
            let event = decoder.decode(&mut piece);
            lines.offset += (before - piece.len()) as u64;
            match event {
                Ok(Some(event)) => lines.step(event)?,
                Ok(None) => break,
                Err(error) => return lines.end(error),
            }
        }
        // What was decoded is not kept back while more is waited for.
        lines.flush()?;
        if len == 0 {
            return decoder.finish().or_else(|error| lines.end(error));
        }
    }
}

/// The output, and how far the input was decoded.
struct Lines<W: Write> {
    output: io::BufWriter<W>,
    frame: Option<Frame>,
    offset: u64,
    frame_offset: u64,
}

/// A frame whose body arrives.
struct Frame {
    header: SentHeader,
    body_offset: u64,
    preview: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn step(&mut self, event: Event<'_, SentHeader>) -> Result<(), Failure> {
        match event {
            Event::Header(header) => {
                self.frame = Some(Frame {
                    header,
                    body_offset: self.offset,
                    preview: Vec::new(),
                });
            }
            Event::Body(octets) => {
                if let Some(frame) = &mut self.frame {
                    let room = PREVIEW_LEN - frame.preview.len();
                    frame.preview.extend(octets.iter().take(room));
                }
            }
            Event::End => {
                if let Some(frame) = self.frame.take() {
                    let line = frame.line(self.frame_offset);
                    let written = self.output.write_all(line.as_bytes());
                    written.map_err(|error| Failure::output(&error))?;
                }
                self.frame_offset = self.offset;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(|error| Failure::output(&error))
    }

    /// Ends with what is wrong with the input, and where.
    fn end(&mut self, error: DecodeError) -> Result<(), Failure> {
        self.flush()?;
        let start = self.frame_offset;
        let offset = match error {
            DecodeError::Header(error) => start + PREFIX_LEN as u64 + u64::from(error.offset),
            DecodeError::Truncated => self.offset,
            _ => start,
        };
        Err(Failure::Told(format!(
            "bad input at offset {offset}, in the frame that starts at {start}: {error}"
        )))
    }
}

impl Frame {
    fn line(&self, offset: u64) -> String {
        let Self {
            header,
            body_offset,
            preview,
        } = self;
        let header_len = body_offset - offset - PREFIX_LEN as u64;
        let header_text = Printable(&header.text);
        let body_len = header.body_len;
        let mut line = format!(
            "{{\"offset\":{offset},\"header_len\":{header_len},\"header\":{header_text},\
             \"body_offset\":{body_offset},\"body_len\":{body_len},"
        );
        let body_cut = body_len > preview.len() as u64;
        match text_of(preview, body_cut) {
            Some(text) => {
                // A string is always JSON.
                let text = serde_json::to_string(text).unwrap_or_default();
                let _ = write!(line, "\"body\":{}", Printable(&text));
            }
            None => {
                line += "\"body_hex\":\"";
                preview.iter().for_each(|octet| {
                    let _ = write!(line, "{octet:02x}");
                });
                line.push('"');
            }
        }
        line += if body_cut {
            ",\"body_cut\":true}\n"
        } else {
            "}\n"
        };
        line
    }
}

/// The octets as text, if they are; without the last character if the cut goes through it.
fn text_of(octets: &[u8], cut: bool) -> Option<&str> {
    match str::from_utf8(octets) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() && error.valid_up_to() > 0 => {
            str::from_utf8(&octets[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

/// A header as it was sent, all of it; only what the server takes as one.
struct SentHeader {
    text: String,
    body_len: u64,
}

impl Header for SentHeader {
    fn body_len(&self) -> u64 {
        self.body_len
    }

    fn decode(text: &mut [u8], scratch: &mut [u8]) -> Result<Self, HeaderError> {
        let sent = text.to_vec();
        let request = Request::decode(text, scratch)?;
        Ok(Self {
            // A header that is taken is UTF-8.
            text: without_space(&String::from_utf8_lossy(&sent)),
            body_len: request.total_size,
        })
    }

    fn encode(&self, _: &mut [u8]) -> Result<usize, EncodeError> {
        // Nothing is sent here.
        Err(EncodeError::HeaderLength)
    }
}

/// A JSON text without the white space outside of its strings, so that it stands on one line.
fn without_space(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |character: &char| {
        match character {
            _ if escaped => escaped = false,
            '"' => in_string = !in_string,
            '\\' => escaped = true,
            ' ' | '\t' | '\n' | '\r' => return in_string,
            _ => {}
        }
        true
    };
    text.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> (String, Option<String>) {
        let mut output = Vec::new();
        let failure = decode(input, &mut output)
            .err()
            .map(|failure| match failure {
                Failure::Told(sentence) => sentence,
                other => panic!("{other:?}"),
            });
        (String::from_utf8(output).expect("JSON is UTF-8"), failure)
    }

    fn frame(header: &str, body: &[u8]) -> Vec<u8> {
        let len = i32::try_from(header.len()).expect("short").to_le_bytes();
        [&len, header.as_bytes(), body].concat()
    }

    #[test]
    fn headers_are_printed_as_they_were_sent() {
        let header = "{ \"total_size\" : 5,\n\"x\":[1.50e+07, \"a b\\\" \\\\\", \
                      {\"x\":18446744073709551616}], \"x\":null}";
        let mut input = frame(header, b"hello");
        input.extend(frame("{\"total_size\":0}", b""));
        let (lines, failure) = decoded(&input);
        assert_eq!(failure, None);
        assert_eq!(
            lines,
            "{\"offset\":0,\"header_len\":85,\"header\":{\"total_size\":5,\"x\":[1.50e+07,\"a b\\\" \\\\\",\
             {\"x\":18446744073709551616}],\"x\":null},\"body_offset\":89,\"body_len\":5,\"body\":\"hello\"}\n\
             {\"offset\":94,\"header_len\":16,\"header\":{\"total_size\":0},\"body_offset\":114,\"body_len\":0,\
             \"body\":\"\"}\n"
        );
    }

    #[test]
    fn bodies_are_previews() {
        let body = |octets: &[u8]| {
            let header = format!("{{\"total_size\":{}}}", octets.len());
            let (line, failure) = decoded(&frame(&header, octets));
            assert_eq!(failure, None);
            let start = line.find("\"body_len\"").expect("a body");
            line[start..].trim_end().to_owned()
        };
        assert_eq!(body(b"\xff\0"), "\"body_len\":2,\"body_hex\":\"ff00\"}");
        assert_eq!(
            body(b"\x1b[\n\xc2\x9b"),
            "\"body_len\":5,\"body\":\"\\u001b[\\n\\u009b\"}"
        );
        // The cut goes through a character of three octets.
        let long = format!(" {}", "测".repeat(100));
        let cut = format!(
            "\"body_len\":301,\"body\":\" {}\",\"body_cut\":true}}",
            "测".repeat(85)
        );
        assert_eq!(body(long.as_bytes()), cut);
        // A body that ends inside a character is no text.
        assert_eq!(
            body("测".as_bytes().split_at(2).0),
            "\"body_len\":2,\"body_hex\":\"e6b5\"}"
        );
    }

    #[test]
    fn bad_input_is_placed() {
        let good = frame("{\"total_size\":2}", b"ok");
        for (bad, offset) in [
            (&b"\0\0\0\0"[..], 22),
            (b"\xff\xff\xff\xff", 22),
            (b"\0\0\x10\0", 22),
            (b"\x03\0", 24),
            (b"\x02\0\0\0[]", 26),
            (b"\x13\0\0\0{\"total_size\":5, x}", 43),
            (b"\x10\0\0\0{\"total_size\":9}hi", 44),
        ] {
            let (lines, failure) = decoded(&[&good, bad].concat());
            assert_eq!(lines.lines().count(), 1, "the good frame is printed");
            let failure = failure.expect("a sentence");
            let place = format!("bad input at offset {offset}, in the frame that starts at 22: ");
            assert!(failure.starts_with(&place), "{failure}");
        }
    }
}

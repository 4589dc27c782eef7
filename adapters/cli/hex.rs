//! Octets written as hexadecimal text.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

/// How much of a line is looked at as one. Only plain digits, which need no looking at, have longer lines.
const LINE_LEN: u64 = 4096;
/// How many digits an offset has at least in what xxd and hexdump print.
const OFFSET_LEN: usize = 7;

/// Reads octets from text: pairs of digits with or without white space, commas, colons, `0x` or `\x` between
/// them, or lines as xxd and hexdump -C print them, whose offsets and text are passed over.
pub struct HexReader<R> {
    text: BufReader<R>,
    /// How many octets were found so far, and which of them were not read yet.
    count: u64,
    octets: VecDeque<u8>,
    line: u64,
    /// In the middle of a line, for it is a long one.
    inside: bool,
    /// The last line had offsets and a column of text.
    dump: bool,
    half: Option<u8>,
}

impl<R: Read> HexReader<R> {
    /// A reader at the start of `text`.
    pub fn new(text: R) -> Self {
        Self {
            text: BufReader::new(text),
            count: 0,
            octets: VecDeque::new(),
            line: 0,
            inside: false,
            dump: false,
            half: None,
        }
    }

    /// Reads a line, or as much of one as is looked at; false at the end.
    fn read_line(&mut self) -> io::Result<bool> {
        let mut line = Vec::new();
        let len = self
            .text
            .by_ref()
            .take(LINE_LEN)
            .read_until(b'\n', &mut line)?;
        if len == 0 {
            self.separate()?;
            return Ok(false);
        }
        if !self.inside {
            self.line += 1;
        }
        let line_ends = line.ends_with(b"\n");
        let columns = if self.inside {
            &line
        } else {
            self.hex_column(&line)?
        };
        self.digits(columns)?;
        if line_ends {
            self.separate()?;
        }
        self.inside = !line_ends;
        Ok(true)
    }

    /// The part of a line that has the digits.
    fn hex_column<'l>(&mut self, line: &'l [u8]) -> io::Result<&'l [u8]> {
        let line = line.trim_ascii();
        let digits = line
            .iter()
            .take_while(|octet| octet.is_ascii_hexdigit())
            .count();
        let (offset, rest) = line.split_at(digits);
        let was_dump = std::mem::take(&mut self.dump);
        if line == b"*" {
            return Err(
                self.error("`*` stands for lines that are left out; print them with hexdump -v")
            );
        }
        if digits >= OFFSET_LEN && rest.first() == Some(&b':') {
            // xxd: two spaces, then text.
            let rest = rest[1..].trim_ascii_start();
            let end = rest.windows(2).position(|pair| pair == b"  ");
            return Ok(&rest[..end.unwrap_or(rest.len())]);
        }
        if digits >= OFFSET_LEN
            && rest.first() == Some(&b' ')
            && let Some(end) = rest.iter().position(|octet| *octet == b'|')
        {
            self.dump = true;
            return Ok(&rest[..end]);
        }
        if was_dump && digits >= OFFSET_LEN && rest.is_empty() && self.is_count(offset) {
            // The last line of hexdump -C is the length.
            return Ok(&[]);
        }
        Ok(line)
    }

    fn is_count(&self, digits: &[u8]) -> bool {
        let number = str::from_utf8(digits).map(|text| u64::from_str_radix(text, 16));
        matches!(number, Ok(Ok(number)) if number == self.count)
    }

    fn digits(&mut self, text: &[u8]) -> io::Result<()> {
        for octet in text {
            match (char::from(*octet).to_digit(16), self.half) {
                (Some(digit), None) => self.half = Some(digit as u8),
                (Some(digit), Some(high)) => {
                    self.octets.push_back(high << 4 | digit as u8);
                    self.count += 1;
                    self.half = None;
                }
                (None, Some(0)) if matches!(octet, b'x' | b'X') => self.half = None,
                (None, None) if *octet == b'\\' || *octet == b'x' => {}
                (None, _) if octet.is_ascii_whitespace() || matches!(octet, b',' | b':' | b';') => {
                    self.separate()?;
                }
                (None, _) => {
                    let character = char::from(*octet).escape_default();
                    return Err(self.error(format_args!("`{character}` is no hexadecimal digit")));
                }
            }
        }
        Ok(())
    }

    /// Between two octets.
    fn separate(&mut self) -> io::Result<()> {
        match self.half {
            None => Ok(()),
            Some(_) => Err(self.error("an octet has two digits, and here is one alone")),
        }
    }

    fn error(&self, what: impl std::fmt::Display) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("line {}: {what}", self.line),
        )
    }
}

impl<R: Read> Read for HexReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.octets.is_empty() && self.read_line()? {}
        self.octets.read(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(text: &str) -> Result<Vec<u8>, String> {
        let mut octets = Vec::new();
        let read = HexReader::new(text.as_bytes()).read_to_end(&mut octets);
        read.map(|_| octets).map_err(|error| error.to_string())
    }

    #[test]
    fn text_of_many_kinds_is_read() {
        let hello = Ok(b"hello, hello, hello".to_vec());
        for text in [
            "68656c6c6f2c2068656c6c6f2c2068656C6C6F",
            "68 65 6c 6c 6f 2c 20\n68656c6c6f 2c20\r\n\n\t68 65 6c6c 6f\n",
            "0x68,0x65,0x6c,0x6c,0x6f,0x2c,0x20,0x68,0x65,0x6c,0x6c,0x6f,0x2c,0x20,0x68,0x65,0x6c,0x6c,0x6f",
            "\\x68\\x65\\x6c\\x6c\\x6f\\x2c\\x20\\x68\\x65\\x6c\\x6c\\x6f\\x2c\\x20\\x68\\x65\\x6c\\x6c\\x6f",
            "68:65:6c:6c:6f:2c:20:68:65:6c:6c:6f:2c:20:68:65:6c:6c:6f",
            // xxd
            "00000000: 6865 6c6c 6f2c 2068 656c 6c6f 2c20 6865  hello, hello, he\n\
             00000010: 6c6c 6f                                  llo\n",
            // hexdump -C
            "00000000  68 65 6c 6c 6f 2c 20 68  65 6c 6c 6f 2c 20 68 65  |hello, hello, he|\n\
             00000010  6c 6c 6f                                          |llo|\n\
             00000013\n",
        ] {
            assert_eq!(octets(text), hello, "{text}");
        }
        assert_eq!(octets(""), Ok(vec![]));
        assert_eq!(octets("00000000"), Ok(vec![0; 4]));
        let long = "ab".repeat(100_001);
        assert_eq!(octets(&long), Ok(vec![0xab; 100_001]));
    }

    #[test]
    fn what_is_no_hexadecimal_is_placed() {
        for (text, error) in [
            ("68\n6g", "line 2: `g` is no hexadecimal digit"),
            (
                "68 6",
                "line 1: an octet has two digits, and here is one alone",
            ),
            (
                "6 8",
                "line 1: an octet has two digits, and here is one alone",
            ),
            ("\x1b", "line 1: `\\u{1b}` is no hexadecimal digit"),
            (
                "00000000  68 65 6c 6c 6f 2c 20 68  |x|\n*\n",
                "line 2: `*` stands for lines",
            ),
        ] {
            let found = octets(text).expect_err(text);
            assert!(found.starts_with(error), "{found}");
        }
    }
}

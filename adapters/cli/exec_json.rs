//! `unstick exec --json`: what a command writes, as lines of JSON.

use std::io;

use serde_json::{Value, json};
use unstick_core::Stream;

use crate::exec::write;
use crate::printable::Printable;

/// The output as it comes, each stream by itself.
#[derive(Default)]
pub struct Pieces {
    stdout: Cut,
    stderr: Cut,
}

/// The first octets of a character whose others have not come: up to three.
type Cut = Vec<u8>;

impl Pieces {
    /// Prints a piece of a stream.
    pub fn print(&mut self, stream: Stream, octets: &[u8]) -> io::Result<()> {
        let cut = self.cut(stream);
        cut.extend_from_slice(octets);
        let whole = whole_len(cut);
        let rest = cut.split_off(whole);
        let octets = std::mem::replace(cut, rest);
        match octets.is_empty() {
            true => Ok(()),
            false => print(&line(stream, &octets)),
        }
    }

    /// Prints what is left, and how the command has ended.
    pub fn end(mut self, exit: i32) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(self.cut(stream));
            if !rest.is_empty() {
                print(&line(stream, &rest))?;
            }
        }
        print(&json!({"exit": exit}))
    }

    fn cut(&mut self, stream: Stream) -> &mut Cut {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

/// Without a character at the end that is cut.
fn whole_len(octets: &[u8]) -> usize {
    match str::from_utf8(octets) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => octets.len(),
    }
}

fn line(stream: Stream, octets: &[u8]) -> Value {
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    match str::from_utf8(octets) {
        Ok(text) => json!({"stream": name, "text": text}),
        Err(_) => {
            let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            json!({"stream": name, "hex": hex})
        }
    }
}

fn print(line: &Value) -> io::Result<()> {
    let line = format!("{}\n", Printable(&line.to_string()));
    write(io::stdout().lock(), line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut() {
        assert_eq!(whole_len("aé世".as_bytes()), 6);
        assert_eq!(whole_len(b"a\xe4\xb8"), 1);
        assert_eq!(whole_len(b"a\xff"), 2);
        assert_eq!(
            line(Stream::Stderr, b"\xff\n").to_string(),
            r#"{"hex":"ff0a","stream":"stderr"}"#
        );
    }
}

//! What is typed, or comes through a pipe: line by line, read by a thread of its own.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::Waker;
use std::thread;

use super::codec::MAX_TEXT_LEN;
use crate::failure::plain;

/// What has come of the keyboard.
#[derive(Debug)]
pub enum Typed {
    /// A line without its end; and, from an editor, the peer that its prompt showed.
    Line(String, Option<u64>),
    /// What is no line, and why.
    Wrong(String),
    /// Nothing more, and why.
    Broken(String),
    /// Nothing more.
    End,
}

impl Typed {
    /// What a terminal or a file sends that has another encoding.
    pub fn not_utf8() -> Self {
        Self::Wrong("what is not UTF-8 is not sent".to_owned())
    }
}

/// Where lines come from.
pub struct Keyboard {
    typed: Receiver<Typed>,
    next: SyncSender<String>,
    asked: bool,
}

/// A keyboard's other end, of the thread that reads lines.
pub struct Keys {
    typed: SyncSender<Typed>,
    next: Receiver<String>,
    waker: Waker,
}

impl Keys {
    /// Hands on what was typed; whether there is more to read.
    pub fn hand_on(&self, typed: Typed) -> bool {
        let goes_on = !matches!(typed, Typed::Broken(_) | Typed::End);
        let handed_on = self.typed.send(typed).is_ok();
        self.waker.wake_by_ref();
        goes_on && handed_on
    }

    /// Waits until a line is wanted; what it begins with.
    pub fn wanted(&self) -> Option<String> {
        self.next.recv().ok()
    }
}

impl Keyboard {
    /// Of lines that `read` reads on its thread. `waker` is woken for each.
    pub fn start(waker: Waker, read: impl FnOnce(Keys) + Send + 'static) -> Self {
        let (typed_in, typed) = sync_channel(1);
        let (next, next_out) = sync_channel(1);
        let keys = Keys {
            typed: typed_in,
            next: next_out,
            waker,
        };
        thread::spawn(move || read(keys));
        Self {
            typed,
            next,
            asked: false,
        }
    }

    /// What has come, if anything has.
    pub fn take(&mut self) -> Option<Typed> {
        let typed = self.typed.try_recv().ok();
        self.asked &= typed.is_none();
        typed
    }

    /// Whether a line was asked for that has not come.
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    /// Asks for the next line, one that begins with this if it comes from an editor.
    pub fn ask(&mut self, initial: String) {
        // A keyboard that has ended is not asked any more.
        self.asked = self.next.try_send(initial).is_ok();
    }
}

/// Reads lines of standard input.
pub fn read_lines(keys: Keys) {
    let mut input = io::stdin().lock();
    while keys.wanted().is_some() {
        if !keys.hand_on(line(&mut input)) {
            return;
        }
    }
}

fn line(input: &mut impl BufRead) -> Typed {
    let mut line = Vec::new();
    // One octet more than is sent, and the end of the line.
    let most = MAX_TEXT_LEN as u64 + 2;
    match input.by_ref().take(most).read_until(b'\n', &mut line) {
        Err(error) => {
            let error = plain(&error);
            return Typed::Broken(format!("cannot read standard input: {error}"));
        }
        Ok(0) => return Typed::End,
        Ok(_) => {}
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 == most {
        return match skip_line(input) {
            Ok(()) => Typed::Wrong(format!(
                "a line of more than {MAX_TEXT_LEN} octets is too long: not sent"
            )),
            Err(_) => Typed::End,
        };
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    match String::from_utf8(line) {
        Ok(line) => Typed::Line(line, None),
        Err(_) => Typed::not_utf8(),
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let octets = input.fill_buf()?;
        let end = octets.iter().position(|octet| *octet == b'\n');
        let len = end.map_or(octets.len(), |end| end + 1);
        input.consume(len);
        if end.is_some() || len == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_do() {
        let long = "x".repeat(MAX_TEXT_LEN);
        let input = format!("one\r\n\n{long}\n{long}yz and more\n\u{6d4b}\nlast");
        let mut input = input.as_bytes();
        let mut next = || match line(&mut input) {
            Typed::Line(line, None) => line,
            other => format!("{other:?}"),
        };
        assert_eq!(next(), "one");
        assert_eq!(next(), "");
        assert!(next() == long);
        assert!(next().starts_with("Wrong"));
        assert_eq!(next(), "测");
        assert_eq!(next(), "last");
        assert_eq!(next(), "End");
        assert!(matches!(line(&mut b"\xff\n".as_slice()), Typed::Wrong(_)));
    }
}

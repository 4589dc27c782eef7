//! What is known of files, as lines of JSON.

use serde::Serialize;

use super::{Kind, Stat};
use crate::json;
use crate::octets::copy;

/// Lines that wait to be sent, and behind them room for other things.
#[derive(Debug)]
pub(super) struct Lines<const B: usize> {
    octets: [u8; B],
    start: usize,
    end: usize,
}

/// One line (PROTOCOL.md, "stat").
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    writable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<u64>,
    /// Of the type that the others have: one more is 100 octets of a board's flash.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime_ns: Option<u64>,
}

impl<const B: usize> Lines<B> {
    pub(super) const fn new() -> Self {
        Self {
            octets: [0; B],
            start: 0,
            end: 0,
        }
    }

    pub(super) const fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// The octets that wait.
    pub(super) fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// The room behind them.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.octets.get_mut(self.end..).unwrap_or_default()
    }

    /// Appends what is known of `name`, without the end of its line; whether it fits with that.
    pub(super) fn push(&mut self, name: &str, stat: Stat) -> bool {
        let line = Line {
            name,
            kind: stat.kind,
            size: stat.size,
            writable: stat.writable,
            partial: stat.partial,
            mode: stat.attributes.mode.map(|mode| mode.bits().into()),
            mtime_ns: stat.attributes.mtime_ns,
        };
        let len = match self.room().split_last_mut() {
            Some((_, room)) => json::encode(&line, room).unwrap_or(0),
            None => 0,
        };
        self.end = self.end.saturating_add(len);
        len > 0
    }

    /// Ends the line that was pushed, which has left room for that.
    pub(super) fn end_line(&mut self) {
        let octets = copy(self.room(), b"\n");
        self.end = self.end.saturating_add(octets);
    }

    /// Moves octets that wait to `out`, and returns how many.
    pub(super) fn send(&mut self, out: &mut [u8]) -> usize {
        let waiting = self.octets.get(self.start..self.end).unwrap_or_default();
        let sent = copy(out, waiting);
        self.start = self.start.saturating_add(sent);
        sent
    }
}

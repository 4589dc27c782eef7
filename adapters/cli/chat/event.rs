//! What happens in a chat, and how it is printed.

use std::fmt;
use std::net::SocketAddr;

use jiff::ZonedDateTime;
use serde::Serialize;

use crate::printable::Printable;

/// Somebody who is there, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// How many came before, and one.
    pub number: u64,
    /// Where from.
    pub address: SocketAddr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}", self.number, self.address)
    }
}

/// What a peer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Is there.
    Comes,
    /// This, of one line or several.
    Says(String),
    /// Sends back a frame that says why a message is not taken.
    Refuses(String),
    /// Has said goodbye.
    Leaves,
    /// Was said goodbye to.
    Dismissed,
    /// Is not there any more, for this reason.
    Gone(String),
    /// Is not counted any more, for this reason; nobody knows whether it is there.
    Forgotten(String),
}

/// Who, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who.
    pub peer: Peer,
    /// What.
    pub what: What,
}

/// How events are printed.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// As lines of JSON.
    pub json: bool,
    /// With the numbers of peers: there may be several.
    pub numbers: bool,
}

impl Style {
    /// The event as lines, each with its end.
    pub fn lines(self, event: &Event) -> String {
        let now = ZonedDateTime::now();
        match self.json {
            true => self.json(event, &now),
            false => self.text(event, &now),
        }
    }

    fn text(self, Event { peer, what }: &Event, now: &ZonedDateTime) -> String {
        let time = now.strftime("%H:%M:%S");
        let who = match self.numbers {
            true => peer.to_string(),
            false => peer.address.to_string(),
        };
        let line = |what: fmt::Arguments<'_>| format!("{time} {who}{what}\n");
        match what {
            What::Comes => line(format_args!(" comes")),
            // Each line of a peer says whose it is, or it could look like another's.
            What::Says(text) => text
                .lines()
                .map(|text| line(format_args!(": {}", Printable(text))))
                .collect(),
            What::Refuses(why) => line(format_args!(" refuses: {}", Printable(why))),
            What::Leaves => line(format_args!(" leaves")),
            What::Dismissed => line(format_args!(" is said goodbye to")),
            What::Gone(why) => line(format_args!(" is gone: {why}")),
            What::Forgotten(why) => line(format_args!(" is forgotten: {why}")),
        }
    }

    fn json(self, Event { peer, what }: &Event, now: &ZonedDateTime) -> String {
        let (event, text, why) = match what {
            What::Comes => ("comes", None, None),
            What::Says(text) => ("says", Some(text), None),
            What::Refuses(why) => ("refuses", None, Some(why)),
            What::Leaves => ("leaves", None, None),
            What::Dismissed => ("dismissed", None, None),
            What::Gone(why) => ("gone", None, Some(why)),
            What::Forgotten(why) => ("forgotten", None, Some(why)),
        };
        json_line(&Line {
            time: Some(now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()),
            event,
            peer: self.numbers.then_some(peer.number),
            transport: None,
            address: peer.address,
            text: text.map(String::as_str),
            why: why.map(String::as_str),
        })
    }
}

/// Where the operator listens, as a line of JSON.
pub fn listening(transport: &'static str, address: SocketAddr) -> String {
    json_line(&Line {
        time: None,
        event: "listening",
        peer: None,
        transport: Some(transport),
        address,
        text: None,
        why: None,
    })
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'a str>,
    address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

fn json_line(line: &Line<'_>) -> String {
    // Numbers and strings: there is nothing that JSON could not say.
    let line = serde_json::to_string(line).unwrap_or_default();
    format!("{}\n", Printable(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        Event {
            peer: Peer {
                number: 3,
                address: ([127, 0, 0, 1], 7).into(),
            },
            what: What::Says(text.to_owned()),
        }
    }

    #[test]
    fn each_line_says_whose_it_is_and_steers_nothing() {
        let style = Style {
            json: false,
            numbers: true,
        };
        let lines = style.lines(&event("one\r\n\x1b[2Jtwo\rthree\n"));
        let lines: Vec<_> = lines.lines().map(|line| &line[9..]).collect();
        let expected = [
            "#3 127.0.0.1:7: one",
            "#3 127.0.0.1:7: \\u001b[2Jtwo\\u000dthree",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_line_of_json_is_one_line() {
        let style = Style {
            json: true,
            numbers: false,
        };
        let line = style.lines(&event("one\n\u{202e}two"));
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["text"], "one\n\u{202e}two");
        assert_eq!(value["event"], "says");
        assert!(value.get("peer").is_none());
        let time = value["time"].as_str().expect("a string");
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }
}

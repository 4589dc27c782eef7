//! What a typed line means.

use std::net::SocketAddr;

use super::event::Peer;
use crate::printable::Printable;
use crate::wire::is_goodbye;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Order<'l> {
    /// Say this, to one peer or to whom lines go.
    Say(Option<Peer>, &'l str),
    /// Let the lines that follow go to this peer.
    Choose(Peer),
    /// Say goodbye to this peer.
    Dismiss(Peer),
    /// Say who is here.
    List,
    /// Leave.
    Leave,
}

/// What a line of the side means that talks to one operator.
///
/// # Errors
/// A sentence that says why it is not sent.
pub fn plain(line: &str) -> Result<Order<'_>, String> {
    if is_goodbye(line.as_bytes()) {
        return Ok(Order::Leave);
    }
    match line.trim().is_empty() {
        true => Err("an empty line is no message: not sent".to_owned()),
        false => Ok(Order::Say(None, line)),
    }
}

/// What a line of the operator means, with these peers `here`.
///
/// # Errors
/// A sentence that says why nothing is done.
pub fn of_operator<'l>(line: &'l str, here: &[Peer]) -> Result<Order<'l>, String> {
    let Some(rest) = line.strip_prefix('@') else {
        return plain(line);
    };
    if rest.starts_with('@') {
        return Ok(Order::Say(None, rest));
    }
    let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if name.is_empty() {
        return match text.trim().is_empty() {
            true => Ok(Order::List),
            false => Err(
                "behind @ a peer is missing: `@1 TEXT`, or `@@` for a text with `@` in front"
                    .to_owned(),
            ),
        };
    }
    let Some(peer) = here.iter().copied().find(|peer| is_called(*peer, name)) else {
        return Err(format!(
            "nobody here is @{}: {}",
            Printable(name),
            list(here)
        ));
    };
    let text = text.trim_start();
    match text.trim().is_empty() {
        true => Ok(Order::Choose(peer)),
        false if is_goodbye(text.as_bytes()) => Ok(Order::Dismiss(peer)),
        false => Ok(Order::Say(Some(peer), text)),
    }
}

/// By number, with or without `#`, or by address.
fn is_called(peer: Peer, name: &str) -> bool {
    let number = name.strip_prefix('#').unwrap_or(name);
    number.parse() == Ok(peer.number) || name.parse::<SocketAddr>() == Ok(peer.address)
}

/// Who is here.
pub fn list(here: &[Peer]) -> String {
    /// The most that are named.
    const NAMED: usize = 16;
    if here.is_empty() {
        return "nobody is here".to_owned();
    }
    let named: Vec<_> = here.iter().take(NAMED).map(Peer::to_string).collect();
    let more = match here.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("here: {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u64) -> Peer {
        Peer {
            number,
            address: ([127, 0, 0, 1], 5000 + number as u16).into(),
        }
    }

    #[test]
    fn lines_of_an_operator() {
        let here = [peer(1), peer(12)];
        let order = |line| of_operator(line, &here);
        for (line, expected) in [
            ("hello", Order::Say(None, "hello")),
            ("  indented", Order::Say(None, "  indented")),
            ("@12 hello  you", Order::Say(Some(peer(12)), "hello  you")),
            ("@#1 @2", Order::Say(Some(peer(1)), "@2")),
            ("@127.0.0.1:5012 hi", Order::Say(Some(peer(12)), "hi")),
            ("@@1 hi", Order::Say(None, "@1 hi")),
            ("@1", Order::Choose(peer(1))),
            ("@1  ", Order::Choose(peer(1))),
            ("@1 q", Order::Dismiss(peer(1))),
            ("@", Order::List),
            ("q", Order::Leave),
            ("Q ", Order::Leave),
            ("quit", Order::Say(None, "quit")),
        ] {
            assert_eq!(order(line), Ok(expected), "{line}");
        }
        for wrong in ["", "  ", "@2 hi", "@me hi", "@ hi", "@127.0.0.1:1 hi"] {
            assert!(order(wrong).is_err(), "{wrong:?}");
        }
        let unknown = order("@2 hi").expect_err("nobody");
        assert_eq!(
            unknown,
            "nobody here is @2: here: #1 127.0.0.1:5001, #12 127.0.0.1:5012"
        );
        assert_eq!(plain("@1 hi"), Ok(Order::Say(None, "@1 hi")));
    }
}

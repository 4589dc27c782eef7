//! What one socket has been sent.

use core::net::SocketAddr;

use embedded_nal::{TcpError as _, TcpErrorKind};
use wincwifi::{Handle, StackError};

/// As much as wincwifi takes from the module at once.
const LEN: usize = 1500;

/// The place of what one socket has been sent, and what goes on with it.
#[derive(Debug)]
pub struct Inbox {
    /// The socket, if it is in use.
    pub(crate) owner: Option<Handle>,
    pub(crate) state: State,
    /// The module has something to send, and has not said yet that it is sent; or it has just been given a datagram.
    pub(crate) sending: bool,
    pub(crate) octets: [u8; LEN],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The module has not been asked.
    Idle,
    /// The module has been asked; until it answers, anything else that is done with the socket makes wincwifi forget that.
    Asked,
    /// These octets are to be taken; the peer's address is known for datagrams.
    Holds(usize, usize, Option<SocketAddr>),
    /// The peer has closed the connection, and so has the module.
    Ended,
    /// The connection is no more.
    Broken,
}

impl Inbox {
    /// One that is free.
    pub const FREE: Self = Self {
        owner: None,
        state: State::Idle,
        sending: false,
        octets: [0; LEN],
    };

    /// Takes or frees it.
    pub(crate) fn reset(&mut self, owner: Option<Handle>) {
        self.owner = owner;
        self.state = State::Idle;
        self.sending = false;
    }

    /// Moves as many octets as there is room for, and says how many, and where they are from; none if it holds nothing.
    pub(crate) fn take(&mut self, room: &mut [u8]) -> Option<(usize, Option<SocketAddr>)> {
        let State::Holds(start, end, peer) = self.state else {
            return None;
        };
        let held = self.octets.get(start..end).unwrap_or_default();
        let len = held.len().min(room.len());
        room.iter_mut().zip(held).for_each(|(to, from)| *to = *from);
        self.state = match start + len < end {
            true => State::Holds(start + len, end, peer),
            false => State::Idle,
        };
        Some((len, peer))
    }
}

/// What a receive of wincwifi on a connection has come to.
pub(crate) fn stream(result: nb::Result<usize, StackError>) -> State {
    match result {
        Ok(0) => State::Ended,
        Ok(len) => State::Holds(0, len, None),
        Err(nb::Error::WouldBlock) => State::Asked,
        Err(nb::Error::Other(error)) => match error {
            error if was_not_asked(&error) => State::Idle,
            error if error.kind() == TcpErrorKind::PipeClosed => State::Ended,
            _ => State::Broken,
        },
    }
}

/// What a receive of wincwifi of a datagram has come to.
pub(crate) fn datagram(result: nb::Result<(usize, SocketAddr), StackError>) -> State {
    match result {
        Ok((len, peer)) => State::Holds(0, len, Some(peer)),
        Err(nb::Error::WouldBlock) => State::Asked,
        // Whatever it was, it was about one datagram.
        Err(nb::Error::Other(_)) => State::Idle,
    }
}

/// Whether a receive ended before the module was asked: the bus has failed; or the module's time was over, and the gate was
/// shut when wincwifi wanted to ask again.
fn was_not_asked(error: &StackError) -> bool {
    matches!(
        error,
        StackError::ReceiveFailed(_) | StackError::DispatchError(_)
    )
}

//! What TCP and UDP have in common for a chat.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::PollFd;

use super::event::{Event, Peer};

/// How many peers there may be at once.
pub const MAX_PEERS: usize = 256;
/// How long a goodbye may take: for the other side to close, or to answer.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// The most octets that are received at a time; all of a long message, where they are there.
pub const RECEIVE_LEN: usize = 64 * 1024;

/// Peers, and the way to them. Nothing here waits.
pub trait Transport {
    /// Adds what is to be waited for; what peers send only if that is `reading`.
    fn watch<'t>(&'t self, reading: bool, fds: &mut Vec<PollFd<'t>>);

    /// When something is to be done even if nothing happens, other than what waits until it is `reading`.
    fn deadline(&self, reading: bool) -> Option<Instant>;

    /// Does what can be done, and adds what happened to `events`; takes what peers send only if `reading`.
    fn step(&mut self, reading: bool, events: &mut Vec<Event>);

    /// Who is here, in the order they came.
    fn here(&self) -> Vec<Peer>;

    /// Sends `text` to a peer that is here.
    ///
    /// # Errors
    /// A sentence that says why it is not sent.
    fn send(&mut self, peer: Peer, text: &str) -> Result<(), String>;

    /// Says goodbye to a peer, who is not here from then on.
    fn part(&mut self, peer: Peer);

    /// Until when to wait for a peer to take what was sent to it; `None` if it has.
    fn patience(&self, peer: Peer) -> Option<Instant>;

    /// Whether every goodbye has come to its end.
    fn has_parted(&self) -> bool;
}

/// Numbers for those who come.
#[derive(Debug, Default)]
pub struct Numbers(u64);

impl Numbers {
    /// The next peer, which comes from this address.
    pub fn next(&mut self, address: SocketAddr) -> Peer {
        self.0 += 1;
        Peer {
            number: self.0,
            address,
        }
    }
}

//! How long things may take.

use smoltcp::time::Duration;

/// How long things may take, and where ephemeral ports begin.
///
/// All times are kept by [`Stack::poll`](crate::Stack::poll), and count from the first poll that sees what they are about.
/// smoltcp's own `set_timeout` stays off: it ends healthy connections that are merely idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A listening socket is held for at most this long by a handshake that is not completed. 5 s.
    pub handshake: Duration,
    /// A peer in the [backlog](crate::Stack::add_backlog) is dropped when it has not repeated its SYN for this long. 5 s: one that
    /// still waits repeats it, mostly after 1, 2, 4 and 8 s, and one that has given up is not to get a socket.
    pub backlog: Duration,
    /// An attempt to connect ends with [`Error::TimedOut`](crate::Error::TimedOut) after this. 30 s.
    pub connect: Duration,
    /// A closed socket delivers what is left and says goodbye for at most this long; then it is reset. 20 s.
    pub close: Duration,
    /// A datagram that cannot leave holds up those behind it for at most this long; then all of them are dropped, with
    /// what the socket has received. smoltcp by itself waits for ever for a neighbor that does not exist. 1.5 s.
    pub datagram: Duration,
    /// How long an acknowledgement waits for a reply to travel with. 1 ms: a request and its reply are two frames rather
    /// than four, and a peer whose small writes wait for each other (Nagle) loses 1 ms, not smoltcp's 10. For a board whose
    /// clock ticks more coarsely, `None` acknowledges at once.
    pub ack_delay: Option<Duration>,
    /// The first ephemeral port that is tried. Choose another one at each boot, and peers that still remember the last
    /// boot's connections do not get in the way. Below 49152 counts as 49152.
    pub ephemeral_port: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            backlog: Duration::from_secs(5),
            connect: Duration::from_secs(30),
            close: Duration::from_secs(20),
            datagram: Duration::from_millis(1500),
            ack_delay: Some(Duration::from_millis(1)),
            ephemeral_port: 49152,
        }
    }
}

//! How much of everything: what makes a run long is here.

/// Connections that are made one after the other.
pub const CONNECTIONS_IN_A_ROW: usize = 500;
/// Connections of one burst, and how many bursts there are.
pub const BURST: usize = 16;
/// How often there is such a burst.
pub const BURSTS: usize = 10;
/// Requests that are cut into random pieces, and how often.
pub const REQUESTS_IN_PIECES: usize = 100;
/// How often they are cut.
pub const CUTS: u64 = 5;
/// Requests in one send.
pub const REQUESTS_IN_ONE_SEND: usize = 500;
/// Requests whose replies are left unread until all are sent.
pub const REQUESTS_UNREAD: usize = 100;
/// A body that is longer than any buffer on its way, in octets.
pub const LARGE_BODY: usize = 1024 * 1024 + 3;
/// What is sent behind octets that are no frame, in octets.
pub const FLOOD: usize = 300_000;
/// Frames over TCP, and datagrams, that were made of good ones by changing something.
pub const MUTATIONS: usize = 10_000;
/// Connections on which there is nothing but random octets.
pub const GARBAGE: usize = 200;

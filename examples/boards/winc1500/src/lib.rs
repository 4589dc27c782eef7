//! The ATWINC1500, a Wi-Fi module with a TCP/IP stack of its own, for the servers of unstick.
//!
//! The crate wincwifi 0.3 drives the module and implements embedded-nal. What it leaves open or gets wrong, for a server,
//! was read from its source and is mended here by [`Stack`], which is wincwifi's client behind a gate. None of it has
//! been tried on a module: `tests/` has one made of software.
//!
//! | situation | wincwifi 0.3 | [`Stack`] |
//! |---|---|---|
//! | every call | takes at most one event from the module first | the same; [`Stack::poll`] does nothing else |
//! | TCP receive, nothing there | asks the module, then `WouldBlock` | the same |
//! | TCP receive, end of stream or reset | `PipeClosed`, once; the module has closed its side too | `Ok(0)`, every time |
//! | TCP receive, the module's time is over | asks again, `WouldBlock` | `WouldBlock` |
//! | TCP receive, more arrives than there is room for | the rest is kept, until the next send or another socket's data | kept |
//! | TCP receive on two sockets | one buffer for all: the later data overwrites the former | a buffer for each |
//! | TCP send | hands it over, `WouldBlock`; the length once it is sent | the same; at most 1400 octets at a time |
//! | TCP send while a receive waits | the receive is forgotten, and what arrives for it is lost | waits, half a second at most |
//! | bind, listen | fail unless the module answers at once | the module is given 50 ms |
//! | accept | hands over one that was not asked for first; panics if the module says that accepting failed | the same |
//! | UDP receive, longer than the buffer | the rest passes for another datagram | the rest is cut off |
//! | UDP send | hands it over, `WouldBlock`; again until it is sent | `Ok` when it is handed over |
//! | UDP send while a receive waits | the receive is forgotten, and the next datagram is lost | `WouldBlock` until it has ended; so the receive right behind a send does not ask the module |
//! | UDP send, more than 1400 octets | sends 1400 | [`Error::TooLong`] |
//! | half-close | none | none |
//!
//! With that, a receive of no octets is the end, and nothing is left for a policy to say: it is [`Policy`].
//!
//! The module has 7 TCP sockets, of which one listens, and 4 for UDP; it accepts up to 4 peers ahead. No call waits for
//! the network; bind and listen take half a second each, in which all other events are taken. What cannot be mended from outside of wincwifi:
//!
//! - It tells the module that it has read an event before it has read the data that belongs to it.
//! - Sockets that were accepted all have the session 0, so that what was said of a closed connection is taken for the
//!   next one's that has its number.
//! - It panics when the module says what it does not know.
//! - It makes a table of 256 words, on the call stack, for the checksum of each command.
#![no_std]
#![forbid(unsafe_code)]

mod gate;
mod inbox;
mod stack;

pub use gate::{Gate, Lock};
pub use inbox::Inbox;
pub use stack::{Error, Stack, TcpSocket, UdpSocket};
/// How the [`Stack`] is to be understood.
pub use unstick_nal::ZeroIsEnd as Policy;

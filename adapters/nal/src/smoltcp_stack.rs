//! unstick-smoltcp as it is: smoltcp on a board.
//!
//! ```
//! use unstick_core::services::Echo;
//! use unstick_nal::{Limits, Slot, TcpServer, smoltcp_stack};
//! use unstick_smoltcp::smoltcp::phy::Device;
//! use unstick_smoltcp::smoltcp::time::Instant;
//! use unstick_smoltcp::{Error, Stack};
//!
//! // As many sockets as slots, and two more: one for the peer that is told `busy`, one for who comes next.
//! fn serve(stack: &mut Stack<'_, impl Device, 6, 0>, clock: fn() -> Instant) -> Result<(), Error> {
//!     let mut slots: [Slot<_, Echo<64>, 256, 128, 256>; 4] = [const { Slot::FREE }; 4];
//!     let policy = smoltcp_stack::Policy;
//!     let mut server = TcpServer::bind(stack, 8896, policy, Limits::default(), &mut slots)?;
//!     loop {
//!         let now = clock();
//!         stack.poll(now);
//!         let idle = server.poll(stack, smoltcp_stack::since_boot(now), |_peer| Echo::new()).is_err();
//!         // What was sent or closed is on its way with the next poll of the stack.
//!         let delay = stack.poll_delay(now);
//!         # let _ = (idle, delay);
//!         # if true { break }
//!         // If it is idle, a board sleeps until its network interrupts, for that long, or until the server's `next_deadline`.
//!     }
//!     # Ok(())
//! }
//! ```

use core::net::SocketAddr;
use core::time::Duration;

use unstick_smoltcp::smoltcp::phy::Device;
use unstick_smoltcp::smoltcp::time::Instant;
use unstick_smoltcp::{Error, Stack, TcpSocket};

use crate::policy::{Received, TcpPolicy, UdpPolicy, UdpReceived};

/// unstick-smoltcp 0.1 as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy;

/// smoltcp's clock in the terms of the servers: how long it has run.
pub fn since_boot(now: Instant) -> Duration {
    Duration::from_micros(u64::try_from(now.total_micros()).unwrap_or(0))
}

impl<D: Device, const TCP: usize, const UDP: usize> TcpPolicy<Stack<'_, D, TCP, UDP>> for Policy {
    const ZERO_IS_END: bool = true;

    fn received(&mut self, result: nb::Result<usize, Error>) -> Received {
        match result {
            Ok(0) => Received::End,
            Ok(octets) => Received::Octets(octets),
            Err(nb::Error::WouldBlock) => Received::Nothing,
            // `Closed`, whose kind is that of an end elsewhere, is a reset here.
            Err(nb::Error::Other(_)) => Received::Gone,
        }
    }

    fn half_close(&mut self, stack: &mut Stack<'_, D, TCP, UDP>, socket: &mut TcpSocket) -> bool {
        stack.shutdown(socket).is_ok()
    }
}

impl<D: Device, const TCP: usize, const UDP: usize> UdpPolicy<Stack<'_, D, TCP, UDP>> for Policy {
    fn received(&mut self, result: nb::Result<(usize, SocketAddr), Error>) -> UdpReceived {
        match result {
            Ok((len, peer)) => UdpReceived::Datagram(len, peer),
            // Of a datagram that was too long nothing is left, not even who sent it; the next may be there already.
            Err(nb::Error::Other(Error::Truncated)) => UdpReceived::Other,
            Err(_) => UdpReceived::Nothing,
        }
    }
}

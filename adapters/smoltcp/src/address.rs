//! Addresses and ports.

use core::net::{IpAddr, SocketAddr};

use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::Error;

/// The first of the ports that are handed out, up to the last there is (RFC 6335).
const EPHEMERAL: u16 = 49152;

/// `remote` in smoltcp's terms, if it is one that can be spoken to. Mapped IPv4 addresses are IPv4 addresses.
pub(crate) fn endpoint(remote: SocketAddr) -> Result<IpEndpoint, Error> {
    let addr = match remote.ip().to_canonical() {
        #[cfg(feature = "proto-ipv4")]
        IpAddr::V4(addr) => IpAddress::Ipv4(addr),
        #[cfg(feature = "proto-ipv6")]
        IpAddr::V6(addr) => IpAddress::Ipv6(addr),
        #[allow(unreachable_patterns)]
        _ => return Err(Error::Unaddressable),
    };
    if addr.is_unspecified() || remote.port() == 0 {
        return Err(Error::Unaddressable);
    }
    Ok(IpEndpoint::new(addr, remote.port()))
}

/// Hands out ephemeral ports, one after the other.
#[derive(Debug)]
pub(crate) struct Ports(u16);

impl Ports {
    pub(crate) fn new(first: u16) -> Self {
        Self(first.max(EPHEMERAL))
    }

    /// The next port that is not `used`.
    pub(crate) fn next(&mut self, used: impl Fn(u16) -> bool) -> Option<u16> {
        for _ in EPHEMERAL..=u16::MAX {
            let port = self.0;
            self.0 = port.checked_add(1).unwrap_or(EPHEMERAL);
            if !used(port) {
                return Some(port);
            }
        }
        None
    }
}

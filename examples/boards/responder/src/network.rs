//! The network: the addresses, and smoltcp's interface with them.

use core::net::Ipv4Addr;
use core::time::Duration;

use smoltcp::iface::{Config, Interface};
use smoltcp::phy::Device;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::board::Board;

/// The board's address: the one that QEMU's user network forwards to.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// How many bits of the address name the network.
const PREFIX_LEN: u8 = 24;
/// Where peers outside of the network are reached.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// `now` as smoltcp counts.
pub fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// The interface on this controller.
pub fn interface<B: Board>(board: &B, nic: &mut impl Device) -> Interface {
    let mut config = Config::new(EthernetAddress(B::MAC).into());
    config.random_seed = board.seed();
    let mut interface = Interface::new(config, nic, instant(board.now()));
    interface.update_ip_addrs(|addresses| {
        // There is room for at least one.
        let _ = addresses.push(IpCidr::new(ADDRESS.into(), PREFIX_LEN));
    });
    let _ = interface.routes_mut().add_default_ipv4_route(GATEWAY);
    interface
}

//! The backlog: peers that have asked for a connection when no socket listened.
//!
//! A peer is held as the frame with its SYN, which is given to smoltcp once a socket listens.

use smoltcp::iface::{Interface, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::time::{Duration, Instant};
#[cfg(feature = "medium-ethernet")]
use smoltcp::wire::{EthernetFrame, EthernetProtocol};
use smoltcp::wire::{IpAddress, IpEndpoint, IpProtocol, TcpPacket, TcpRepr, TcpSeqNumber};
#[cfg(feature = "proto-ipv4")]
use smoltcp::wire::{Ipv4Packet, Ipv4Repr};
#[cfg(feature = "proto-ipv6")]
use smoltcp::wire::{Ipv6Packet, Ipv6Repr};

use crate::clock::after;

/// A SYN over Ethernet and IPv6 that has all the options it can have, and no data.
const FRAME_LEN: usize = 14 + 40 + 60;

/// Room for one peer that waits for a socket: memory for [`Stack::add_backlog`](crate::Stack::add_backlog), 128 octets.
#[derive(Debug, Clone, Copy)]
pub struct Pending {
    frame: [u8; FRAME_LEN],
    /// Octets of the frame.
    len: u8,
    /// The port that the peer asks for.
    port: u16,
    /// When it has last asked.
    since: Instant,
}

const _: () = assert!(size_of::<Pending>() == 128 && FRAME_LEN <= u8::MAX as usize);

impl Pending {
    /// Nobody.
    pub const EMPTY: Self = Self {
        frame: [0; FRAME_LEN],
        len: 0,
        port: 0,
        since: Instant::ZERO,
    };

    /// If the frame is not too long.
    fn new(frame: &[u8], port: u16, since: Instant) -> Option<Self> {
        let mut pending = Self {
            len: u8::try_from(frame.len()).ok()?,
            port,
            since,
            ..Self::EMPTY
        };
        pending.frame.get_mut(..frame.len())?.copy_from_slice(frame);
        Some(pending)
    }

    pub(crate) fn frame(&self) -> &[u8] {
        self.frame.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A segment that begins a connection or resets one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) remote: IpEndpoint,
    pub(crate) local: IpEndpoint,
    /// Else it is a reset.
    is_syn: bool,
    seq: TcpSeqNumber,
    /// How many sequence numbers it takes.
    len: usize,
}

impl Segment {
    /// The segment in a frame that is one as a whole, and valid as far as `sums` are to be checked.
    fn parse(frame: &[u8], medium: Medium, sums: &ChecksumCapabilities) -> Option<Self> {
        match medium {
            #[cfg(feature = "medium-ethernet")]
            Medium::Ethernet => {
                let frame = EthernetFrame::new_checked(frame).ok()?;
                match frame.ethertype() {
                    #[cfg(feature = "proto-ipv4")]
                    EthernetProtocol::Ipv4 => Self::parse_ipv4(frame.payload(), sums),
                    #[cfg(feature = "proto-ipv6")]
                    EthernetProtocol::Ipv6 => Self::parse_ipv6(frame.payload(), sums),
                    _ => None,
                }
            }
            #[cfg(feature = "medium-ip")]
            // The version. smoltcp's own look at it panics on an empty frame.
            Medium::Ip => match frame.first()? >> 4 {
                #[cfg(feature = "proto-ipv4")]
                4 => Self::parse_ipv4(frame, sums),
                #[cfg(feature = "proto-ipv6")]
                6 => Self::parse_ipv6(frame, sums),
                _ => None,
            },
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }

    #[cfg(feature = "proto-ipv4")]
    fn parse_ipv4(octets: &[u8], sums: &ChecksumCapabilities) -> Option<Self> {
        let packet = Ipv4Packet::new_checked(octets).ok()?;
        let fragment = packet.more_frags() || packet.frag_offset() != 0;
        if fragment || packet.next_header() != IpProtocol::Tcp {
            return None;
        }
        let ip = Ipv4Repr::parse(&packet, sums).ok()?;
        Self::parse_tcp(
            packet.payload(),
            ip.src_addr.into(),
            ip.dst_addr.into(),
            sums,
        )
    }

    /// Segments behind extension headers are left to smoltcp: no peer begins with one.
    #[cfg(feature = "proto-ipv6")]
    fn parse_ipv6(octets: &[u8], sums: &ChecksumCapabilities) -> Option<Self> {
        let packet = Ipv6Packet::new_checked(octets).ok()?;
        if packet.next_header() != IpProtocol::Tcp {
            return None;
        }
        let ip = Ipv6Repr::parse(&packet).ok()?;
        Self::parse_tcp(
            packet.payload(),
            ip.src_addr.into(),
            ip.dst_addr.into(),
            sums,
        )
    }

    fn parse_tcp(
        octets: &[u8],
        from: IpAddress,
        to: IpAddress,
        sums: &ChecksumCapabilities,
    ) -> Option<Self> {
        let packet = TcpPacket::new_checked(octets).ok()?;
        let is_syn = packet.syn() && !packet.ack();
        // Before the sum, which is dear: most segments are neither.
        if !(is_syn || packet.rst()) || !from.is_unicast() {
            return None;
        }
        let repr = TcpRepr::parse(&packet, &from, &to, sums).ok()?;
        Some(Self {
            remote: IpEndpoint::new(from, repr.src_port),
            local: IpEndpoint::new(to, repr.dst_port),
            is_syn,
            seq: repr.seq_number,
            len: repr.segment_len(),
        })
    }

    fn is_of(&self, other: &Self) -> bool {
        (self.remote, self.local) == (other.remote, other.local)
    }
}

/// A frame that has arrived, and what is to be known of the stack to judge it.
pub(crate) struct Arrived<'s, 'a> {
    pub(crate) frame: &'s [u8],
    pub(crate) capabilities: &'s DeviceCapabilities,
    pub(crate) interface: &'s Interface,
    pub(crate) sockets: &'s SocketSet<'a>,
    /// The ports that are listened on.
    pub(crate) listeners: &'s [u16],
    pub(crate) now: Instant,
}

/// Who waits for a socket, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Backlog<'a> {
    entries: &'a mut [Pending],
    /// How many of the entries are in use, those in front.
    len: usize,
    /// [`keep`](Self::keep), if there are entries. Called by this pointer only, it is not even linked into firmware that has no
    /// backlog: 1.5 kB of flash.
    keep: Option<fn(&mut Self, &Arrived<'_, '_>) -> bool>,
}

impl<'a> Backlog<'a> {
    pub(crate) fn new(entries: &'a mut [Pending]) -> Self {
        Self {
            keep: (!entries.is_empty()).then_some(Self::keep),
            entries,
            len: 0,
        }
    }

    /// Looks at a frame before the interface does; whether it is kept from it.
    pub(crate) fn look(&mut self, arrived: &Arrived<'_, '_>) -> bool {
        self.keep.is_some_and(|keep| keep(self, arrived))
    }

    /// Keeps the SYN for which no socket listens, and lets go of it at its reset.
    fn keep(&mut self, arrived: &Arrived<'_, '_>) -> bool {
        let (medium, sums) = (arrived.capabilities.medium, &arrived.capabilities.checksum);
        let Some(segment) = Segment::parse(arrived.frame, medium, sums) else {
            return false;
        };
        let Segment { local, is_syn, .. } = segment;
        if !arrived.listeners.contains(&local.port) || !arrived.interface.has_ip_addr(local.addr) {
            return false;
        }
        if !is_syn {
            self.reset(&segment, medium);
            return false;
        }
        let keeps = !crate::tcp::takes(arrived.sockets, &segment);
        if keeps {
            self.hold(arrived.frame, &segment, medium, arrived.now);
        }
        keeps
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    fn held(&self) -> &[Pending] {
        self.entries.get(..self.len).unwrap_or_default()
    }

    /// Whether somebody waits for this port.
    pub(crate) fn holds(&self, port: u16) -> bool {
        self.held().iter().any(|pending| pending.port == port)
    }

    /// Who has waited longest of those whose port is `wanted`.
    pub(crate) fn first(&self, wanted: impl Fn(u16) -> bool) -> Option<usize> {
        self.held().iter().position(|pending| wanted(pending.port))
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Pending> {
        self.held().get(index)
    }

    pub(crate) fn remove(&mut self, index: usize) {
        if let Some(from) = self.entries.get_mut(index..self.len) {
            from.rotate_left(usize::from(!from.is_empty()));
            self.len = self.len.saturating_sub(1);
        }
    }

    fn retain(&mut self, stays: impl Fn(&Pending) -> bool) {
        while let Some(index) = self.held().iter().position(|pending| !stays(pending)) {
            self.remove(index);
        }
    }

    /// Who is of the same connection, and what was held of it.
    fn find(&self, segment: &Segment, medium: Medium) -> Option<(usize, Segment)> {
        self.held().iter().enumerate().find_map(|(index, pending)| {
            // Its sums have been checked.
            let sums = ChecksumCapabilities::ignored();
            let held = Segment::parse(pending.frame(), medium, &sums)?;
            held.is_of(segment).then_some((index, held))
        })
    }

    /// Holds the frame with this SYN, instead of an earlier one of the same connection. Without room for it, and when it is too
    /// long, it is lost: peers send theirs again.
    fn hold(&mut self, frame: &[u8], syn: &Segment, medium: Medium, now: Instant) {
        let Some(pending) = Pending::new(frame, syn.local.port, now) else {
            return;
        };
        let (index, len) = match self.find(syn, medium) {
            Some((index, _)) => (index, self.len),
            None => (self.len, self.len.saturating_add(1)),
        };
        if let Some(entry) = self.entries.get_mut(index) {
            *entry = pending;
            self.len = len;
        }
    }

    /// Lets go of the peer that takes its SYN back. A number that it cannot know is somebody else's.
    fn reset(&mut self, reset: &Segment, medium: Medium) {
        if let Some((index, syn)) = self.find(reset, medium) {
            let ahead = usize::try_from(reset.seq.0.wrapping_sub(syn.seq.0));
            if ahead.is_ok_and(|ahead| ahead <= syn.len) {
                self.remove(index);
            }
        }
    }

    /// Lets go of all who wait for this port.
    pub(crate) fn close(&mut self, port: u16) {
        self.retain(|pending| pending.port != port);
    }

    /// Lets go of who has not asked again for so long.
    pub(crate) fn expire(&mut self, wait: Duration, now: Instant) {
        self.retain(|pending| after(pending.since, wait) > now);
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn deadline(&self, wait: Duration) -> Option<Instant> {
        let all = self.held().iter();
        all.map(|pending| after(pending.since, wait)).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 5000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// What looks like TCP from afar is looked at to its end.
        #[test]
        fn hostile_frames(mut octets in vec(any::<u8>(), 0..200), version: bool, sums: bool) {
            let sums = match sums {
                true => ChecksumCapabilities::default(),
                false => ChecksumCapabilities::ignored(),
            };
            let ip: &[(usize, u8)] = match version {
                false => &[(0, 0x45), (2, 0), (6, 0), (7, 0), (9, 6), (32, 0x50), (33, 2)],
                true => &[(0, 0x60), (4, 0), (6, 6), (52, 0x80), (53, 2)],
            };
            for (at, octet) in ip {
                octets.iter_mut().skip(*at).take(1).for_each(|it| *it = *octet);
            }
            let kind: [u8; 2] = if version { [0x86, 0xdd] } else { [8, 0] };
            let framed = [&[2; 12][..], &kind, &octets].concat();
            for (medium, frame) in [(Medium::Ip, &octets), (Medium::Ethernet, &framed)] {
                let segment = Segment::parse(frame, medium, &sums);
                prop_assert!(segment.is_none_or(|it| it.is_syn && it.local.port != 0));
            }
        }
    }
}

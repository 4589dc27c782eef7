//! Captures, made octet by octet: what was sent, in the segments that a test wants.

use std::collections::HashMap;

use smoltcp::phy::{ChecksumCapabilities, PcapLinkType, PcapSink};
use smoltcp::time::Instant;
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber, UdpPacket, UdpRepr,
};

/// The port of a server, which the dissector knows.
pub const SERVER: u16 = 8896;

const HERE: Ipv4Address = Ipv4Address::LOCALHOST;

/// A capture in the format of libpcap.
pub struct Capture {
    file: File,
    packets: i64,
    /// The next sequence number of each direction, by its ports.
    next: HashMap<(u16, u16), i32>,
}

impl Capture {
    /// One of no packets.
    pub fn new() -> Self {
        let mut file = File(Vec::new());
        file.global_header(PcapLinkType::Ip);
        let next = HashMap::new();
        Self {
            file,
            packets: 0,
            next,
        }
    }

    /// As a file.
    pub fn file(&self) -> &[u8] {
        &self.file.0
    }

    /// Adds a TCP segment from one port to another.
    pub fn segment(&mut self, ports: (u16, u16), payload: &[u8]) {
        let seen = self.next.get(&(ports.1, ports.0)).copied().unwrap_or(1);
        let next = self.next.entry(ports).or_insert(1);
        let segment = TcpRepr {
            src_port: ports.0,
            dst_port: ports.1,
            control: TcpControl::Psh,
            seq_number: TcpSeqNumber(*next),
            ack_number: Some(TcpSeqNumber(seen)),
            window_len: u16::MAX,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        *next += i32::try_from(payload.len()).expect("a segment");
        let mut octets = vec![0; segment.buffer_len()];
        segment.emit(
            &mut TcpPacket::new_unchecked(&mut octets),
            &IpAddress::Ipv4(HERE),
            &IpAddress::Ipv4(HERE),
            &ChecksumCapabilities::default(),
        );
        self.packet(IpProtocol::Tcp, &octets);
    }

    /// The same of a segment that the capture has missed.
    pub fn missed_segment(&mut self, ports: (u16, u16), len: usize) {
        *self.next.entry(ports).or_insert(1) += i32::try_from(len).expect("a segment");
    }

    /// Adds octets in segments of at most `len`.
    pub fn segments(&mut self, ports: (u16, u16), octets: &[u8], len: usize) {
        for piece in octets.chunks(len) {
            self.segment(ports, piece);
        }
    }

    /// Adds a datagram.
    pub fn datagram(&mut self, ports: (u16, u16), payload: &[u8]) {
        let datagram = UdpRepr {
            src_port: ports.0,
            dst_port: ports.1,
        };
        let mut octets = vec![0; datagram.header_len() + payload.len()];
        datagram.emit(
            &mut UdpPacket::new_unchecked(&mut octets),
            &IpAddress::Ipv4(HERE),
            &IpAddress::Ipv4(HERE),
            payload.len(),
            |room| room.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
        self.packet(IpProtocol::Udp, &octets);
    }

    fn packet(&mut self, next_header: IpProtocol, payload: &[u8]) {
        let ip = Ipv4Repr {
            src_addr: HERE,
            dst_addr: HERE,
            next_header,
            payload_len: payload.len(),
            hop_limit: 64,
        };
        let mut octets = vec![0; ip.buffer_len()];
        let mut header = Ipv4Packet::new_unchecked(&mut octets);
        ip.emit(&mut header, &ChecksumCapabilities::default());
        octets.extend(payload);
        self.packets += 1;
        self.file
            .packet(Instant::from_micros(self.packets), &octets);
    }
}

struct File(Vec<u8>);

impl PcapSink for File {
    fn write(&mut self, data: &[u8]) {
        self.0.extend(data);
    }
}

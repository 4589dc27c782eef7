//! A peer that writes its own segments.

use smoltcp::phy::{ChecksumCapabilities, FaultInjector};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol,
    Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use unstick_smoltcp::Settings;

use super::{CLIENT, Nic, PORT, Port, Queue, SERVER, Server, mac};

/// The peer, and the server that it is on a wire with.
pub struct Raw {
    pub server: Server,
    pub to_server: Queue,
    pub from_server: Queue,
    pub now: Instant,
    pub address: Ipv4Address,
    /// The port of the server that it speaks to.
    pub port: u16,
}

/// What the server says: to which port, and control, sequence number, acknowledged number, length.
pub type Said = (u16, TcpControl, TcpSeqNumber, Option<TcpSeqNumber>, usize);

impl Raw {
    pub fn new() -> Self {
        let (to_server, from_server) = (Queue::default(), Queue::default());
        let nic: Nic = FaultInjector::new(Port::new(&to_server, &from_server, 1), 1);
        Self {
            server: super::stack(nic, SERVER, 2048, Settings::default()),
            to_server,
            from_server,
            now: Instant::ZERO,
            address: CLIENT,
            port: PORT,
        }
    }

    pub fn poll(&mut self) -> Vec<Said> {
        self.server.poll(self.now);
        let mut said = vec![];
        let frames: Vec<_> = self.from_server.borrow_mut().drain(..).collect();
        for frame in frames {
            let frame = EthernetFrame::new_checked(&frame).unwrap();
            match frame.ethertype() {
                EthernetProtocol::Arp => self.answer_arp(frame.payload()),
                _ => {
                    let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
                    let segment = TcpPacket::new_checked(packet.payload()).unwrap();
                    let repr = TcpRepr::parse(
                        &segment,
                        &packet.src_addr().into(),
                        &packet.dst_addr().into(),
                        &ChecksumCapabilities::default(),
                    );
                    let repr = repr.unwrap();
                    said.push((
                        repr.dst_port,
                        repr.control,
                        repr.seq_number,
                        repr.ack_number,
                        repr.payload.len(),
                    ));
                }
            }
        }
        said
    }

    /// Polls until the server has nothing more to say.
    pub fn listen(&mut self) -> Vec<Said> {
        let mut said = vec![];
        while self
            .server
            .poll_at(self.now)
            .is_some_and(|at| at <= self.now)
            || !self.to_server.borrow().is_empty()
        {
            said.extend(self.poll());
        }
        said
    }

    fn answer_arp(&mut self, request: &[u8]) {
        let request = ArpRepr::parse(&ArpPacket::new_checked(request).unwrap()).unwrap();
        let ArpRepr::EthernetIpv4 {
            target_protocol_addr,
            ..
        } = request
        else {
            return;
        };
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: mac(target_protocol_addr),
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: mac(SERVER),
            target_protocol_addr: SERVER,
        };
        self.frame(EthernetProtocol::Arp, reply.buffer_len(), |buffer| {
            reply.emit(&mut ArpPacket::new_unchecked(buffer));
        });
    }

    pub fn frame(&mut self, ethertype: EthernetProtocol, len: usize, emit: impl FnOnce(&mut [u8])) {
        let mut frame = EthernetFrame::new_unchecked(vec![0; 14 + len]);
        EthernetRepr {
            src_addr: mac(self.address),
            dst_addr: mac(SERVER),
            ethertype,
        }
        .emit(&mut frame);
        emit(frame.payload_mut());
        self.to_server.borrow_mut().push_back(frame.into_inner());
    }

    pub fn say(
        &mut self,
        port: u16,
        control: TcpControl,
        seq: i32,
        ack: Option<TcpSeqNumber>,
        payload: &[u8],
    ) {
        let repr = TcpRepr {
            src_port: port,
            dst_port: self.port,
            control,
            seq_number: TcpSeqNumber(seq),
            ack_number: ack,
            window_len: 4096,
            window_scale: None,
            max_seg_size: (control == TcpControl::Syn).then_some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        let ip = Ipv4Repr {
            src_addr: self.address,
            dst_addr: SERVER,
            next_header: IpProtocol::Tcp,
            payload_len: repr.buffer_len(),
            hop_limit: 64,
        };
        let sums = ChecksumCapabilities::default();
        let len = ip.buffer_len() + repr.buffer_len();
        let address = self.address;
        self.frame(EthernetProtocol::Ipv4, len, |buffer| {
            let mut packet = Ipv4Packet::new_unchecked(buffer);
            ip.emit(&mut packet, &sums);
            let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
            repr.emit(&mut segment, &address.into(), &SERVER.into(), &sums);
        });
    }

    /// Shakes hands from a port; the server's number.
    pub fn shake(&mut self, port: u16) -> TcpSeqNumber {
        self.say(port, TcpControl::Syn, 100, None, &[]);
        let said = self.listen();
        let &(to, control, seq, ack, _) = said.last().unwrap();
        assert_eq!(
            (to, control, ack),
            (port, TcpControl::Syn, Some(TcpSeqNumber(101)))
        );
        self.say(port, TcpControl::None, 101, Some(seq + 1), &[]);
        assert_eq!(self.listen(), []);
        seq
    }

    pub fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.listen();
    }
}

//! A queue of the network controller, with what is lent to it (Virtual I/O Device Version 1.2, 2.6 and 2.7).

use riscv::asm;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::mmio::MmioTransport;

use crate::dma::Memory;

/// Packets in a queue, at most.
pub(crate) const LEN: usize = 4;

/// The longest frame, without its checksum.
pub(crate) const FRAME_LEN: usize = 1514;
/// What is before each frame, which asks for nothing (Virtual I/O Device Version 1.2, 5.1.6): at most so long.
pub(crate) const HEADER_LEN: usize = 12;

pub(crate) const PACKET_LEN: usize = HEADER_LEN + FRAME_LEN;

/// A frame and what is before it.
pub(crate) type Packet = [u8; PACKET_LEN];

/// Who writes to the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Direction {
    /// The controller: `receiveq1`.
    Receive = 0,
    /// The program: `transmitq1`.
    Transmit = 1,
}

/// A packet that the controller has, and how much of it.
#[derive(Debug)]
struct Lent {
    packet: &'static mut Packet,
    len: usize,
}

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    queue: VirtQueue<Memory, LEN>,
    direction: Direction,
    /// By the number that the queue has for it.
    lent: [Option<Lent>; LEN],
}

impl Queue {
    /// A queue that is empty; `None` if the controller has none such.
    pub(crate) fn new(
        transport: &mut MmioTransport<'static>,
        direction: Direction,
    ) -> Option<Self> {
        let mut queue = VirtQueue::new(transport, direction as u16, false, false).ok()?;
        // Nobody sleeps until a packet has left.
        queue.set_dev_notify(direction == Direction::Receive);
        Some(Self {
            queue,
            direction,
            lent: Default::default(),
        })
    }

    /// Lends the first octets of a packet to the controller, and tells it. There are no more packets than places.
    pub(crate) fn lend(
        &mut self,
        packet: &'static mut Packet,
        len: usize,
        transport: &mut MmioTransport<'static>,
    ) {
        let lent = Lent { packet, len };
        let octets = lent.packet.get_mut(..len).unwrap_or_default();
        let number = match self.direction {
            // SAFETY: nobody accesses the packet in its place in `lent`, until `take` takes it out of there.
            Direction::Receive => unsafe { self.queue.add(&[], &mut [octets]) },
            // SAFETY: as above.
            Direction::Transmit => unsafe { self.queue.add(&[octets], &mut []) },
        };
        let place = number
            .ok()
            .and_then(|number| self.lent.get_mut(usize::from(number)));
        if let Some(place) = place {
            *place = Some(lent);
        }
        // What is in memory has to be there before the controller is told. It is told always: whether it need be is read
        // without a barrier behind `add`'s last write, so that each side could miss what the other has just written.
        asm::fence();
        transport.notify(self.direction as u16);
    }

    /// Whether the controller gives a packet back.
    pub(crate) fn has_returned(&self) -> bool {
        self.queue.can_pop()
    }

    /// A packet that the controller gives back, and how many octets of it it has written.
    pub(crate) fn take(&mut self) -> Option<(&'static mut Packet, usize)> {
        let number = self.queue.peek_used()?;
        let Lent { packet, len } = self.lent.get_mut(usize::from(number))?.take()?;
        let octets = packet.get_mut(..len).unwrap_or_default();
        let written = match self.direction {
            // SAFETY: the octets that were lent under this number.
            Direction::Receive => unsafe { self.queue.pop_used(number, &[], &mut [octets]) },
            // SAFETY: as above.
            Direction::Transmit => unsafe { self.queue.pop_used(number, &[octets], &mut []) },
        };
        Some((packet, written.ok()? as usize))
    }
}

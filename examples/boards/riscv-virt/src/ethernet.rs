//! The network controller, as a device of smoltcp (Virtual I/O Device Version 1.2, 4.2 and 5.1).

use core::hint;
use core::mem;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use responder::Received;
use riscv::asm;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, TxToken};
use smoltcp::time::Instant;
use static_cell::ConstStaticCell;
use virtio_drivers::PAGE_SIZE;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

use crate::interrupts;
use crate::queue::{self, Direction, FRAME_LEN, HEADER_LEN, PACKET_LEN, Packet, Queue};

/// The machine's virtio bus: so many places, of such a size each, from this address on. The first one's interrupt is 1.
const BUS: usize = 0x1000_1000;
const PLACES: usize = 8;
const PLACE_LEN: usize = 0x1000;

/// A packet's header and frame may share a buffer; all controllers of version 1 have this.
const ANY_LAYOUT: u64 = 1 << 27;
/// The controller complies with version 1 of the specification. QEMU's does on request only.
const VERSION_1: u64 = 1 << 32;
/// The header of older controllers lacks the number of buffers.
const OLD_HEADER_LEN: usize = HEADER_LEN - 2;

/// The last look found no frame, so that an interrupt is pending if one has arrived since.
static DRAINED: AtomicBool = AtomicBool::new(false);

/// Whether all that there is to receive has its interrupt pending, which ends a `wfi`.
pub(crate) fn is_drained() -> bool {
    DRAINED.load(Ordering::Relaxed)
}

/// The network controller.
#[derive(Debug)]
pub struct Ethernet {
    receiver: Queue,
    /// The packet that was received last; the next look lends it to the controller again.
    in_hand: Option<&'static mut Packet>,
    sender: Sender,
}

/// What sending needs.
#[derive(Debug)]
struct Sender {
    transport: MmioTransport<'static>,
    queue: Queue,
    /// Packets that have not been used yet.
    spare: &'static mut [Packet],
    /// The length of what is before each frame.
    header_len: usize,
}

impl Ethernet {
    /// Starts the first controller of the bus; `None` if there is none.
    pub(crate) fn start() -> Option<Self> {
        static PACKETS: ConstStaticCell<[[Packet; queue::LEN]; 2]> =
            ConstStaticCell::new([[[0; PACKET_LEN]; queue::LEN]; 2]);
        let (place, mut transport) = (0..PLACES).find_map(|place| Some((place, find(place)?)))?;
        let header_len = match negotiate(&mut transport) & VERSION_1 {
            0 => OLD_HEADER_LEN,
            _ => HEADER_LEN,
        };
        let mut receiver = Queue::new(&mut transport, Direction::Receive)?;
        let queue = Queue::new(&mut transport, Direction::Transmit)?;
        transport.finish_init();
        let [to_receive, to_send] = PACKETS.try_take()?;
        for packet in to_receive {
            receiver.lend(packet, PACKET_LEN, &mut transport);
        }
        interrupts::enable(place + 1);
        Some(Self {
            receiver,
            in_hand: None,
            sender: Sender {
                transport,
                queue,
                spare: to_send,
                header_len,
            },
        })
    }

    /// A packet that has been received, and its length.
    fn next_packet(&mut self) -> Option<(&'static mut Packet, usize)> {
        let mut next = self.receiver.take();
        if next.is_none() {
            // What comes from here on raises the interrupt again; what came before, this second look finds.
            self.sender.transport.ack_interrupt();
            interrupts::forget();
            asm::fence();
            next = self.receiver.take();
        }
        DRAINED.store(next.is_none(), Ordering::Relaxed);
        next
    }
}

/// The controller in this place of the bus, if there is one.
fn find(place: usize) -> Option<MmioTransport<'static>> {
    let registers = NonNull::new((BUS + place * PLACE_LEN) as *mut _)?;
    // SAFETY: the registers of a device, or of an empty place, of which nobody else has any.
    let transport = unsafe { MmioTransport::new(registers, PLACE_LEN) }.ok()?;
    (transport.device_type() == DeviceType::Network).then_some(transport)
}

/// Resets the controller, and agrees on its features (Virtual I/O Device Version 1.2, 3.1.1); what was agreed on.
fn negotiate(transport: &mut MmioTransport<'static>) -> u64 {
    let known = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    transport.set_status(DeviceStatus::empty());
    transport.set_status(known);
    let features = transport.read_device_features() & (ANY_LAYOUT | VERSION_1);
    transport.write_driver_features(features);
    transport.set_status(known | DeviceStatus::FEATURES_OK);
    transport.set_guest_page_size(PAGE_SIZE as u32);
    features
}

impl Sender {
    fn has_room(&self) -> bool {
        !self.spare.is_empty() || self.queue.has_returned()
    }

    /// A packet to fill.
    fn packet(&mut self) -> Option<&'static mut Packet> {
        match mem::take(&mut self.spare).split_first_mut() {
            Some((first, rest)) => {
                self.spare = rest;
                Some(first)
            }
            None => self.queue.take().map(|(packet, _)| packet),
        }
    }
}

impl Device for Ethernet {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_>)> {
        if let Some(packet) = self.in_hand.take() {
            let transport = &mut self.sender.transport;
            self.receiver.lend(packet, PACKET_LEN, transport);
        }
        let (packet, len) = self.next_packet()?;
        let packet = self.in_hand.insert(packet);
        let frame = packet.get(self.sender.header_len..len).unwrap_or_default();
        Some((Received(frame), Room(&mut self.sender)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        self.sender.has_room().then_some(Room(&mut self.sender))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_LEN;
        capabilities.max_burst_size = Some(queue::LEN);
        capabilities
    }
}

/// Room for a frame to send.
#[derive(Debug)]
pub struct Room<'a>(&'a mut Sender);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let sender = self.0;
        // An answer to a frame that has just arrived may have to wait until an earlier one has left.
        let packet = loop {
            match sender.packet() {
                Some(packet) => break packet,
                None => hint::spin_loop(),
            }
        };
        let end = sender.header_len + len.min(FRAME_LEN);
        let frame = packet.get_mut(sender.header_len..end).unwrap_or_default();
        let result = fill(frame);
        sender.queue.lend(packet, end, &mut sender.transport);
        result
    }
}

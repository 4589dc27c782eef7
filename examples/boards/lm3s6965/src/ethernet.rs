//! The Ethernet controller (chapter 16), as a device of smoltcp.
//!
//! The controller has queues of 2 KiB of its own, and no DMA: the processor moves each word.

use responder::Received;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, TxToken};
use smoltcp::time::Instant;
use static_cell::ConstStaticCell;

use crate::registers::{read, write};

const BASE: usize = 0x4004_8000;
/// Interrupts that are pending; writing acknowledges.
const RIS: usize = BASE;
const IM: usize = BASE + 0x04;
const RCTL: usize = BASE + 0x08;
const TCTL: usize = BASE + 0x0c;
const DATA: usize = BASE + 0x10;
const IA0: usize = BASE + 0x14;
const IA1: usize = BASE + 0x18;
/// How many frames wait.
const NP: usize = BASE + 0x34;
const TR: usize = BASE + 0x38;

const RCTL_RXEN: u32 = 1;
const RCTL_BADCRC: u32 = 1 << 3;
const RCTL_RSTFIFO: u32 = 1 << 4;
const TCTL_TXEN: u32 = 1;
const TCTL_PADEN: u32 = 1 << 1;
const TCTL_CRC: u32 = 1 << 2;
const TCTL_DUPLEX: u32 = 1 << 4;
const IM_RXINT: u32 = 1;
const RIS_FOV: u32 = 1 << 3;
const TR_NEWTX: u32 = 1;

/// The longest frame, without its checksum.
const FRAME_LEN: usize = 1514;
/// Octets of an Ethernet header.
const HEADER_LEN: usize = 14;
/// What the receive queue has besides the frame: its length in front, the checksum behind.
const RX_EXTRA: usize = 6;
/// Frames that the receive queue may hold.
const BURST: usize = 4;

/// The controller's place in the table of interrupts (chapter 2.5, table 2-9).
pub(crate) const INTERRUPT: u16 = 42;

/// A frame has arrived: the program goes on behind its `wfi`, and looks.
pub(crate) extern "C" fn on_frame() {
    write(RIS, IM_RXINT);
}

/// Whether a frame waits.
pub(crate) fn has_frame() -> bool {
    read(NP) != 0
}

/// The Ethernet controller.
#[derive(Debug)]
pub struct Ethernet {
    received: &'static mut [u8; FRAME_LEN],
    to_send: &'static mut [u8; FRAME_LEN],
}

impl Ethernet {
    pub(crate) fn start(mac: &[u8; 6]) -> Self {
        static FRAMES: ConstStaticCell<[[u8; FRAME_LEN]; 2]> =
            ConstStaticCell::new([[0; FRAME_LEN]; 2]);
        let [received, to_send] = FRAMES.take();
        write(RCTL, RCTL_RSTFIFO);
        let [a, b, c, d, e, f] = *mac;
        write(IA0, u32::from_le_bytes([a, b, c, d]));
        write(IA1, u32::from_le_bytes([e, f, 0, 0]));
        write(TCTL, TCTL_DUPLEX | TCTL_CRC | TCTL_PADEN | TCTL_TXEN);
        write(RCTL, RCTL_BADCRC | RCTL_RXEN);
        write(RIS, u32::MAX);
        write(IM, IM_RXINT);
        Self { received, to_send }
    }
}

impl Device for Ethernet {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_>)> {
        if read(RIS) & RIS_FOV != 0 {
            // What has overrun the queue has left parts of frames in it.
            write(RCTL, RCTL_RSTFIFO);
            write(RCTL, RCTL_BADCRC | RCTL_RXEN);
            write(RIS, RIS_FOV);
        }
        if !has_frame() {
            return None;
        }
        // All of it is to be read, or the next one is not where it should be.
        let first = read(DATA);
        let len = (first as usize & 0xffff).saturating_sub(RX_EXTRA);
        let words = (len + RX_EXTRA).div_ceil(4);
        let mut word = (first >> 16).to_le_bytes();
        store(self.received, 0, &word[..2]);
        for index in 1..words {
            word = read(DATA).to_le_bytes();
            store(self.received, index * 4 - 2, &word);
        }
        // A frame that is too long is not one: smoltcp passes over one without octets.
        let len = if len > FRAME_LEN { 0 } else { len };
        let frame = self.received.get(..len).unwrap_or_default();
        Some((Received(frame), Room(self.to_send)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        (read(TR) & TR_NEWTX == 0).then_some(Room(self.to_send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_LEN;
        capabilities.max_burst_size = Some(BURST);
        capabilities
    }
}

/// Copies as many of the octets as there is room for.
fn store(frame: &mut [u8], at: usize, octets: &[u8]) {
    let room = frame.get_mut(at..).unwrap_or_default();
    room.iter_mut()
        .zip(octets)
        .for_each(|(to, from)| *to = *from);
}

/// Room for a frame to send.
#[derive(Debug)]
pub struct Room<'a>(&'a mut [u8; FRAME_LEN]);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let frame = self.0.get_mut(..len).unwrap_or_default();
        let result = fill(frame);
        // While the frame before this one leaves there may be room, but the length in front could not be told apart.
        while read(TR) & TR_NEWTX != 0 {}
        let (start, rest) = frame.split_at(frame.len().min(2));
        let body_len = frame.len().saturating_sub(HEADER_LEN);
        write(DATA, word(start) << 16 | u32::from(body_len as u16));
        rest.chunks(4).for_each(|octets| write(DATA, word(octets)));
        write(TR, TR_NEWTX);
        result
    }
}

/// Up to four octets as the controller takes them: the first one lowest.
fn word(octets: &[u8]) -> u32 {
    octets
        .iter()
        .rev()
        .fold(0, |word, octet| word << 8 | u32::from(*octet))
}

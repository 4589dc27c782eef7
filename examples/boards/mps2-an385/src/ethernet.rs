//! The Ethernet controller, a LAN9220, as a device of smoltcp. Chapters are those of its data sheet, revision 2.9.
//!
//! The controller has queues of its own, of 10,560 octets for what arrives and 4,608 for what leaves, and no DMA: the
//! processor moves each word. QEMU has a LAN9118 in its place, which differs in nothing that is used here.

use responder::Received;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, TxToken};
use smoltcp::time::Instant;
use static_cell::ConstStaticCell;

use crate::registers::{read, write};

const BASE: usize = 0x4020_0000;
/// The queues' ends (chapter 5.2).
const RX_DATA: usize = BASE;
const TX_DATA: usize = BASE + 0x20;
const RX_STATUS: usize = BASE + 0x40;
const TX_STATUS: usize = BASE + 0x48;
/// System control and status (chapter 5.3).
const IRQ_CFG: usize = BASE + 0x54;
const INT_STS: usize = BASE + 0x58;
const INT_EN: usize = BASE + 0x5c;
const BYTE_TEST: usize = BASE + 0x64;
const TX_CFG: usize = BASE + 0x70;
const HW_CFG: usize = BASE + 0x74;
const RX_FIFO_INF: usize = BASE + 0x7c;
const TX_FIFO_INF: usize = BASE + 0x80;
const PMT_CTRL: usize = BASE + 0x84;
const MAC_CSR_CMD: usize = BASE + 0xa4;
const MAC_CSR_DATA: usize = BASE + 0xa8;
/// Registers behind the two above: those of the MAC (chapter 5.4).
const MAC_CR: u32 = 1;
const MAC_ADDRH: u32 = 2;
const MAC_ADDRL: u32 = 3;

const IRQ_CFG_PUSH_PULL: u32 = 1;
const IRQ_CFG_ACTIVE_HIGH: u32 = 1 << 4;
const IRQ_CFG_ENABLE: u32 = 1 << 8;
/// There are more frames than FIFO_INT asks for, which after a reset is none.
const INT_RSFL: u32 = 1 << 3;
const INT_TXE: u32 = 1 << 13;
const INT_RXE: u32 = 1 << 14;
const TX_CFG_TX_ON: u32 = 1 << 1;
const HW_CFG_SRST: u32 = 1;
/// How the memory is divided, in KiB for what leaves; this is what it is after a reset.
const HW_CFG_TX_FIF_SZ: u32 = 5 << 16;
/// Must be one.
const HW_CFG_MBO: u32 = 1 << 20;
const PMT_CTRL_READY: u32 = 1;
const MAC_CSR_BUSY: u32 = 1 << 31;
const MAC_CR_RXEN: u32 = 1 << 2;
const MAC_CR_TXEN: u32 = 1 << 3;
const MAC_CR_FDPX: u32 = 1 << 20;
/// What is said of a frame that has arrived (chapter 3.13.3): its length with its checksum from bit 16.
const RX_STATUS_ERROR: u32 = 1 << 15;
const RX_STATUS_FILTERING_FAIL: u32 = 1 << 30;
/// What goes before a frame to send (chapter 3.12.2): all of it is in one piece.
const TX_COMMAND_A_LAST: u32 = 1 << 12;
const TX_COMMAND_A_FIRST: u32 = 1 << 13;

/// The longest frame, without its checksum.
const FRAME_LEN: usize = 1514;
const CHECKSUM_LEN: usize = 4;
/// Words of the longest frame with its checksum, the last one filled up.
const FRAME_WORDS: usize = (FRAME_LEN + CHECKSUM_LEN).div_ceil(4);
/// Octets that the longest frame takes to send, with the two words before it.
const ROOM: u32 = 4 * (FRAME_WORDS as u32 + 2);
/// Frames of the longest kind that the receive queue holds.
const BURST: usize = 6;

/// The words of a frame, first octet first.
type Frame = [[u8; 4]; FRAME_WORDS];

/// The controller's place in the table of interrupts (AN385, interrupts).
pub(crate) const INTERRUPT: u16 = 13;

/// A frame has arrived: the program goes on behind its `wfi`, and looks.
///
/// The controller asks for the interrupt for as long as the frame is there, so it is silenced until the next [`watch`].
pub(crate) extern "C" fn on_frame() {
    write(INT_EN, 0);
}

/// Has an interrupt tell of the next frame, or of an error; whether there is a frame already.
pub(crate) fn watch() -> bool {
    write(INT_STS, INT_RSFL);
    write(INT_EN, INT_RSFL | INT_RXE | INT_TXE);
    waiting().0 != 0
}

/// What has arrived: frames, and octets of all of them.
fn waiting() -> (u32, u32) {
    let used = read(RX_FIFO_INF);
    (used >> 16 & 0xff, used & 0xffff)
}

/// Whether there is room for the longest frame.
///
/// Takes away what is said of the frames sent before: once there is no room for that, nothing more is sent.
fn has_room() -> bool {
    let state = read(TX_FIFO_INF);
    for _ in 0..state >> 16 & 0xff {
        read(TX_STATUS);
    }
    state & 0xffff >= ROOM
}

/// Writes to a register that says itself when it is done.
fn command(at: usize, value: u32, busy: u32) {
    write(at, value);
    // It does not say so at once; reading this one passes the time (chapter 6.2.1).
    read(BYTE_TEST);
    while read(at) & busy != 0 {}
}

fn write_mac(index: u32, value: u32) {
    write(MAC_CSR_DATA, value);
    command(MAC_CSR_CMD, MAC_CSR_BUSY | index, MAC_CSR_BUSY);
}

/// The Ethernet controller.
#[derive(Debug)]
pub struct Ethernet {
    mac: [u8; 6],
    received: &'static mut Frame,
    to_send: &'static mut Frame,
}

impl Ethernet {
    pub(crate) fn start(mac: [u8; 6]) -> Self {
        static FRAMES: ConstStaticCell<[Frame; 2]> =
            ConstStaticCell::new([[[0; 4]; FRAME_WORDS]; 2]);
        let [received, to_send] = FRAMES.take();
        while read(PMT_CTRL) & PMT_CTRL_READY == 0 {}
        let mut ethernet = Self {
            mac,
            received,
            to_send,
        };
        ethernet.reset();
        ethernet
    }

    /// Empties all queues, and starts anew. The link stays as it is.
    fn reset(&mut self) {
        command(HW_CFG, HW_CFG_SRST, HW_CFG_SRST);
        write(HW_CFG, HW_CFG_MBO | HW_CFG_TX_FIF_SZ);
        let [a, b, c, d, e, f] = self.mac;
        write_mac(MAC_ADDRL, u32::from_le_bytes([a, b, c, d]));
        write_mac(MAC_ADDRH, u32::from_le_bytes([e, f, 0, 0]));
        write(
            IRQ_CFG,
            IRQ_CFG_ENABLE | IRQ_CFG_ACTIVE_HIGH | IRQ_CFG_PUSH_PULL,
        );
        write(TX_CFG, TX_CFG_TX_ON);
        write_mac(MAC_CR, MAC_CR_FDPX | MAC_CR_TXEN | MAC_CR_RXEN);
    }

    /// Takes the next frame out of its queue, if there is one: its length, which is 0 if it is not a sound one.
    fn take(&mut self) -> Option<usize> {
        let (frames, octets) = waiting();
        if frames == 0 {
            return None;
        }
        let status = read(RX_STATUS);
        let len = (status >> 16 & 0x3fff) as usize;
        let words = len.div_ceil(4);
        if words * 4 > octets as usize {
            // What is said of the frame belongs to another one.
            self.reset();
            return None;
        }
        // All of it is read, whatever it is, or the next one is not where it should be. RX_DP_CTRL could skip the rest, but
        // not a short one's, and in QEMU 7.2 the queue is out of step after it.
        let (kept, dropped) = (words.min(FRAME_WORDS), words.saturating_sub(FRAME_WORDS));
        for word in &mut self.received[..kept] {
            *word = read(RX_DATA).to_le_bytes();
        }
        for _ in 0..dropped {
            read(RX_DATA);
        }
        let sound = status & (RX_STATUS_ERROR | RX_STATUS_FILTERING_FAIL) == 0
            && (CHECKSUM_LEN..=FRAME_LEN + CHECKSUM_LEN).contains(&len);
        Some(if sound { len - CHECKSUM_LEN } else { 0 })
    }
}

impl Device for Ethernet {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_>)> {
        // The receiver is out of step, or the transmitter has come to a halt: nothing but a reset helps either.
        if read(INT_STS) & (INT_RXE | INT_TXE) != 0 {
            self.reset();
        }
        if !has_room() {
            return None;
        }
        let len = self.take()?;
        // smoltcp passes over a frame without octets.
        let frame = self.received.as_flattened().get(..len).unwrap_or_default();
        Some((Received(frame), Room(self.to_send)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        has_room().then_some(Room(self.to_send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_LEN;
        capabilities.max_burst_size = Some(BURST);
        capabilities
    }
}

/// Room for a frame to send, here and in the controller.
#[derive(Debug)]
pub struct Room<'a>(&'a mut Frame);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let octets = self.0.as_flattened_mut();
        let frame = octets.get_mut(..len.min(FRAME_LEN)).unwrap_or_default();
        let result = fill(frame);
        let len = frame.len();
        write(TX_DATA, TX_COMMAND_A_FIRST | TX_COMMAND_A_LAST | len as u32);
        write(TX_DATA, len as u32);
        // It fills up short frames, and puts the checksum behind.
        for word in self.0.iter().take(len.div_ceil(4)) {
            write(TX_DATA, u32::from_le_bytes(*word));
        }
        result
    }
}

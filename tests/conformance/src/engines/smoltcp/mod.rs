//! unstick-nal over unstick-smoltcp, as on a board: few slots, short buffers, and a wire that loses, corrupts, repeats and
//! reorders. Real sockets are carried to it as QEMU's user network does.

mod user_network;
#[path = "../../../../../adapters/smoltcp/tests/common/mod.rs"]
mod wire;

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use smoltcp::iface::PollResult;
use smoltcp::phy::{FaultInjector, Medium};
use smoltcp::time::{Duration as WireDuration, Instant as WireInstant};
use unstick_nal::smoltcp_stack::Policy;
use unstick_nal::{Entry, Limits, Slot, TcpServer, UdpServer, UdpSlot};
use unstick_smoltcp::{Pending, Settings, Stack};

use self::user_network::UserNetwork;
use self::wire::{CLIENT, Nic, PORT, Port, Queue, SERVER, leak_with};
use super::passes::{PAUSE, Passes, TIMEOUTS};
use super::{Running, loopback, target};
use crate::service::{Board, info};

/// How many connections it serves at once.
const SLOTS: usize = 4;
/// Sockets of the stack: one for the peer that is told `busy`, one for who comes next.
const SOCKETS: usize = SLOTS + 2;
/// Peers that wait for a socket.
const BACKLOG: usize = 16;
/// Octets of each direction's buffer of a socket.
const SOCKET_LEN: usize = 2048;
/// The longest header, in octets.
const HEADER_LEN: usize = 512;
/// Octets that are read, and written, at a time.
const BUFFER_LEN: usize = 512;
/// The longest datagram, in octets.
const DATAGRAM_LEN: usize = 1024;
/// How many replies over UDP are remembered.
const REPLIES: usize = 8;

/// How much faster the wire's time goes: smoltcp sends a lost segment again after a second, or after 50 times as little.
const HASTE: u32 = 50;
/// Of how many frames in a hundred one is lost or corrupted at each end of the wire, comes twice, and is overtaken.
const DROP: u8 = 1;
const CORRUPT: u8 = 1;
const DUPLICATE: u32 = 2;
const REORDER: u32 = 3;

pub(super) fn start() -> Result<Running> {
    let tcp = TcpListener::bind(loopback(0))?;
    let udp = UdpSocket::bind(loopback(0))?;
    let target = target(tcp.local_addr()?, udp.local_addr()?, SLOTS);
    let (server, ()) = Passes::start(move |stop, ready| serve(stop, ready, tcp, udp))?;
    Ok(Running {
        target,
        server: Box::new(server),
    })
}

/// One end of the wire.
fn nic(inbound: &Queue, outbound: &Queue, seed: u32) -> Nic {
    let mut port = Port::new(inbound, outbound, seed);
    // A frame of Ethernet that is corrupted does not get past its own checksum, which smoltcp leaves to the hardware.
    port.medium = Medium::Ip;
    port.reorder.set(REORDER);
    port.duplicate.set(DUPLICATE);
    let mut nic = FaultInjector::new(port, seed);
    nic.set_drop_chance(DROP);
    nic.set_corrupt_chance(CORRUPT);
    nic
}

/// Deadlines in the haste of the wire.
fn settings() -> Settings {
    let known = Settings::default();
    let long = |time: WireDuration| time * HASTE;
    Settings {
        handshake: long(known.handshake),
        backlog: long(known.backlog),
        connect: long(known.connect),
        // A peer that was let go and never closes holds a socket for so long, and there are few.
        close: long(WireDuration::from_secs(3)),
        datagram: long(known.datagram),
        ..known
    }
}

/// Serves until it is told to stop.
fn serve(stop: &AtomicBool, ready: Sender<()>, tcp: TcpListener, udp: UdpSocket) -> Result<()> {
    let (to_server, to_client) = (Queue::default(), Queue::default());
    let mut network = UserNetwork::new(nic(&to_client, &to_server, 3), CLIENT, tcp, udp)?;
    let nic = nic(&to_server, &to_client, 5);
    let mut stack: Stack<'_, _, SOCKETS, 2> = wire::stack(nic, SERVER, SOCKET_LEN, settings());
    stack.add_backlog(leak_with(BACKLOG, || Pending::EMPTY));
    let stack = &mut stack;

    let limits = Limits {
        timeouts: TIMEOUTS,
        ..Limits::default()
    };
    let board = Board::new("smoltcp", SLOTS);
    let info = info("smoltcp", HEADER_LEN, DATAGRAM_LEN);
    let mut slots: [Slot<_, _, HEADER_LEN, BUFFER_LEN, BUFFER_LEN>; SLOTS] =
        [const { Slot::FREE }; SLOTS];
    let mut tcp = TcpServer::bind(stack, PORT, Policy, limits, &mut slots)?;
    let mut entries = [const { Entry::EMPTY }; REPLIES];
    let mut place = UdpSlot::free();
    let mut udp: UdpServer<'_, _, _, _, HEADER_LEN, { DATAGRAM_LEN + 1 }, DATAGRAM_LEN> =
        UdpServer::bind(stack, PORT, Policy, limits, &mut place, &mut entries)?;
    ready.send(())?;

    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = start.elapsed();
        let on_wire = WireInstant::ZERO + WireDuration::from(now * HASTE);
        let mut moved = network.poll(on_wire);
        moved |= stack.poll(on_wire) != PollResult::None;
        moved |= match tcp.poll(stack, now, |_| board.for_connection(info)) {
            Err(nb::Error::Other(error)) => return Err(anyhow!("cannot accept: {error}")),
            polled => polled.is_ok(),
        };
        moved |= udp.poll(stack, now, |_| board.for_datagram(info)).is_ok();
        if !moved {
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

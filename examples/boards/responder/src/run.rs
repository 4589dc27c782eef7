//! The responder on smoltcp: the stack with its memory, and the loop.

use core::time::Duration;

use heapless::Vec;
use smoltcp::iface::SocketStorage;
use smoltcp::phy::Device;
use smoltcp::socket::{tcp, udp};
use static_cell::{ConstStaticCell, StaticCell};
use unstick_nal::ZeroIsEnd as Policy;
use unstick_smoltcp::{Settings, Stack, TcpSocket};

use crate::application::{Application, PORT, Place, Remembered, UdpPlace};
use crate::board::Board;
use crate::memory::{BUFFER_LEN, DATAGRAM_LEN, DATAGRAMS, REPLIES, SLOTS, SOCKETS};
use crate::network::{ADDRESS, instant, interface};
use crate::shared::Shared;

/// How long the stack has to say goodbye before the board starts anew.
const GOODBYE: Duration = Duration::from_millis(100);

/// The stack on the controller `D`.
type NicStack<D> = Stack<'static, D, SOCKETS, 1>;

/// Both directions' buffers of a TCP socket.
type TcpBuffers = [[u8; BUFFER_LEN]; 2];
/// Both directions' buffers of the UDP socket.
type UdpBuffers = [[u8; DATAGRAMS * DATAGRAM_LEN]; 2];

// Filled at the start rather than in the firmware's image: what is not all zeros would be in flash as well.
static SLOT_MEMORY: ConstStaticCell<Vec<Place<TcpSocket>, SLOTS>> =
    ConstStaticCell::new(Vec::new());
static PLACE_MEMORY: StaticCell<UdpPlace> = StaticCell::new();
static REPLY_MEMORY: ConstStaticCell<Vec<Remembered, REPLIES>> = ConstStaticCell::new(Vec::new());
static SOCKET_MEMORY: ConstStaticCell<Vec<SocketStorage<'static>, { SOCKETS + 1 }>> =
    ConstStaticCell::new(Vec::new());
static TCP_MEMORY: ConstStaticCell<[TcpBuffers; SOCKETS]> =
    ConstStaticCell::new([[[0; BUFFER_LEN]; 2]; SOCKETS]);
static UDP_MEMORY: ConstStaticCell<UdpBuffers> =
    ConstStaticCell::new([[0; DATAGRAMS * DATAGRAM_LEN]; 2]);
static METADATA: ConstStaticCell<[[udp::PacketMetadata; DATAGRAMS]; 2]> =
    ConstStaticCell::new([[udp::PacketMetadata::EMPTY; DATAGRAMS]; 2]);
/// All the places there are, each made by `place`: not inlined, for what that takes of the stack is needed only here.
#[inline(never)]
fn filled<T, const N: usize>(
    memory: &'static ConstStaticCell<Vec<T, N>>,
    place: impl Fn() -> T,
) -> &'static mut [T] {
    let places = memory.take();
    while !places.is_full() {
        let _ = places.push(place());
    }
    places
}

/// Everything that serves, in its memory: not inlined, for what the start takes of the call stack is needed only then.
#[inline(never)]
fn start<B: Board, D: Device>(
    board: &B,
    mut nic: D,
) -> (
    NicStack<D>,
    Application<'static, NicStack<D>, Policy>,
    &'static Shared,
) {
    static SHARED: StaticCell<Shared> = StaticCell::new();
    let shared = SHARED.init(Shared::new(B::NAME, B::stack));
    let settings = Settings {
        ephemeral_port: 49152 | board.seed() as u16,
        ..Settings::default()
    };
    let sockets = filled(&SOCKET_MEMORY, || SocketStorage::EMPTY);
    let interface = interface(board, &mut nic);
    let mut stack = Stack::new(interface, nic, sockets, settings);
    for [receive, transmit] in TCP_MEMORY.take() {
        let [receive, transmit] =
            [receive, transmit].map(|buffer| tcp::SocketBuffer::new(&mut buffer[..]));
        // There is room for as many as there are buffers.
        let _ = stack.add_tcp(tcp::Socket::new(receive, transmit));
    }
    let [receive, transmit] = UDP_MEMORY.take();
    let [received, to_send] = METADATA.take();
    let _ = stack.add_udp(udp::Socket::new(
        udp::PacketBuffer::new(&mut received[..], &mut receive[..]),
        udp::PacketBuffer::new(&mut to_send[..], &mut transmit[..]),
    ));

    let slots = filled(&SLOT_MEMORY, Place::free);
    let place = PLACE_MEMORY.init_with(UdpPlace::free);
    let replies = filled(&REPLY_MEMORY, Remembered::empty);
    let Ok(application) = Application::bind(&mut stack, Policy, slots, place, replies, shared)
    else {
        panic!("the stack has too few sockets");
    };
    (stack, application, shared)
}

/// Serves until told to start anew.
pub fn run<B: Board>(mut board: B, nic: impl Device) -> ! {
    let (mut stack, mut application, shared) = start(&board, nic);
    board.print(format_args!("listening tcp {ADDRESS}:{PORT}"));
    board.print(format_args!("listening udp {ADDRESS}:{PORT}"));
    board.print(format_args!("up"));

    let mut led = false;
    loop {
        let now = board.now();
        stack.poll(instant(now));
        let moved = application.poll(&mut stack, now).is_ok();
        if led != shared.led() {
            led = !led;
            board.set_led(led);
        }
        if application.is_to_reboot(now) {
            break;
        }
        if moved {
            continue;
        }
        // What the servers have left to send is on its way since the poll above, or is waiting for the peer.
        let stack_delay = stack.poll_delay(instant(now)).map(Duration::from);
        let deadline = application.next_deadline(now);
        let deadline = deadline.map(|at| at.saturating_sub(now));
        board.sleep(stack_delay.into_iter().chain(deadline).min());
    }
    let until = board.now().saturating_add(GOODBYE);
    while board.now() < until {
        stack.poll(instant(board.now()));
    }
    board.print(format_args!("starting anew"));
    board.reset()
}

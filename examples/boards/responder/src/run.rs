//! The responder on smoltcp: the stack with its memory, and the loop.

use core::time::Duration;

use heapless::Vec;
use smoltcp::iface::SocketStorage;
use smoltcp::phy::Device;
use smoltcp::socket::{tcp, udp};
use static_cell::{ConstStaticCell, StaticCell};
use unstick_nal::smoltcp_stack::Policy;
use unstick_smoltcp::{Pending, Settings, Stack, TcpSocket};

use crate::application::{Application, PORT, Place, Remembered, UdpPlace};
use crate::board::Board;
use crate::memory::{BACKLOG, BUFFER_LEN, DATAGRAM_LEN, DATAGRAMS, REPLIES, SLOTS, SOCKETS};
use crate::network::{ADDRESS, instant, interface};
use crate::shared::Shared;

/// How long the stack has to say goodbye before the board starts anew.
const GOODBYE: Duration = Duration::from_millis(100);

/// What runs for ever. In one piece, which is used where it is: parts that are moved out of it would be on the call stack twice.
struct Running<D: Device> {
    stack: NicStack<D>,
    application: Application<'static, NicStack<D>, Policy>,
    shared: &'static Shared,
}

/// What the stack has for each peer, in octets.
const SOCKET_LEN: usize = size_of::<SocketStorage<'static>>() + size_of::<TcpBuffers>();

/// How long the stack has to say goodbye to a peer that does not: there are few sockets, and others wait for one.
const CLOSE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(3);

/// Passes of the servers at most for one of the stack.
const PASSES: usize = 8;

/// The stack on the controller `D`.
type NicStack<D> = Stack<'static, D, SOCKETS, 1>;

/// Both directions' buffers of a TCP socket.
type TcpBuffers = [[u8; BUFFER_LEN]; 2];

// Filled at the start rather than in the firmware's image: what is not all zeros would be in flash as well.
static SLOT_MEMORY: ConstStaticCell<Vec<Place<TcpSocket>, SLOTS>> =
    ConstStaticCell::new(Vec::new());
static PLACE_MEMORY: StaticCell<UdpPlace> = StaticCell::new();
static REPLY_MEMORY: ConstStaticCell<Vec<Remembered, REPLIES>> = ConstStaticCell::new(Vec::new());
static SOCKET_MEMORY: ConstStaticCell<Vec<SocketStorage<'static>, { SOCKETS + 1 }>> =
    ConstStaticCell::new(Vec::new());
static BACKLOG_MEMORY: ConstStaticCell<Vec<Pending, BACKLOG>> = ConstStaticCell::new(Vec::new());
static TCP_MEMORY: ConstStaticCell<[TcpBuffers; SOCKETS]> =
    ConstStaticCell::new([[[0; BUFFER_LEN]; 2]; SOCKETS]);
static UDP_RECEIVED: StaticCell<Queue<DATAGRAMS>> = StaticCell::new();
static UDP_TO_SEND: StaticCell<Queue<1>> = StaticCell::new();

/// Datagrams that wait in the stack.
struct Queue<const N: usize> {
    metadata: [udp::PacketMetadata; N],
    octets: [[u8; DATAGRAM_LEN]; N],
}

impl<const N: usize> Queue<N> {
    fn new() -> Self {
        Self {
            metadata: [udp::PacketMetadata::EMPTY; N],
            octets: [[0; DATAGRAM_LEN]; N],
        }
    }

    fn buffer(&mut self) -> udp::PacketBuffer<'_> {
        udp::PacketBuffer::new(&mut self.metadata[..], self.octets.as_flattened_mut())
    }
}

/// What `make` makes, in its memory: not inlined, as below.
#[inline(never)]
fn made<T>(memory: &'static StaticCell<T>, make: impl FnOnce() -> T) -> &'static mut T {
    memory.init_with(make)
}

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
fn start<B: Board, D: Device>(board: &B, mut nic: D) -> Running<D> {
    static SHARED: StaticCell<Shared> = StaticCell::new();
    let shared = made(&SHARED, || Shared::new(B::NAME, B::stack));
    let settings = Settings {
        close: CLOSE,
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
    stack.add_backlog(filled(&BACKLOG_MEMORY, || Pending::EMPTY));
    let _ = stack.add_udp(udp::Socket::new(
        made(&UDP_RECEIVED, Queue::new).buffer(),
        made(&UDP_TO_SEND, Queue::new).buffer(),
    ));

    let slots = filled(&SLOT_MEMORY, Place::free);
    let place = made(&PLACE_MEMORY, UdpPlace::free);
    let replies = filled(&REPLY_MEMORY, Remembered::empty);
    let Ok(application) = Application::bind(
        &mut stack, SOCKET_LEN, Policy, slots, place, replies, shared,
    ) else {
        panic!("the stack has too few sockets");
    };
    Running {
        stack,
        application,
        shared,
    }
}

/// Serves until told to start anew.
pub fn run<B: Board>(mut board: B, nic: impl Device) -> ! {
    let mut running = start(&board, nic);
    board.print(format_args!("listening tcp {ADDRESS}:{PORT}"));
    board.print(format_args!("listening udp {ADDRESS}:{PORT}"));
    board.print(format_args!("up"));

    let mut led = false;
    loop {
        let now = board.now();
        running.stack.poll(instant(now));
        running.application.report(now);
        // The stack's passes are dear: what has arrived is all answered before the next.
        let mut moved = false;
        for _ in 0..PASSES {
            if running.application.poll(&mut running.stack, now).is_err() {
                break;
            }
            moved = true;
        }
        if led != running.shared.led() {
            led = !led;
            board.set_led(led);
        }
        if running.application.is_to_reboot(now) {
            break;
        }
        if moved {
            continue;
        }
        // What the servers have left to send is on its way since the poll above, or is waiting for the peer.
        let stack_delay = running.stack.poll_delay(instant(now)).map(Duration::from);
        let deadline = running.application.next_deadline(now);
        let deadline = deadline.map(|at| at.saturating_sub(now));
        board.sleep(stack_delay.into_iter().chain(deadline).min());
    }
    let until = board.now().saturating_add(GOODBYE);
    while board.now() < until {
        running.stack.poll(instant(board.now()));
    }
    board.print(format_args!("starting anew"));
    board.reset()
}

//! The responder on the Adafruit Feather M0 WiFi.
#![no_std]
#![no_main]

mod board;
mod bus;
mod console;
mod wifi;

use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

use cortex_m_rt::entry;
use heapless::Vec;
use responder::memory::{REPLIES, SLOTS};
use responder::{Application, PORT, Place, Remembered, Shared, UdpPlace};
use static_cell::{ConstStaticCell, StaticCell};
use winc1500::{Inbox, Lock, Policy, Stack, TcpSocket};

use board::{Board, pause};
use bus::Bus;
use wifi::Network;

/// Between two looks whether the access point is still there.
const LOOK: Duration = Duration::from_secs(1);
/// A sleep at most: should the module's interrupt not show an event, it is found then.
const NAP: Duration = Duration::from_millis(10);
/// How long the last replies have to leave before the board starts anew.
const GOODBYE: Duration = Duration::from_millis(100);
/// Before the board starts anew after a failure.
const RETRY: Duration = Duration::from_secs(5);

type Module = Stack<'static, Bus>;
type Servers = Application<'static, Module, Policy>;

// Filled at the start rather than in the firmware's image: what is not all zeros would be in flash as well.
static LOCK: ConstStaticCell<Lock> = ConstStaticCell::new(Lock::new());
/// An inbox for each slot, and one for a peer that is told `busy`.
static TCP_MEMORY: ConstStaticCell<Vec<Inbox, { SLOTS + 1 }>> = ConstStaticCell::new(Vec::new());
static UDP_MEMORY: StaticCell<Inbox> = StaticCell::new();
static SLOT_MEMORY: ConstStaticCell<Vec<Place<TcpSocket>, SLOTS>> =
    ConstStaticCell::new(Vec::new());
static PLACE_MEMORY: StaticCell<UdpPlace> = StaticCell::new();
static REPLY_MEMORY: ConstStaticCell<Vec<Remembered, REPLIES>> = ConstStaticCell::new(Vec::new());
static MODULE: StaticCell<Module> = StaticCell::new();
static SERVERS: StaticCell<Servers> = StaticCell::new();
static SHARED: StaticCell<Shared> = StaticCell::new();

#[entry]
fn main() -> ! {
    let Some((mut board, bus)) = Board::take() else {
        cortex_m::peripheral::SCB::sys_reset()
    };
    board.print(format_args!("{}", Board::NAME));
    if let Err(failure) = run(&mut board, bus) {
        board.print(format_args!("{failure}"));
        pause(RETRY);
    }
    board.print(format_args!("starting anew"));
    board.reset()
}

/// Joins the access point, and serves until a peer asks for the board to start anew.
fn run(board: &mut Board, bus: Bus) -> Result<(), Failure> {
    let network = Network::configured().ok_or(Failure::NoNetwork)?;
    let module = module(bus);
    let address = network.join(board, module)?;
    let shared = made(&SHARED, || Shared::new(Board::NAME, Board::stack));
    let servers = servers(module, shared)?;
    serve(board, &network, address, module, servers, shared)
}

// Not inlined, like the rest of the start: what it takes of the call stack is needed only then.
/// The module, in its memory.
#[inline(never)]
fn module(bus: Bus) -> &'static mut Module {
    let inboxes = filled(&TCP_MEMORY, || Inbox::FREE);
    let datagrams = made(&UDP_MEMORY, || Inbox::FREE);
    MODULE.init_with(|| Stack::new(bus, LOCK.take(), inboxes, datagrams))
}

/// The servers, in their memory.
#[inline(never)]
fn servers(module: &mut Module, shared: &'static Shared) -> Result<&'static mut Servers, Failure> {
    let slots = filled(&SLOT_MEMORY, Place::free);
    let place = made(&PLACE_MEMORY, UdpPlace::free);
    let replies = filled(&REPLY_MEMORY, Remembered::empty);
    match Application::bind(
        module,
        size_of::<Inbox>(),
        Policy,
        slots,
        place,
        replies,
        shared,
    ) {
        Ok(servers) => Ok(SERVERS.init(servers)),
        Err(responder::BindError::Tcp(error)) => Err(Failure::Bind("tcp", error)),
        Err(responder::BindError::Udp(error)) => Err(Failure::Bind("udp", error)),
    }
}

/// What `make` makes, in its memory.
#[inline(never)]
fn made<T>(memory: &'static StaticCell<T>, make: impl FnOnce() -> T) -> &'static mut T {
    memory.init_with(make)
}

/// All the places there are, each made by `place`.
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

/// Why the board is of no use.
enum Failure {
    NoNetwork,
    Lost,
    Bind(&'static str, winc1500::Error),
    Module(wincwifi::StackError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNetwork => f.write_str("no access point: build with UNSTICK_SSID set"),
            Self::Lost => f.write_str("the access point is gone"),
            Self::Bind(what, error) => write!(f, "cannot listen: {what}: {error:?}"),
            Self::Module(error) => write!(f, "module: {error}"),
        }
    }
}

impl From<wincwifi::StackError> for Failure {
    fn from(error: wincwifi::StackError) -> Self {
        Self::Module(error)
    }
}

/// Serves until a peer asks for the board to start anew.
#[inline(never)]
fn serve(
    board: &mut Board,
    network: &Network,
    address: Ipv4Addr,
    module: &mut Module,
    servers: &mut Servers,
    shared: &Shared,
) -> Result<(), Failure> {
    board.print(format_args!("listening tcp {address}:{PORT}"));
    board.print(format_args!("listening udp {address}:{PORT}"));
    board.print(format_args!("up"));
    let mut led = false;
    let mut look_at = board.now();
    loop {
        let now = board.now();
        module.poll()?;
        servers.report(now);
        let moved = servers.poll(module, now).is_ok();
        if led != shared.led() {
            led = !led;
            board.set_led(led);
        }
        if servers.is_to_reboot(now) {
            break;
        }
        if look_at <= now {
            // The module's sockets have not survived: there is nothing to go on with.
            if !network.is_joined(module)? {
                return Err(Failure::Lost);
            }
            look_at = now.saturating_add(LOOK);
        }
        if !moved {
            let deadline = servers.next_deadline(now);
            let most = deadline.map_or(NAP, |at| at.saturating_sub(now).min(NAP));
            board.sleep(most);
        }
    }
    let until = board.now().saturating_add(GOODBYE);
    while board.now() < until {
        module.poll()?;
    }
    Ok(())
}

//! The responder on the Adafruit Feather M0 WiFi.
#![no_std]
#![no_main]

mod board;
mod bus;
mod console;
mod wifi;

use core::fmt;
use core::time::Duration;

use cortex_m_rt::entry;
use responder::{Application, PORT, Place, Remembered, Shared};
use static_cell::{ConstStaticCell, StaticCell};
use winc1500::{Inbox, Lock, Policy, Stack, TcpSocket};

use board::{Board, pause};
use bus::Bus;
use wifi::Network;

/// Peers that are served at once over TCP; one more is told `busy`.
const SLOTS: usize = 2;
/// Replies over UDP that are remembered.
const REPLIES: usize = 2;

/// Between two looks whether the access point is still there.
const LOOK: Duration = Duration::from_secs(1);
/// A sleep at most: should the module's interrupt not show an event, it is found then.
const NAP: Duration = Duration::from_millis(10);
/// How long the last replies have to leave before the board starts anew.
const GOODBYE: Duration = Duration::from_millis(100);
/// Before the board starts anew after a failure.
const RETRY: Duration = Duration::from_secs(5);

static LOCK: ConstStaticCell<Lock> = ConstStaticCell::new(Lock::new());
static TCP_MEMORY: ConstStaticCell<[Inbox; SLOTS + 1]> =
    ConstStaticCell::new([const { Inbox::FREE }; SLOTS + 1]);
static UDP_MEMORY: ConstStaticCell<Inbox> = ConstStaticCell::new(Inbox::FREE);
static SLOT_MEMORY: ConstStaticCell<[Place<TcpSocket>; SLOTS]> =
    ConstStaticCell::new([const { Place::FREE }; SLOTS]);
static REPLY_MEMORY: ConstStaticCell<[Remembered; REPLIES]> =
    ConstStaticCell::new([const { Remembered::EMPTY }; REPLIES]);

#[entry]
fn main() -> ! {
    let Some((mut board, bus)) = Board::take() else {
        cortex_m::peripheral::SCB::sys_reset()
    };
    board.print(format_args!("{}", Board::NAME));
    if let Err(failure) = serve(&mut board, bus) {
        board.print(format_args!("{failure}"));
        pause(RETRY);
    }
    board.print(format_args!("starting anew"));
    board.reset()
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
fn serve(board: &mut Board, bus: Bus) -> Result<(), Failure> {
    static SHARED: StaticCell<Shared> = StaticCell::new();
    let network = Network::configured().ok_or(Failure::NoNetwork)?;
    let shared = SHARED.init(Shared::new(Board::NAME, Board::stack));
    let mut stack = Stack::new(bus, LOCK.take(), TCP_MEMORY.take(), UDP_MEMORY.take());
    let address = network.join(board, &mut stack)?;
    let (slots, replies) = (SLOT_MEMORY.take(), REPLY_MEMORY.take());
    let bound = Application::bind(&mut stack, Policy, slots, replies, shared);
    let mut application = bound.map_err(|error| match error {
        responder::BindError::Tcp(error) => Failure::Bind("tcp", error),
        responder::BindError::Udp(error) => Failure::Bind("udp", error),
    })?;
    board.print(format_args!("listening tcp {address}:{PORT}"));
    board.print(format_args!("listening udp {address}:{PORT}"));
    board.print(format_args!("up"));

    let mut led = false;
    let mut look_at = board.now();
    loop {
        let now = board.now();
        stack.poll()?;
        let moved = application.poll(&mut stack, now).is_ok();
        if led != shared.led() {
            led = !led;
            board.set_led(led);
        }
        if application.is_to_reboot(now) {
            break;
        }
        if look_at <= now {
            // The module's sockets have not survived: there is nothing to go on with.
            if !network.is_joined(&mut stack)? {
                return Err(Failure::Lost);
            }
            look_at = now.saturating_add(LOOK);
        }
        if !moved {
            let deadline = application.next_deadline(now);
            let most = deadline.map_or(NAP, |at| at.saturating_sub(now).min(NAP));
            board.sleep(most);
        }
    }
    let until = board.now().saturating_add(GOODBYE);
    while board.now() < until {
        stack.poll()?;
    }
    Ok(())
}

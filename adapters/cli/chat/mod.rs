//! `unstick chat`: text back and forth (PROTOCOL.md, "Chat" and "Older peers").

pub mod args;
mod codec;
mod connection;
mod correspondent;
mod editor;
mod event;
mod frame;
mod keyboard;
mod line;
mod room;
mod screen;
mod tcp;
mod transport;
mod turn;
mod udp;

use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::ExitCode;

use unstick_std::{Error, Shutdown, WakePipe};

use crate::address::Address;
use crate::failure::Failure;
use crate::listen::cannot_listen;
use crate::serve;
use args::Chat;
use codec::Speech;
use editor::Terminal;
use event::Style;
use keyboard::Keyboard;
use room::{Input, Room, Side};
use screen::Screen;
use tcp::Tcp;
use transport::Transport;
use udp::Udp;

/// What an operator is told at a terminal.
const OPERATOR_HINT: &str =
    "A line goes to who spoke last; @1 TEXT to peer 1, @ says who is here, q leaves.";

/// Talks until one side leaves.
pub fn run(args: &Chat) -> Result<ExitCode, Failure> {
    args.dialect.check(args.udp)?;
    let cannot_start = |error: io::Error| Failure::io("cannot start the chat", &error);
    // Before anything is printed: who reads the address may send a signal at once.
    let shutdown = Shutdown::new().map_err(cannot_start)?;
    serve::stop_when_signalled(shutdown.clone()).map_err(cannot_start)?;
    let mut wake = WakePipe::new().map_err(cannot_start)?;

    let (transport, side, greeting) = match (&args.listen, &args.address) {
        (Some(address), _) => {
            let (transport, at) = listen(args, address)?;
            let name = if args.udp { "udp" } else { "tcp" };
            let greeting = match args.json {
                true => event::listening(name, at),
                false => format!("listening {name} {at}\n"),
            };
            (transport, Side::Operator, greeting)
        }
        (None, Some(address)) => {
            let (transport, at) = connect(args, address)?;
            (transport, Side::Guest(at), String::new())
        }
        (None, None) => return Err(Failure::Usage("--listen ADDR or ADDR is needed".to_owned())),
    };
    let is_operator = side == Side::Operator;
    let style = Style {
        json: args.json,
        numbers: is_operator,
    };
    let piped = !io::stdin().is_terminal();
    let input = Input {
        piped,
        in_turn: args.dialect.is_older(),
        edited: false,
    };
    let (screen, keyboard, modes, input) = match Terminal::find() {
        Some((terminal, printer)) => {
            let screen = Screen::new(Some(printer), wake.waker());
            let (read, modes) = terminal.start(screen.clone(), is_operator);
            let keyboard = Keyboard::start(wake.waker(), read);
            let input = Input {
                edited: true,
                ..input
            };
            (screen, keyboard, Some(modes), input)
        }
        None => {
            let screen = Screen::new(None, wake.waker());
            let keyboard = Keyboard::start(wake.waker(), keyboard::read_lines);
            (screen, keyboard, None, input)
        }
    };
    screen.show(&greeting);
    if input.edited && !args.json {
        screen.show(&match side {
            Side::Operator => format!("{OPERATOR_HINT}\n"),
            Side::Guest(at) => format!("Talking to {at}; q leaves.\n"),
        });
    }
    let mut room = Room::new(transport, side, style, screen.clone(), keyboard, input);
    let talked = room.talk(&mut wake, &shutdown);
    screen.finish();
    if let Some(modes) = modes.filter(|_| room.is_typing()) {
        modes.restore();
    }
    talked
}

/// The operator's side, and where it listens.
fn listen(args: &Chat, address: &Address) -> Result<(Box<dyn Transport>, SocketAddr), Failure> {
    let speech = Speech::new(args.dialect, true);
    if args.udp {
        let failure = |error| cannot_listen("udp", address, &error);
        let socket = UdpSocket::bind(address).map_err(failure)?;
        let at = socket.local_addr().map_err(failure)?;
        let udp = Udp::listen(socket, speech).map_err(failure)?;
        return Ok((Box::new(udp), at));
    }
    let failure = |error| cannot_listen("tcp", address, &error);
    let listener = TcpListener::bind(address).map_err(failure)?;
    let at = listener.local_addr().map_err(failure)?;
    let tcp = Tcp::listen(listener, speech).map_err(failure)?;
    Ok((Box::new(tcp), at))
}

/// The other side, and whom it talks to.
fn connect(args: &Chat, address: &Address) -> Result<(Box<dyn Transport>, SocketAddr), Failure> {
    let speech = Speech::new(args.dialect, false);
    let failure = |error: io::Error| nobody(address, &error);
    if args.udp {
        let socket = unstick_std::udp::connect(address).map_err(failure)?;
        let at = socket.peer_addr().map_err(failure)?;
        let udp = Udp::connected(socket, speech).map_err(failure)?;
        return Ok((Box::new(udp), at));
    }
    let stream = unstick_std::connect(address).map_err(|error| match error {
        Error::Connect { source, .. } => nobody(address, &source),
        error => Failure::peer(address, &error),
    })?;
    let at = stream.peer_addr().map_err(failure)?;
    let tcp = Tcp::connected(stream, speech).map_err(failure)?;
    Ok((Box::new(tcp), at))
}

/// What connecting to `address` failed with.
fn nobody(address: &Address, error: &io::Error) -> Failure {
    let failure = Failure::io(format_args!("cannot connect to {address}"), error);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => failure.map(|sentence| {
            format!("{sentence}; does anybody chat there? (unstick chat --listen)")
        }),
        _ => failure,
    }
}

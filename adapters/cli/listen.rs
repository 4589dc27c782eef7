//! Where `serve` listens: on addresses of its own, or on sockets that it was handed (systemd's socket activation).

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::warn;

use crate::address::Address;
use crate::args::Serve;
use crate::failure::Failure;
use crate::metrics::Page;

/// Where one transport is served.
pub enum Listen<S> {
    /// On the first of these addresses that can be had; there is at least one.
    At {
        /// As it was given.
        address: Address,
        /// What it stands for.
        addresses: Vec<SocketAddr>,
    },
    /// On a socket that listens already.
    Handed {
        /// The socket.
        socket: S,
        /// Its address.
        address: SocketAddr,
    },
}

/// Where each transport is served.
pub struct Places {
    /// Streams.
    pub tcp: Option<Listen<TcpListener>>,
    /// Datagrams.
    pub udp: Option<Listen<UdpSocket>>,
}

impl Places {
    /// What the command line asks for and this process was handed; refuses to run commands for whoever comes from
    /// elsewhere.
    ///
    /// To be called before there are threads: what was handed over is taken out of the environment.
    pub fn find(args: &Serve) -> Result<Self, Failure> {
        let handed = Handed::take()?;
        let (mut tcp, mut udp) = (args.tcp.clone(), args.udp.clone());
        if tcp.is_none() && udp.is_none() && handed.is_empty() {
            tcp = Some(Address::local());
            udp = args.dialect.has_datagrams().then(Address::local);
        }
        let places = Self {
            tcp: place("tcp", tcp, handed.tcp, TcpListener::local_addr)?,
            udp: place("udp", udp, handed.udp, UdpSocket::local_addr)?,
        };
        if args.allow_exec {
            for listen in [
                places.tcp.as_ref().map(Listen::addresses),
                places.udp.as_ref().map(Listen::addresses),
            ] {
                refuse_elsewhere(listen.unwrap_or_default())?;
            }
        }
        Ok(places)
    }
}

/// The sockets that this process was handed.
#[derive(Default)]
struct Handed {
    tcp: Option<TcpListener>,
    udp: Option<UdpSocket>,
}

impl Handed {
    fn take() -> Result<Self, Failure> {
        let mut sockets = ListenFd::from_env();
        let mut handed = Self::default();
        for at in 0..sockets.len() {
            if let Ok(Some(socket)) = sockets.take_tcp_listener(at) {
                only("TCP", handed.tcp.replace(socket))?;
            } else if let Ok(Some(socket)) = sockets.take_udp_socket(at) {
                only("UDP", handed.udp.replace(socket))?;
            } else {
                let sentence = format!(
                    "LISTEN_FDS: socket {} of {} is neither of TCP nor of UDP: in a systemd socket unit, \
                     ListenStream= and ListenDatagram= with an address and a port make such",
                    at + 1,
                    sockets.len()
                );
                return Err(Failure::Usage(sentence));
            }
        }
        Ok(handed)
    }

    fn is_empty(&self) -> bool {
        self.tcp.is_none() && self.udp.is_none()
    }
}

fn only<S>(transport: &str, before: Option<S>) -> Result<(), Failure> {
    match before {
        None => Ok(()),
        Some(_) => Err(Failure::Usage(format!(
            "LISTEN_FDS: more than one socket of {transport}: one is served; [::]:PORT takes IPv4 as well"
        ))),
    }
}

fn place<S>(
    transport: &str,
    asked: Option<Address>,
    handed: Option<S>,
    local_addr: impl FnOnce(&S) -> io::Result<SocketAddr>,
) -> Result<Option<Listen<S>>, Failure> {
    match (asked, handed) {
        (None, None) => Ok(None),
        (Some(address), Some(_)) => Err(Failure::Usage(format!(
            "--{transport} {address} and a socket of LISTEN_FDS: one of them is served; leave the other out"
        ))),
        (None, Some(socket)) => {
            let address = local_addr(&socket).map_err(|error| {
                Failure::io(
                    format_args!("cannot serve the socket of {transport}"),
                    &error,
                )
            })?;
            Ok(Some(Listen::Handed { socket, address }))
        }
        (Some(address), None) => resolve(address).map(Some),
    }
}

/// Looks the address up.
fn resolve<S>(address: Address) -> Result<Listen<S>, Failure> {
    let found = address.to_socket_addrs();
    let addresses = found
        .map_err(|error| Failure::io(format_args!("cannot listen on {address}"), &error))?
        .collect();
    Ok(Listen::At { address, addresses })
}

/// Nobody is asked for a password.
fn refuse_elsewhere(addresses: &[SocketAddr]) -> Result<(), Failure> {
    match addresses.iter().find(|address| !is_loopback(address)) {
        None => Ok(()),
        Some(elsewhere) => Err(Failure::Usage(format!(
            "--allow-exec only goes with loopback addresses: whoever reaches {elsewhere} could run \
             any command, since nobody is asked for a password"
        ))),
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl<S> Listen<S> {
    /// The addresses, of which one is listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::At { addresses, .. } => addresses,
            Self::Handed { address, .. } => std::slice::from_ref(address),
        }
    }

    /// Whether nobody comes from elsewhere.
    pub fn is_loopback(&self) -> bool {
        self.addresses().iter().all(is_loopback)
    }

    /// Binds an address or adopts the socket, or says that it cannot.
    pub fn open<T>(
        self,
        transport: &str,
        bind: impl FnOnce(&[SocketAddr]) -> io::Result<T>,
        adopt: impl FnOnce(S) -> io::Result<T>,
    ) -> Result<T, Failure> {
        match self {
            Self::At { address, addresses } => {
                bind(&addresses).map_err(|error| cannot_listen(transport, address, &error))
            }
            Self::Handed { socket, address } => {
                adopt(socket).map_err(|error| cannot_listen(transport, address, &error))
            }
        }
    }
}

/// What is said if nothing can listen there.
pub fn cannot_listen(transport: &str, address: impl ToString, error: &io::Error) -> Failure {
    let address = address.to_string();
    Failure::io(
        format_args!("cannot listen on {transport} {address}"),
        error,
    )
}

/// Prints where the servers listen, and tells systemd, if it has started this, that they do.
pub fn announce(
    tcp: Option<io::Result<SocketAddr>>,
    udp: Option<io::Result<SocketAddr>>,
    page: Option<&Page>,
) -> Result<(), Failure> {
    let unknown = |error| Failure::io("cannot tell where the server listens", &error);
    let mut lines = String::new();
    for (transport, address) in [("tcp", tcp), ("udp", udp)] {
        if let Some(address) = address.transpose().map_err(unknown)? {
            lines += &format!("listening {transport} {address}\n");
        }
    }
    if let Some(page) = page {
        let address = page.local_addr().map_err(unknown)?;
        lines += &format!("listening metrics http://{address}/metrics\n");
    }
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(lines.as_bytes());
    let written = written.and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))?;
    notify(NotifyState::Ready);
    Ok(())
}

/// Tells systemd, if it has started this.
pub fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot tell systemd how it goes: see NOTIFY_SOCKET");
    }
}

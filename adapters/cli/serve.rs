//! `unstick serve`

use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::resume_unwind;
use std::process::{self, ExitCode};
use std::thread;

use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use unstick_std::{Limits, Shutdown, shell, tcp, udp};

use crate::address::Address;
use crate::args::{Engine, Serve};
use crate::failure::Failure;
use crate::nal;
use crate::services::Services;
use crate::wire;

/// How many octets of a file are in a datagram: with its header it fits one packet of an Ethernet.
const DATAGRAM_FRAME_LEN: u64 = 1024;

/// Serves until a signal says to stop.
pub fn run(args: Serve) -> Result<ExitCode, Failure> {
    start_log(args.verbose);
    let (tcp, udp) = match (&args.tcp, &args.udp) {
        (None, None) => {
            let udp = args.dialect.has_datagrams().then(Address::local);
            (Some(Address::local()), udp)
        }
        _ => (args.tcp.clone(), args.udp.clone()),
    };
    args.dialect.check(udp.is_some())?;
    if args.dialect.is_older() && args.engine == Engine::Nal {
        let sentence = "--engine nal speaks frames only: leave --wire out, or --engine";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    if args.dialect.is_older() && args.root.is_some() {
        let sentence = "files go in frames only: leave --wire out, or --root";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    let tcp = tcp
        .map(|address| resolve(&address, args.allow_exec))
        .transpose()?;
    let udp = udp
        .map(|address| resolve(&address, args.allow_exec))
        .transpose()?;
    raise_descriptor_limit();

    // Before anything is printed: who reads the addresses may send a signal at once.
    let shutdown = Shutdown::new().map_err(|error| cannot_start(&error))?;
    stop_when_signalled(shutdown.clone()).map_err(|error| cannot_start(&error))?;

    let limits = limits(&args);
    let services = Services::new(&args, udp.is_some())?;
    if args.engine == Engine::Nal {
        nal::serve(tcp, udp, limits, &shutdown, &services)?;
        info!("stopped");
        return Ok(ExitCode::SUCCESS);
    }
    if args.dialect.is_older() {
        wire::serve(args.dialect, args.allow_exec, tcp, udp, limits, &shutdown)?;
        info!("stopped");
        return Ok(ExitCode::SUCCESS);
    }
    let tcp = tcp.map(|listen| listen.bind("tcp", |addr| tcp::Server::bind(addr, limits)));
    let tcp = tcp.transpose()?;
    let udp = udp.map(|listen| listen.bind("udp", |addr| udp::Server::bind(addr, limits)));
    let udp = udp.transpose()?;
    announce(
        tcp.as_ref().map(tcp::Server::local_addr),
        udp.as_ref().map(udp::Server::local_addr),
    )?;

    let (heeded, services) = (&shutdown, &services);
    side_by_side(
        &shutdown,
        tcp.map(|server| move || server.serve_forever(heeded, |_| services.stream())),
        udp.map(|server| {
            move || server.serve_forever(heeded, |_| services.datagram(DATAGRAM_FRAME_LEN))
        }),
    )?;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Serves over TCP and over UDP until one of the servers ends, or both do.
pub fn side_by_side(
    shutdown: &Shutdown,
    tcp: Option<impl FnOnce() -> io::Result<()> + Send>,
    udp: Option<impl FnOnce() -> io::Result<()> + Send>,
) -> Result<(), Failure> {
    let served = thread::scope(|scope| {
        let tcp = tcp.map(|serve| scope.spawn(|| ending_both(shutdown, serve)));
        let udp = udp.map(|serve| scope.spawn(|| ending_both(shutdown, serve)));
        let servers = [tcp, udp].into_iter().flatten();
        let mut ends =
            servers.map(|server| server.join().unwrap_or_else(|panic| resume_unwind(panic)));
        ends.try_for_each(|end| end)
    });
    served.map_err(|error| Failure::io("the server stopped", &error))
}

/// One server's end is the other's too, so neither is waited for in vain.
fn ending_both(shutdown: &Shutdown, serve: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let served = serve();
    shutdown.request();
    served
}

/// Prints where the server listens.
pub fn announce(
    tcp: Option<io::Result<SocketAddr>>,
    udp: Option<io::Result<SocketAddr>>,
) -> Result<(), Failure> {
    let addresses = tcp.transpose().and_then(|tcp| Ok((tcp, udp.transpose()?)));
    let (tcp, udp) = addresses.map_err(|error| cannot_start(&error))?;
    let tcp = tcp.map(|address| format!("listening tcp {address}\n"));
    let udp = udp.map(|address| format!("listening udp {address}\n"));
    let lines: String = [tcp, udp].into_iter().flatten().collect();
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(lines.as_bytes());
    let written = written.and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))
}

fn cannot_start(error: &io::Error) -> Failure {
    Failure::io("cannot start the server", error)
}

fn limits(args: &Serve) -> Limits {
    Limits {
        max_connections: args.max_connections,
        max_header: args.max_header,
        max_body: args.max_body,
        header_timeout: args.header_timeout,
        idle_timeout: args.idle_timeout,
        ..Limits::default()
    }
}

/// An address to listen on, and what it stands for.
pub struct Listen {
    /// As it was given.
    pub address: Address,
    /// What it stands for; at least one.
    pub addresses: Vec<SocketAddr>,
}

impl Listen {
    /// Binds there, or says that nothing can.
    pub fn bind<T>(
        &self,
        transport: &str,
        bind: impl FnOnce(&[SocketAddr]) -> io::Result<T>,
    ) -> Result<T, Failure> {
        bind(&self.addresses).map_err(|error| self.failure(transport, &error))
    }

    /// What is said if nothing can listen there.
    pub fn failure(&self, transport: &str, error: &io::Error) -> Failure {
        Failure::io(
            format_args!("cannot listen on {transport} {}", self.address),
            error,
        )
    }
}

/// Looks the address up, and refuses to run commands for whoever reaches it from elsewhere.
pub fn resolve(address: &Address, allow_exec: bool) -> Result<Listen, Failure> {
    let found = address.to_socket_addrs();
    let addresses: Vec<_> = found
        .map_err(|error| Failure::io(format_args!("cannot listen on {address}"), &error))?
        .collect();
    let elsewhere = addresses
        .iter()
        .find(|found| !found.ip().to_canonical().is_loopback());
    match elsewhere {
        Some(elsewhere) if allow_exec => Err(Failure::Usage(format!(
            "--allow-exec only goes with loopback addresses: whoever reaches {elsewhere} could run \
             any command, since nobody is asked for a password"
        ))),
        _ => Ok(Listen {
            address: address.clone(),
            addresses,
        }),
    }
}

/// Logs on standard error.
fn start_log(verbose: u8) {
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// A connection is a descriptor, and a command some more.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the number of open files");
    }
}

/// On the first signal finishes what is in flight, on the second exits at once.
pub fn stop_when_signalled(shutdown: Shutdown) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if shutdown.is_requested() {
                shell::kill_all();
                process::exit(128 + signal);
            }
            info!(signal, "finishing what is in flight");
            shutdown.request();
        }
    });
    Ok(())
}

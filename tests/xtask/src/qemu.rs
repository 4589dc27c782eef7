//! Boards in QEMU, with a real network: what arrives at a port of this machine's loopback is forwarded to the board.

use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{self, Stdio, exit};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::boards::{Board, Firmware};
use crate::process::{command, line};
use crate::tools;

/// The port of the responder on the board, TCP's and UDP's; also the one of this machine where none is asked for.
pub const PORT: u16 = 8896;

/// How long a board may take until it is up.
const BOOT: Duration = Duration::from_secs(20);
/// How often to try another port when somebody else was faster.
const TRIES: usize = 5;
/// Lines that are kept of what nobody asks for.
const KEPT: usize = 64;
/// What the firmware says once it takes frames: those sent before are lost.
const UP: &str = "up";

/// A board that runs; it is stopped when dropped.
pub struct Qemu {
    child: Child,
    /// Where its TCP and UDP port is reached.
    pub address: SocketAddr,
    /// What it says, and what QEMU does. Both are read all the time: else who writes would wait.
    console: Receiver<String>,
    words: Receiver<String>,
}

impl Qemu {
    /// Boots a board, with its port of this number reached at `port`, or at any that is free for 0.
    ///
    /// # Errors
    /// If the board is not emulated, the port is taken, QEMU fails, or the firmware is not up in time.
    pub fn boot(board: &Board, firmware: Firmware, board_port: u16, port: u16) -> Result<Self> {
        for _ in 1..TRIES {
            match Self::start(board, firmware, board_port, port) {
                // Between looking for it and QEMU's taking it, somebody else has taken the port.
                Err(error) if port == 0 && format!("{error:#}").contains("host forwarding") => {}
                started => return started,
            }
        }
        Self::start(board, firmware, board_port, port)
    }

    fn start(board: &Board, firmware: Firmware, board_port: u16, port: u16) -> Result<Self> {
        let mut qemu = Self::spawn(board, firmware, board_port, port)?;
        let deadline = Instant::now() + BOOT;
        loop {
            match qemu.line_until(deadline) {
                Some(line) if line == UP => return Ok(qemu),
                Some(line) => eprintln!("{}: {line}", board.name),
                None => return Err(qemu.failure(board)),
            }
        }
    }

    /// The same, without waiting until it is up.
    ///
    /// # Errors
    /// If the board is not emulated, the port is taken, or QEMU cannot be started.
    pub fn spawn(board: &Board, firmware: Firmware, board_port: u16, port: u16) -> Result<Self> {
        let address = free(port)?;
        let emulator = board.emulator.as_ref().with_context(|| {
            format!(
                "{} is not emulated: it has to be bought and flashed",
                board.name
            )
        })?;
        let to = |protocol| format!("hostfwd={protocol}:{address}-:{board_port}");
        let forward = format!("{},{}", to("tcp"), to("udp"));
        let machine = emulator
            .machine
            .split(' ')
            .map(|word| word.replace("FORWARD", &forward));
        let mut command = command(emulator.program);
        command
            .args(machine)
            .args([
                "-display", "none", "-monitor", "none", "-serial", "stdio", "-kernel",
            ])
            .arg(board.firmware(firmware))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("`{}` could not be started", line(&command)))?;
        let mut child = Child::new(child)?;
        let console = lines(child.0.stdout.take().context("piped")?);
        let words = lines(child.0.stderr.take().context("piped")?);
        Ok(Self {
            child,
            address,
            console,
            words,
        })
    }

    /// The next line of the console, if there is one until then.
    pub fn line_until(&self, deadline: Instant) -> Option<String> {
        let wait = deadline.saturating_duration_since(Instant::now());
        self.console.recv_timeout(wait).ok()
    }

    /// That QEMU still runs.
    ///
    /// # Errors
    /// If it does not.
    pub fn assert_running(&mut self) -> Result<()> {
        match self.child.0.try_wait().context("its state")? {
            None => Ok(()),
            Some(status) => bail!("QEMU has ended ({status})"),
        }
    }

    /// Why there was no line.
    fn failure(&mut self, board: &Board) -> anyhow::Error {
        // Its end may come a moment after that of its console.
        thread::sleep(Duration::from_millis(100));
        let ended = matches!(self.child.0.try_wait(), Ok(Some(_)));
        // Its words end when it does.
        let _ = self.child.0.kill();
        let words: Vec<String> = self.words.iter().collect();
        let why = match ended {
            true => "QEMU has ended",
            false => "the firmware is not up in time",
        };
        anyhow!("{}: {why}\n{}", board.name, words.join("\n"))
    }
}

/// A process of QEMU: ended when this is dropped, or when a signal ends us.
struct Child(process::Child);

/// The processes there are.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

impl Child {
    fn new(child: process::Child) -> Result<Self> {
        static WATCH: Once = Once::new();
        let mut watched = Ok(());
        WATCH.call_once(|| watched = end_with_us());
        let child = Self(child);
        running().push(Pid::from_child(&child.0));
        watched.map(|()| child)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Not before: until it has been waited for, no other process has its number.
        let mut running = running();
        let _ = self.0.kill();
        let _ = self.0.wait();
        running.retain(|pid| *pid != Pid::from_child(&self.0));
    }
}

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a signal that ends us end all of them first.
fn end_with_us() -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be caught")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            for pid in running().iter() {
                let _ = kill_process(*pid, Signal::KILL);
            }
            exit(128 + signal);
        }
    });
    Ok(())
}

/// The lines of a stream; as many as nobody asks for are kept, the others are lost.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(KEPT);
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        // A firmware that has gone astray may say anything.
        while stream.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            // One that starts over and over, or a flooded network, says a lot.
            let _ = sender.try_send(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
    receiver
}

/// The address with this port, or one that nobody has, of TCP and UDP alike.
fn free(port: u16) -> Result<SocketAddr> {
    for _ in 0..TRIES {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|tcp| tcp.local_addr());
        let address = tcp.with_context(|| taken("TCP", port))?;
        match UdpSocket::bind(address) {
            Ok(_) => return Ok(address),
            Err(_) if port == 0 => {}
            Err(error) => return Err(error).context(taken("UDP", port)),
        }
    }
    bail!("no port of this machine is free for TCP and UDP alike")
}

fn taken(protocol: &str, port: u16) -> String {
    format!("{protocol} port {port} of 127.0.0.1 cannot be had (--port 0 takes any that is free)")
}

/// `cargo xtask qemu`: builds a board's responder, boots it, and shows its console until interrupted.
pub fn run(name: &str, port: u16) -> Result<()> {
    let board = Board::named(name)?;
    tools::provide(&board.needs())?;
    board.build()?;
    let mut qemu = Qemu::boot(board, Firmware::Responder, PORT, port)?;
    println!("listening tcp {}", qemu.address);
    println!("listening udp {}", qemu.address);
    loop {
        match qemu.console.recv() {
            Ok(line) => eprintln!("{name}: {line}"),
            Err(_) => return Err(qemu.failure(board)),
        }
    }
}

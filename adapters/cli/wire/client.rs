//! `unstick exec` on the wires of older peers.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown as Direction, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use unstick_std::{Error, connect, udp};

use super::reply::Incoming;
use super::text::{Text, Transcoder};
use super::{BUFFER_LEN, CHUNK_LEN, is_goodbye};
use crate::address::Address;
use crate::args::Exec;
use crate::exec::{UDP_TIMEOUT, write};
use crate::failure::Failure;

/// How long a peer has to close after the goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends the command line, and prints what comes back. What it exited with is not on these wires.
pub fn exec(args: &Exec, line: &[u8]) -> Result<ExitCode, Failure> {
    let text = args.dialect.text();
    let chunk = chunk(line, text)?;
    let output = Output(text.decoder());
    if args.server.udp {
        by_datagram(args, &chunk, output)?;
    } else {
        by_stream(args, &chunk, output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The command line as it goes on the wire, in one piece or not at all.
fn chunk(line: &[u8], text: Text) -> Result<Vec<u8>, Failure> {
    let mut chunk = Vec::new();
    let replaced = text.encoder().push(line, true, &mut chunk);
    let command = OsStr::from_bytes(line).display();
    let sentence = match chunk.len() {
        // Another command than the one that was meant.
        _ if replaced => format!("the command `{command}` cannot be said in this --encoding"),
        0 => "an empty command would not be a message on this wire".to_owned(),
        len if len > CHUNK_LEN => format!(
            "the command has {len} octets: such servers receive {CHUNK_LEN} at a time, and would take the rest for \
             another command"
        ),
        _ if is_goodbye(&chunk) => format!("`{command}` alone says goodbye on this wire"),
        _ => return Ok(chunk),
    };
    Err(Failure::Usage(sentence))
}

fn by_datagram(args: &Exec, chunk: &[u8], mut output: Output) -> Result<(), Failure> {
    let address = &args.server.address;
    let failure = |error| Failure::datagrams(address, &error);
    let socket = udp::connect(address).map_err(|error| Failure::connect(address, &error))?;
    let refused = |error: io::Error| match (error.kind(), socket.peer_addr()) {
        (ErrorKind::ConnectionRefused, _) => Failure::connect(address, &error),
        (ErrorKind::WouldBlock, _) => Failure::peer(address, &Error::Deadline),
        _ => failure(udp::Error::Io(error)),
    };
    let timeout = args.timeout.unwrap_or(UDP_TIMEOUT);
    socket.set_read_timeout(Some(timeout)).map_err(refused)?;
    // Once: a server could not tell a repetition from another command.
    socket.send(chunk).map_err(refused)?;
    let mut datagram = vec![0; usize::from(u16::MAX) + 1];
    let len = socket.recv(&mut datagram).map_err(refused)?;
    output.print(&datagram[..len], true)
}

fn by_stream(args: &Exec, chunk: &[u8], mut output: Output) -> Result<(), Failure> {
    let address = &args.server.address;
    let failure = |error: Error| Failure::peer(address, &error);
    let mut input = Input {
        stream: connect(address).map_err(failure)?,
        deadline: args
            .timeout
            .and_then(|time| Instant::now().checked_add(time)),
        address,
    };
    input
        .send(chunk)
        .map_err(Error::Transport)
        .map_err(failure)?;
    let mut incoming = Incoming::new(args.dialect.wire);
    let (mut octets, mut body) = (vec![0; BUFFER_LEN], Vec::new());
    let mut quiet = None;
    loop {
        let whole = match input.receive(&mut octets, quiet)? {
            Received::Octets(len) => {
                body.clear();
                let whole = incoming.take(&mut &octets[..len], &mut body);
                whole.map_err(|sentence| Failure::Told(format!("{address}: {sentence}")))?
            }
            // Silence, or the end, is all that ends such a reply.
            _ if quiet.is_some() => true,
            _ => return Err(failure(Error::Closed)),
        };
        output.print(&body, whole)?;
        body.clear();
        if whole {
            break;
        }
        quiet = (!incoming.has_end()).then_some(args.quiet_after);
    }
    input.say_goodbye();
    Ok(())
}

/// What one receive comes to.
enum Received {
    Octets(usize),
    /// The peer has closed its sending side.
    End,
    /// Nothing for as long as was to be waited.
    Silence,
}

/// A connection, with a bound on every wait if there is a deadline.
struct Input<'a> {
    stream: TcpStream,
    deadline: Option<Instant>,
    address: &'a Address,
}

impl Input<'_> {
    /// In one write, so that the peer gets it in one receive unless the network cuts it.
    fn send(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.write_all(chunk)
    }

    /// Waits for octets, until the deadline and not longer than `quiet`.
    fn receive(&mut self, out: &mut [u8], quiet: Option<Duration>) -> Result<Received, Failure> {
        let failure = |error| Failure::peer(self.address, &error);
        loop {
            let left = self
                .deadline
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(failure(Error::Deadline));
            }
            let timeout = left.into_iter().chain(quiet).min();
            let set = self.stream.set_read_timeout(timeout);
            set.map_err(|error| failure(Error::Transport(error)))?;
            match self.stream.read(out) {
                Ok(0) => return Ok(Received::End),
                Ok(len) => return Ok(Received::Octets(len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if quiet.is_some() && timeout == quiet {
                        return Ok(Received::Silence);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failure(Error::Transport(error))),
            }
        }
    }

    /// Leaves, and gives the peer time to do so. What it makes of it is not our business any more.
    fn say_goodbye(&mut self) {
        let _ = self.stream.write_all(b"q");
        let _ = self.stream.shutdown(Direction::Write);
        self.deadline = Instant::now().checked_add(FAREWELL);
        while let Ok(Received::Octets(_)) = self.receive(&mut [0; 1024], None) {}
    }
}

/// Standard output, for text from the wire.
struct Output(Transcoder);

impl Output {
    fn print(&mut self, octets: &[u8], last: bool) -> Result<(), Failure> {
        let mut text = Vec::new();
        self.0.push(octets, last, &mut text);
        write(io::stdout().lock(), &text).map_err(|error| Failure::output(&error))
    }
}

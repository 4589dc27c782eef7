//! `unstick echo`

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use unstick_core::Request;

use crate::args::Echo;
use crate::failure::Failure;
use crate::peer::Peer;

/// The most octets of a request whose whole length is not known.
const PIECE_LEN: usize = 64 * 1024;
/// The same over UDP: with its header it fits one packet of an Ethernet.
const DATAGRAM_LEN: usize = 1024;

/// Sends the text and prints what comes back.
pub fn run(args: &Echo) -> Result<ExitCode, Failure> {
    let mut peer = Peer::connect(&args.server)?;
    let mut output = Output::new();
    let piece_len = if args.server.udp {
        DATAGRAM_LEN
    } else {
        PIECE_LEN
    };
    match args.text.as_deref().filter(|text| *text != OsStr::new("-")) {
        Some(text) if args.server.udp => {
            in_pieces(&mut peer, text.as_bytes(), piece_len, &mut output)?;
        }
        Some(text) => {
            let text = text.as_bytes();
            whole(&mut peer, text, text.len() as u64, &mut output)?;
        }
        None => {
            let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
            let input = input.map_err(|error| Failure::io("cannot read standard input", &error))?;
            match file_len(&input) {
                Some(len) if !args.server.udp => {
                    whole(&mut peer, input.take(len), len, &mut output)?;
                }
                _ => in_pieces(&mut peer, input, piece_len, &mut output)?,
            }
        }
    }
    output.end()?;
    Ok(ExitCode::SUCCESS)
}

/// How much of a file is left; nothing for what has no length, as a pipe, or does not know it, as in /proc.
fn file_len(mut file: &File) -> Option<u64> {
    let len = file.metadata().ok().filter(|meta| meta.is_file())?.len();
    let position = file.stream_position().ok()?;
    len.checked_sub(position).filter(|left| *left > 0)
}

/// One request.
fn whole(peer: &mut Peer, text: impl Read, len: u64, output: &mut Output) -> Result<(), Failure> {
    let request = Request::new("echo", len);
    peer.stream(request, text, None, |_, octets| output.write(octets))?;
    Ok(())
}

/// One request for each piece that can be read, at least one.
fn in_pieces(
    peer: &mut Peer,
    mut text: impl Read,
    piece_len: usize,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut piece = vec![0; piece_len];
    let mut first = true;
    loop {
        let len = match text.read(&mut piece) {
            Ok(0) if !first => return Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::io("cannot read standard input", &error)),
        };
        let request = Request::new("echo", len as u64);
        peer.request(request, &piece[..len], None, |_, octets| {
            output.write(octets)
        })?;
        output.flush()?;
        if len == 0 {
            return Ok(());
        }
        first = false;
    }
}

/// Standard output, octet by octet as it comes back.
struct Output {
    stdout: io::StdoutLock<'static>,
    last: Option<u8>,
}

impl Output {
    fn new() -> Self {
        Self {
            stdout: io::stdout().lock(),
            last: None,
        }
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.last = octets.last().copied().or(self.last);
        let written = self.stdout.write_all(octets);
        written.map_err(|error| Failure::output(&error))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(|error| Failure::output(&error))
    }

    /// A prompt behind the text would hide where it ends: a terminal gets a newline.
    fn end(mut self) -> Result<(), Failure> {
        if self.stdout.is_terminal() && self.last.is_some_and(|last| last != b'\n') {
            self.write(b"\n")?;
        }
        self.flush()
    }
}

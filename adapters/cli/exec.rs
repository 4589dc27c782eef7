//! `unstick exec`

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Duration;

use unstick_core::{Request, Stream};

use crate::args::Exec;
use crate::exec_json::Pieces;
use crate::failure::Failure;
use crate::peer::Peer;
use crate::wire;

/// How much later than the server the client gives up: the server's word for it should arrive.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a command may take over UDP if nothing else is said: neither side would notice that the other is gone.
pub const UDP_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the command there, with its output and its exit code here.
pub fn run(args: &Exec) -> Result<ExitCode, Failure> {
    let words: Vec<_> = args.command.iter().map(|word| word.as_bytes()).collect();
    let line = words.join(&b' ');
    args.dialect.check(args.server.udp)?;
    if args.dialect.is_older() && args.json {
        let sentence =
            "--json goes with frames: on the older wires there is neither `stream` nor `exit`";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    if args.dialect.is_older() {
        return wire::exec(args, &line);
    }
    let mut request = Request::new("exec", line.len() as u64);
    let timeout = args.timeout.or(args.server.udp.then_some(UDP_TIMEOUT));
    request.timeout_ms =
        timeout.map(|time| u64::try_from(time.as_millis()).map_or(u64::MAX, |ms| ms.max(1)));
    let deadline = timeout.map(|time| time.saturating_add(PATIENCE));

    let mut peer = Peer::connect(&args.server)?;
    let mut pieces = Pieces::default();
    let last = peer.request(request, &line, deadline, |header, octets| {
        let stream = header.stream.unwrap_or(Stream::Stdout);
        let written = match stream {
            _ if args.json => pieces.print(stream, octets),
            Stream::Stderr => write(io::stderr().lock(), octets),
            Stream::Stdout => write(io::stdout().lock(), octets),
        };
        written.map_err(|error| Failure::output(&error))
    })?;
    match last.exit {
        Some(exit) => {
            if args.json {
                let ended = pieces.end(exit);
                ended.map_err(|error| Failure::output(&error))?;
            }
            Ok(exit_code(exit))
        }
        None => Err(Failure::Told(format!(
            "{} does not say how the command `{}` ended",
            args.server.address,
            OsStr::from_bytes(&line).display()
        ))),
    }
}

/// Writes at once what a command has written at once.
pub fn write(mut stream: impl Write, octets: &[u8]) -> io::Result<()> {
    stream.write_all(octets)?;
    stream.flush()
}

/// The same, or 255 for what no process here can exit with.
fn exit_code(exit: i32) -> ExitCode {
    ExitCode::from(u8::try_from(exit).unwrap_or(u8::MAX))
}

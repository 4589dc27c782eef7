//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use unstick_std::HEADER_CAPACITY;

use crate::address::Address;
use crate::chat::args::Chat;
use crate::files::args::{Get, Ls, Put, Stat};
use crate::wire::Dialect;

/// Frames over TCP and UDP: a server, and what it takes to talk to one.
///
/// A frame is a prefix, a JSON header and a body, so that messages neither stick together nor come in pieces.
#[derive(Debug, Parser)]
#[command(name = "unstick", version, after_help = format!("{ADDRESSES}\n\n{EXIT_CODES}"))]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const ADDRESSES: &str = "ADDR is HOST, HOST:PORT or [IPv6]:PORT; without a port it is 8896.";

/// What all of the commands exit with.
pub const EXIT_CODES: &str = "\
Exit codes: 0 all went well; 1 no connection, or the server says no; 2 the command line is wrong.
`unstick exec` exits as the remote command does.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests, until interrupted
    Serve(Serve),
    /// Send text, and print what comes back
    Echo(Echo),
    /// Run a command on the server: its output here, as it is written, and its exit code
    Exec(Exec),
    /// Talk, as the operator to whom others come or as one of those
    Chat(Chat),
    /// Get a file from the server
    Get(Get),
    /// Put a file to the server
    Put(Put),
    /// List a directory of the server
    Ls(Ls),
    /// Say what the server knows of a file
    Stat(Stat),
    /// Print what the server says of itself
    Info(Info),
    /// Ask again and again, and say how long each answer takes
    Ping(Ping),
    /// Print frames as lines of JSON, with their offsets; of bad ones, where they go wrong and why
    Decode(Decode),
    /// Print what lets a shell complete this command line
    Completions(Completions),
    /// Print the manual page of this command, or of one of its commands
    Man(Man),
}

/// `unstick serve`
#[derive(Debug, Args)]
#[command(after_help = "\
With neither --tcp nor --udp, both listen on 127.0.0.1:8896; else only what is asked for. The addresses are \
printed on standard output, one a line, before anything is served.

The engine `nal` is the one for microcontrollers, on embedded-nal: one thread that polls. It can only listen on every \
address at once. Asked for a loopback address it turns away whoever comes from elsewhere, without a word; any other \
address has to be 0.0.0.0 or [::].

With --config the options are in a file of TOML, under their names: max-connections = 64, allow-exec = true, \
tcp = \"127.0.0.1:0\". What is said here goes before what the file says, and --allow-exec=false takes back what it \
allows. A relative root is meant from where the file is.

Sockets that systemd hands over (LISTEN_FDS) are served instead of the default addresses: one of TCP, one of UDP.

With another --wire than `framed`, for older peers, what one receive of 1024 octets returns is one request: a command with \
--allow-exec, and otherwise sent back. Over UDP that is `raw` alone, where --idle-timeout ends a command. The limits on headers \
and bodies have no meaning there, and who comes when there are too many connections is not told so.

SIGINT, SIGTERM and, unless it is ignored as by nohup, SIGHUP stop the server once it has finished what is in flight; a second \
one stops it, and the commands it runs, at once.")]
pub struct Serve {
    /// Serve TCP on this address; port 0 takes any that is free
    #[arg(long, value_name = "ADDR")]
    pub tcp: Option<Address>,
    /// Serve UDP on this address; port 0 takes any that is free
    #[arg(long, value_name = "ADDR")]
    pub udp: Option<Address>,
    /// What serves: a thread for each connection, or the engine for microcontrollers
    #[arg(long, value_enum, default_value_t = Engine::Threads)]
    pub engine: Engine,
    /// What is spoken.
    #[command(flatten)]
    pub dialect: Dialect,
    /// Let whoever reaches the server run commands as its user; on loopback addresses only
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        action = ArgAction::Set
    )]
    pub allow_exec: bool,
    /// Let whoever reaches the server list and read the files in this directory; over UDP on loopback addresses only
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Let them write there too
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        action = ArgAction::Set,
        requires_if("true", "root")
    )]
    pub writable: bool,
    /// Connections at once; the next is told `busy`
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub max_connections: usize,
    /// Octets of a header
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = header_len)]
    pub max_header: usize,
    /// Octets of a body [default: any number]
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub max_body: u64,
    /// Seconds from a header's first octet to its last
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = seconds)]
    pub header_timeout: Duration,
    /// Seconds without a request, or inside one without progress
    #[arg(long, value_name = "SECS", default_value = "300", value_parser = seconds)]
    pub idle_timeout: Duration,
    /// Serve counters over HTTP on this address, at /metrics, for Prometheus; to whoever reaches it, so rather on loopback
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,
    /// Log more: -v what happens, -vv in detail. RUST_LOG, if set, says it instead
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// How the log is written, on standard error
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Take from this file what is not said here
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// An object of JSON a line
    Json,
}

/// What moves the octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// One thread a connection
    Threads,
    /// One thread for all, over embedded-nal
    Nal,
}

/// Where to, and how.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// Ask over UDP
    #[arg(long)]
    pub udp: bool,
    /// The server
    #[arg(value_name = "ADDR")]
    pub address: Address,
}

/// `unstick echo`
#[derive(Debug, Args)]
#[command(after_help = "\
Over TCP, a file on standard input is one request, however long it is. What comes through a pipe or from a \
keyboard has no length to announce: each piece of it, up to 64 KiB, is a request of its own and comes back \
before the next is read. Over UDP everything goes in pieces that fit a datagram.")]
pub struct Echo {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// What to send; standard input for `-`, or without it
    pub text: Option<OsString>,
}

/// `unstick exec`
#[derive(Debug, Args)]
#[command(after_help = "\
The words are joined with spaces and run by the server's shell, as ssh does it: quote what its shell is to see \
quoted.

If this command is interrupted, so is the remote one; over UDP only its timeout ends it.

On the wires of older peers (--wire) the command has to fit one message of 1024 octets. There is no word of its exit code, \
so that this is 0 once there is a reply; standard output and standard error come as one; --timeout ends the waiting, and \
not the command. Over UDP nothing is sent twice: what is lost ends as a timeout.")]
pub struct Exec {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// Seconds that the command may take before the server kills it [default: no limit; over UDP 60]
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// What is spoken.
    #[command(flatten)]
    pub dialect: Dialect,
    /// With --wire raw over TCP, seconds of silence that end a reply: nothing else does, short of the peer's closing
    #[arg(long, value_name = "SECS", default_value = "0.5", value_parser = seconds)]
    pub quiet_after: Duration,
    /// Print a line of JSON for each piece of output, `stream` and `text`, or `hex` where it is no UTF-8; then `exit`
    #[arg(long)]
    pub json: bool,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `unstick info`
#[derive(Debug, Args)]
pub struct Info {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// As the server sends it
    #[arg(long)]
    pub json: bool,
}

/// `unstick ping`
#[derive(Debug, Clone, Args)]
pub struct Ping {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// How often to ask [default: until interrupted]
    #[arg(short, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Seconds from one question to the next
    #[arg(short, value_name = "SECS", default_value = "1", value_parser = seconds_or_none)]
    pub interval: Duration,
    /// Print a line of JSON for each answer, `seq`, `octets` and `time_ms`, or `seq` and `error`; and one for all of
    /// them, `asked`, `answered`, and `min_ms`, `avg_ms` and `max_ms` if there were answers
    #[arg(long)]
    pub json: bool,
}

/// `unstick decode`
#[derive(Debug, Args)]
pub struct Decode {
    /// The input is hexadecimal text: plain digits, or what xxd and hexdump -C print
    #[arg(long)]
    pub hex: bool,
    /// Where the octets are; standard input for `-`, or without it
    pub file: Option<PathBuf>,
}

/// `unstick completions`
#[derive(Debug, Args)]
#[command(after_help = "\
For Bash: unstick completions bash > ~/.local/share/bash-completion/completions/unstick
For Zsh: unstick completions zsh > DIR/_unstick, where DIR is in $fpath
For fish: unstick completions fish > ~/.config/fish/completions/unstick.fish")]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// `unstick man`
#[derive(Debug, Args)]
#[command(after_help = "\
To read one: unstick man serve | man -l -
To have all of them in place: unstick man --out ~/.local/share/man/man1")]
pub struct Man {
    /// Write all the pages into this directory, unstick.1 and one for each command, instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub out: Option<PathBuf>,
    /// The command; without it, the page is that of unstick itself
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Thirty years, which a clock can be set forward by.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

fn header_len(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        len if len > HEADER_CAPACITY => Err(format!("at most {HEADER_CAPACITY} are possible")),
        len => Ok(len),
    }
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time > LONGEST => Err(format!("at most {} are possible", LONGEST.as_secs())),
        Ok(time) => Ok(time),
        Err(_) => Err("not a length of time".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match seconds_or_none(text)? {
        Duration::ZERO => Err("more than 0 seconds are needed".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn numbers_are_checked() {
        assert_eq!(header_len("16384"), Ok(HEADER_CAPACITY));
        assert!(header_len("16385").is_err_and(|error| error.contains("16384")));
        assert!(header_len("0").is_err());
        assert!(header_len("-1").is_err());
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["0", "-1", "NaN", "inf", "1e10", "1e300", "soon", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds_or_none("0"), Ok(Duration::ZERO));
    }
}

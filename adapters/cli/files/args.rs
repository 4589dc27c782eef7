//! The command lines of `get`, `put`, `ls` and `stat`.

use std::path::PathBuf;

use clap::Args;

use crate::address::Address;
use crate::args::Server;

/// What happens when a transfer is interrupted or refused.
const TRANSFERS: &str = "\
A file is complete and compared by its SHA-256 before it has its name; until then it is NAME:part beside it. That is \
kept when the transfer is interrupted, and --resume goes on from it if it is still the start of the same file.

With -r, each file for itself: one that cannot be transferred is reported, and the others are. Symbolic links are not \
followed and not made: put says which it passes over, and get does not see those of the server. get makes empty directories \
too; put cannot, and says which it passes over.

With -p, a file has its permissions (read, write and execute, never setuid) and its time before it has its name. get -r \
gives directories theirs too, put does not. Where the server knows of none, as a board does not, there are none to keep. \
What --resume passes over stays as it is, and what is for reading only on the server is not replaced there, \
not even with --force.";

/// How files are transferred.
#[derive(Debug, Clone, Copy, Args)]
pub struct How {
    /// Go on from what an interrupted transfer has left; pass over what is there already
    #[arg(long)]
    pub resume: bool,
    /// A directory, with all that is in it
    #[arg(short, long)]
    pub recursive: bool,
    /// Keep permissions and the time of the last change
    #[arg(short, long)]
    pub preserve: bool,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
    /// Say nothing but what goes wrong
    #[arg(short, long)]
    pub quiet: bool,
    /// Print a line of JSON for each file
    #[arg(long)]
    pub json: bool,
}

/// `unstick get`
#[derive(Debug, Args)]
#[command(after_help = TRANSFERS)]
pub struct Get {
    /// How.
    #[command(flatten)]
    pub how: How,
    /// Where to, a file or a directory [default: the last part of NAME, here]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The server
    #[arg(value_name = "ADDR")]
    pub address: Address,
    /// The file on the server; with -r a directory, `.` for all there is
    pub name: String,
}

/// `unstick put`
#[derive(Debug, Args)]
#[command(after_help = TRANSFERS)]
pub struct Put {
    /// How.
    #[command(flatten)]
    pub how: How,
    /// The server
    #[arg(value_name = "ADDR")]
    pub address: Address,
    /// The file here; with -r a directory
    pub file: PathBuf,
    /// Its name on the server; with -r, `.` for what is to be in no directory [default: the last part of FILE]
    pub name: Option<String>,
}

/// `unstick ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// As the server sends it: a line of JSON each
    #[arg(long)]
    pub json: bool,
    /// The directory on the server [default: all there is]
    #[arg(value_name = "DIR")]
    pub directory: Option<String>,
}

/// `unstick stat`
#[derive(Debug, Args)]
pub struct Stat {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// As the server sends it
    #[arg(long)]
    pub json: bool,
    /// The file or directory on the server
    pub name: String,
}

//! The arguments of `unstick chat`.

use clap::{ArgGroup, Args};

use crate::address::Address;
use crate::wire::Dialect;

/// What `--wire` is about here.
const WIRE: &str = "\
What messages look like. In all but `framed`, who connects says bare text. `q` alone says goodbye on every one";

/// What `--encoding` is about here.
const ENCODING: &str = "\
How text is encoded on an older wire: utf-8, gbk, big5, shift_jis, … What cannot be said in it is not sent, and what is \
not valid in it shows as U+FFFD [default: utf-8]";

/// `unstick chat`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("side").required(true).args(["listen", "address"])))]
#[command(mut_arg("wire", |arg| arg.help(WIRE).long_help(WIRE)), mut_arg("encoding", |arg| arg.help(ENCODING).long_help(ENCODING)))]
#[command(after_help = "\
With --listen this is the operator's side: peers are numbered as they come, and a line goes to the one who spoke last, whom the \
prompt shows. `@1 TEXT` says it to peer 1, `@HOST:PORT TEXT` to that one; the lines after it go there too, until somebody \
speaks. `@1` alone chooses a peer, `@` alone lists who is here, `@@` begins a text with `@`. Without --listen this is the other side, which \
talks to one operator. Programs in Python can be on either side (--wire).

`q` or `Q` alone leaves, as Ctrl-D, Ctrl-C and closing the terminal do; SIGTERM too. `@1 q` says goodbye to peer 1 alone. A line of blanks is not sent.

Where standard input is no terminal, its end leaves. An operator then keeps a line until somebody has spoken, and on the wires of older \
peers (but not in frames) each next line until something has come back, or a second has passed: such peers take turns. The \
end waits a second at most for the last answer.

A peer that is gone is told of as soon as the system knows: a connection ends or breaks, or for half a minute is dead or takes nothing of \
what waits; over UDP a \
message in a frame is not answered for 5 seconds, or the empty one that who is silent for 10 gets. Of bare text over UDP nobody knows whether it arrives.

Exit codes: 0 when this side has left or the other has said goodbye; 1 when the other is gone without; 2 if the command line is wrong.")]
pub struct Chat {
    /// Talk over UDP, in frames or with --wire raw
    #[arg(long)]
    pub udp: bool,
    /// Be the operator, to whom others come at this address; port 0 takes any that is free
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<Address>,
    /// The operator to talk to
    #[arg(value_name = "ADDR")]
    pub address: Option<Address>,
    /// What is spoken.
    #[command(flatten)]
    pub dialect: Dialect,
    /// Print what happens as lines of JSON
    #[arg(long)]
    pub json: bool,
}

//! The `unstick` command.

mod address;
mod args;
mod chat;
mod completions;
mod decode;
mod echo;
mod exec;
mod failure;
mod files;
mod hex;
mod info;
mod man;
mod nal;
mod peer;
mod ping;
mod printable;
mod serve;
mod services;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Echo(args) => echo::run(&args),
        Command::Exec(args) => exec::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Get(args) => files::get::run(&args),
        Command::Put(args) => files::put::run(&args),
        Command::Ls(args) => files::look::list(&args),
        Command::Stat(args) => files::look::stat(&args),
        Command::Info(args) => info::run(&args),
        Command::Ping(args) => ping::run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    result.unwrap_or_else(|failure| failure.report())
}

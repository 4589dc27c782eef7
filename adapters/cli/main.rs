//! The `unstick` command.

mod address;
mod args;
mod chat;
mod completions;
mod config;
mod decode;
mod echo;
mod exec;
mod exec_json;
mod failure;
mod files;
mod hex;
mod info;
mod listen;
mod log;
mod man;
mod metrics;
mod nal;
mod over_tcp;
mod peer;
mod ping;
mod printable;
mod serve;
mod services;
mod threads;
mod wire;

use std::process::ExitCode;

use args::Command;

fn main() -> ExitCode {
    let arguments = match config::arguments() {
        Ok(arguments) => arguments,
        Err(failure) => return failure.report(),
    };
    let result = match arguments.command {
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

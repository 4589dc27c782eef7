//! Development commands: `cargo xtask help` lists them.
//!
//! `cargo xtask test` is the whole of what has to hold before a change goes in: the table [`STEPS`], in order.
//! Each step is its own command too, and brings along what it needs ([`tools`]).

mod bench;
mod boards;
mod checks;
mod conformance;
mod coverage;
mod elf;
mod fuzz;
mod miri;
mod no_panic;
mod overflow;
mod process;
mod qemu;
mod size;
mod tools;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::tools::Need;

/// One thing that `cargo xtask test` checks.
struct Step {
    name: &'static str,
    /// What is true once the step has passed.
    claim: &'static str,
    needs: &'static [Need],
    run: fn() -> Result<()>,
}

static STEPS: [Step; 11] = [
    Step {
        name: "fmt",
        claim: "the code is formatted",
        needs: checks::FMT_NEEDS,
        run: checks::fmt,
    },
    Step {
        name: "clippy",
        claim: "neither the compiler nor clippy has anything to say",
        needs: checks::CLIPPY_NEEDS,
        run: checks::clippy,
    },
    Step {
        name: "doc",
        claim: "the documentation builds and its links lead somewhere",
        needs: &[],
        run: checks::doc,
    },
    Step {
        name: "unit",
        claim: "every test, documentation example and program of the workspace passes",
        needs: checks::UNIT_NEEDS,
        run: checks::unit,
    },
    Step {
        name: "conformance",
        claim: "every engine and every emulated board does what PROTOCOL.md says",
        needs: conformance::NEEDS,
        run: conformance::all,
    },
    Step {
        name: "overflow",
        claim: "a stack that overflows says so, before anything else is harmed",
        needs: conformance::NEEDS,
        run: overflow::gate,
    },
    Step {
        name: "no-panic",
        claim: "no panic is linked into the framing on a microcontroller",
        needs: no_panic::NEEDS,
        run: no_panic::gate,
    },
    Step {
        name: "size",
        claim: "the firmware keeps to its budgets of flash, RAM and call stack",
        needs: size::NEEDS,
        run: size::gate,
    },
    Step {
        name: "coverage",
        claim: "core's tests run every line of core",
        needs: coverage::NEEDS,
        run: coverage::gate,
    },
    Step {
        name: "miri",
        claim: "core's tests pass under Miri",
        needs: miri::NEEDS,
        run: miri::run,
    },
    Step {
        name: "fuzz",
        claim: "a short run of each fuzz target finds nothing",
        needs: fuzz::NEEDS,
        run: fuzz::short,
    },
];

/// Development commands of unstick.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything below, in order; stops at the first failure
    Test,
    /// Install what the steps need, and no more
    Tools,
    /// The code is formatted
    Fmt,
    /// Neither the compiler nor clippy has anything to say
    Clippy,
    /// The documentation builds and its links lead somewhere
    Doc,
    /// cargo test --workspace, but for what conformance does
    Unit,
    /// PROTOCOL.md, asked of every engine and every emulated board; ends with a table
    Conformance {
        /// Engines and boards; all of them if there is none
        names: Vec<String>,
        /// Only the cases with this in their names
        #[arg(long, default_value = "")]
        case: String,
        /// A board that runs already, by the address of its TCP and UDP port
        #[arg(long, value_name = "ADDR", conflicts_with = "names")]
        at: Option<SocketAddr>,
    },
    /// Firmware that overflows its stack on purpose, on every emulated board
    Overflow,
    /// Flash, RAM and call stack of every board and of framing alone, against examples/boards/budgets.toml
    Size,
    /// No panic is linked into the framing on a microcontroller; prints its size in flash
    NoPanic,
    /// Core's tests run every line of core
    Coverage,
    /// Core's tests under Miri
    Miri,
    /// Build a board's firmware and run it in QEMU, until interrupted
    Qemu {
        /// The board: a directory of examples/boards
        board: String,
        /// Where the board is reached on 127.0.0.1, by TCP and UDP; 0 takes any port that is free
        #[arg(long, default_value_t = qemu::PORT)]
        port: u16,
    },
    /// Measure a board's responder beside an echo on smoltcp alone: round trip, rate and their ratios
    Bench {
        /// The board: a directory of examples/boards
        board: String,
        /// How long a body is echoed, in MiB
        #[arg(long, default_value_t = 64)]
        mib: u32,
    },
    /// Transfers of 2 GiB whose ends are killed 20 times each: some minutes, and 4 GiB of disk
    Soak,
    /// Run one fuzz target, or each of them
    Fuzz {
        /// The target's name; all of them if there is none
        target: Option<String>,
        /// How long each target runs
        #[arg(long, default_value_t = fuzz::SHORT_SECONDS)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test => test(),
        Command::Tools => tools::provide(all_needs()),
        Command::Fmt => step("fmt"),
        Command::Clippy => step("clippy"),
        Command::Doc => step("doc"),
        Command::Unit => step("unit"),
        Command::Conformance {
            case, at: Some(at), ..
        } => conformance::run_at(at, &case),
        Command::Conformance { names, case, .. } => conformance::run(&names, &case),
        Command::Overflow => step("overflow"),
        Command::Size => step("size"),
        Command::NoPanic => step("no-panic"),
        Command::Coverage => step("coverage"),
        Command::Miri => step("miri"),
        Command::Bench { board, mib } => bench::board(&board, mib),
        Command::Qemu { board, port } => qemu::run(&board, port),
        Command::Soak => checks::soak(),
        Command::Fuzz { target, seconds } => {
            tools::provide(fuzz::NEEDS).and_then(|()| match target {
                Some(target) => fuzz::one(&target, seconds),
                None => fuzz::each(seconds),
            })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all_needs() -> impl Iterator<Item = &'static Need> {
    STEPS.iter().flat_map(|step| step.needs)
}

/// Runs one step as a command of its own.
fn step(name: &str) -> Result<()> {
    let step = STEPS
        .iter()
        .find(|step| step.name == name)
        .context("no such step")?;
    tools::provide(step.needs)?;
    let start = Instant::now();
    (step.run)().context(step.name)?;
    println!("\n{}: passed in {}", step.name, seconds(start.elapsed()));
    Ok(())
}

/// Runs every step, each with its time, and stops at the first failure.
fn test() -> Result<()> {
    let start = Instant::now();
    println!("==> tools: what the steps need is there");
    tools::provide(all_needs()).context("tools")?;
    let mut times = vec![("tools", start.elapsed())];
    println!("<== tools: {}", seconds(start.elapsed()));

    for (number, step) in (1..).zip(&STEPS) {
        println!(
            "\n==> {number}/{} {}: {}",
            STEPS.len(),
            step.name,
            step.claim
        );
        let start = Instant::now();
        (step.run)().with_context(|| {
            format!(
                "step {number} of {}, {}, failed (again: cargo xtask {})",
                STEPS.len(),
                step.name,
                step.name
            )
        })?;
        println!("<== {}: {}", step.name, seconds(start.elapsed()));
        times.push((step.name, start.elapsed()));
    }

    println!();
    for (name, time) in times {
        println!("{name:>10} {:>9}", seconds(time));
    }
    println!(
        "all {} steps passed in {}",
        STEPS.len(),
        seconds(start.elapsed())
    );
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn each_step_is_a_command() {
        let arguments = Arguments::command();
        arguments.clone().debug_assert();
        for step in &STEPS {
            assert!(
                arguments.find_subcommand(step.name).is_some(),
                "{}",
                step.name
            );
        }
    }
}

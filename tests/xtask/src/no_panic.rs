//! The no-panic gate: the framing, linked for microcontrollers, has no way to panic.
//!
//! It links the program in `tests/bare` and looks twice. The panic handler of that program calls a function that
//! does not exist, so a panic that survives optimisation fails the link; and no symbol of the linked program may
//! have to do with panics. Both looks are themselves tried on a program with a panic planted in it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::elf::Elf;
use crate::process::{capture, cargo, run, target_dir};
use crate::tools::Need;

/// What [`gate`] needs.
pub const NEEDS: &[Need] = &[
    Need::Target("thumbv6m-none-eabi"),
    Need::Target("thumbv7em-none-eabi"),
    Need::Target("riscv32imac-unknown-none-elf"),
];

/// What the framing is linked for.
pub const TARGETS: [&str; 3] = [
    "thumbv6m-none-eabi",
    "thumbv7em-none-eabi",
    "riscv32imac-unknown-none-elf",
];

/// The function that the program's panic handler calls and nobody has.
const MISSING: &str = "unstick_framing_can_panic";

/// What is linked: the framing alone, and with the length codec.
const WHAT: [(&str, &[&str]); 2] = [("framing", &[]), ("framing and length codec", &["length"])];

/// Links the program for every target, as it is and with a panic planted in it.
pub fn gate() -> Result<()> {
    for target in TARGETS {
        println!();
        for (what, features) in WHAT {
            let program = link(target, features)?;
            let panics = panics(&program);
            ensure!(
                panics.is_empty(),
                "{target}: panics are linked: {}",
                list(&panics)
            );
            println!(
                "{target}: {what}: no panic; {} octets of flash",
                program.flash
            );
        }
        self_check(target)?;
    }
    Ok(())
}

/// The octets of flash that framing alone takes on this target.
pub fn framing_flash(target: &str) -> Result<u64> {
    Ok(link(target, &[])?.flash)
}

/// The gate has to refuse a program that can panic, by each of its two looks.
fn self_check(target: &str) -> Result<()> {
    let output = capture(&mut build(target, &["planted_panic"]))?;
    ensure!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains(MISSING),
        "{target}: the gate is broken: a planted panic does not fail the link\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let program = linked(target, &["planted_panic", "panics_link"])?;
    ensure!(
        !panics(&program).is_empty(),
        "{target}: the gate is broken: a planted panic is not among the symbols"
    );
    Ok(())
}

/// Links the program. If that fails for a panic, says which.
fn link(target: &str, features: &[&str]) -> Result<Elf> {
    run(&mut build(target, features))
        .and_then(|()| read(target))
        .or_else(|error| {
            let program = linked(target, &[features, &["panics_link"]].concat());
            match program.as_ref().map(panics) {
                Ok(panics) if !panics.is_empty() => {
                    bail!(
                        "{target}: the framing can panic: it needs {}",
                        list(&panics)
                    )
                }
                _ => Err(error),
            }
        })
}

/// The program when panics may be linked.
fn linked(target: &str, features: &[&str]) -> Result<Elf> {
    crate::process::read(&mut build(target, features))?;
    read(target)
}

fn read(target: &str) -> Result<Elf> {
    let program = Elf::read(&bare_dir().join(target).join("release/bare"))?;
    // Else the symbols have nothing to say.
    program.address("_start")?;
    Ok(program)
}

fn build(target: &str, features: &[&str]) -> std::process::Command {
    let mut command = cargo([
        "build",
        "--release",
        "--manifest-path",
        "tests/bare/Cargo.toml",
    ]);
    command.args(["--target", target]);
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    command.arg("--target-dir").arg(bare_dir());
    command
}

fn bare_dir() -> PathBuf {
    target_dir().join("bare")
}

/// The panics that are linked into the program.
fn panics(program: &Elf) -> BTreeSet<&str> {
    let names = program.symbols.keys().map(String::as_str);
    names
        .filter(|symbol| symbol.contains("panic") || symbol.contains("begin_unwind"))
        .collect()
}

fn list(symbols: &BTreeSet<&str>) -> String {
    let symbols: Vec<&str> = symbols.iter().copied().collect();
    symbols.join(", ")
}

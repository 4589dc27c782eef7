//! The no-panic gate: the framing, linked for microcontrollers, has no way to panic.
//!
//! It links the program in `tests/bare` and looks twice. The panic handler of that program calls a function that
//! does not exist, so a panic that survives optimisation fails the link; and no symbol of the linked program may
//! have to do with panics. Both looks are themselves tried on a program with a panic planted in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

use crate::process::{capture, cargo, run, target_dir};
use crate::tools::Need;

/// What [`gate`] needs.
pub const NEEDS: &[Need] = &[
    Need::Target("thumbv6m-none-eabi"),
    Need::Target("thumbv7em-none-eabi"),
    Need::Target("riscv32imac-unknown-none-elf"),
];

const TARGETS: [&str; 3] = [
    "thumbv6m-none-eabi",
    "thumbv7em-none-eabi",
    "riscv32imac-unknown-none-elf",
];

/// The function that the program's panic handler calls and nobody has.
const MISSING: &str = "unstick_framing_can_panic";

/// Links the program for every target, once as it is and twice with a panic planted in it.
pub fn gate() -> Result<()> {
    for target in TARGETS {
        println!();
        link(target)?;
        let program = read_program(target)?;
        ensure!(
            program.panics.is_empty(),
            "{target}: panics are linked: {}",
            list(&program.panics)
        );
        self_check(target)?;
        println!(
            "{target}: no panic; {} octets of flash (text {}, rodata {}, data {})",
            program.text + program.rodata + program.data,
            program.text,
            program.rodata,
            program.data
        );
    }
    Ok(())
}

/// The gate has to refuse a program that can panic, by each of its two looks.
fn self_check(target: &str) -> Result<()> {
    let output = capture(&mut build(target, &["planted_panic"]))?;
    ensure!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains(MISSING),
        "{target}: the gate is broken: a planted panic does not fail the link\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        !linked_panics(target, &["planted_panic", "panics_link"])?.is_empty(),
        "{target}: the gate is broken: a planted panic is not among the symbols"
    );
    Ok(())
}

/// Links the program as it is. If that fails for a panic, says which.
fn link(target: &str) -> Result<()> {
    run(&mut build(target, &[])).or_else(|error| match linked_panics(target, &["panics_link"]) {
        Ok(panics) if !panics.is_empty() => {
            bail!(
                "{target}: the framing can panic: it needs {}",
                list(&panics)
            )
        }
        _ => Err(error),
    })
}

/// The panics in the program when they may be linked.
fn linked_panics(target: &str, features: &[&str]) -> Result<BTreeSet<String>> {
    crate::process::read(&mut build(target, features))?;
    Ok(read_program(target)?.panics)
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

/// What the gate looks at in a linked program.
struct Program {
    text: u64,
    rodata: u64,
    data: u64,
    panics: BTreeSet<String>,
}

fn read_program(target: &str) -> Result<Program> {
    let path = bare_dir().join(target).join("release/bare");
    read_elf(&path).with_context(|| format!("{} cannot be read", path.display()))
}

fn read_elf(path: &Path) -> Result<Program> {
    let file = fs::read(path)?;
    let file = object::File::parse(&*file)?;
    let size = |kind| -> u64 {
        file.sections()
            .filter(|section| section.kind() == kind)
            .map(|section| section.size())
            .sum()
    };
    let symbols: Vec<String> = file
        .symbols()
        .filter_map(|symbol| {
            Some(format!(
                "{:#}",
                rustc_demangle::demangle(symbol.name().ok()?)
            ))
        })
        .collect();
    ensure!(
        symbols.iter().any(|symbol| symbol == "_start"),
        "it has no table of symbols"
    );
    Ok(Program {
        text: size(SectionKind::Text),
        rodata: size(SectionKind::ReadOnlyData) + size(SectionKind::ReadOnlyString),
        data: size(SectionKind::Data),
        panics: symbols
            .into_iter()
            .filter(|symbol| symbol.contains("panic") || symbol.contains("begin_unwind"))
            .collect(),
    })
}

fn list(symbols: &BTreeSet<String>) -> String {
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    symbols.join(", ")
}

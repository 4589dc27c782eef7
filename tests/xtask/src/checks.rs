//! The steps that are cargo's own commands.

use anyhow::Result;

use crate::boards::{self, BOARDS};
use crate::process::{cargo, run};
use crate::tools::Need;

/// The packages outside the workspace, and what they have to be told to be looked at on this machine.
const OUTSIDE: [(&str, &[&str]); 2] = [
    (
        "tests/bare/Cargo.toml",
        &["--release", "--target", "thumbv6m-none-eabi"],
    ),
    ("tests/fuzz/Cargo.toml", &["--all-targets"]),
];

/// What [`fmt`] needs.
pub const FMT_NEEDS: &[Need] = &[Need::Component("rustfmt")];

/// `cargo fmt --check`, over every package.
pub fn fmt() -> Result<()> {
    run(&mut cargo(["fmt", "--check", "--all"]))?;
    for (manifest, _) in OUTSIDE {
        run(&mut cargo(["fmt", "--check", "--manifest-path", manifest]))?;
    }
    run(&mut cargo([
        "fmt",
        "--check",
        "--all",
        "--manifest-path",
        boards::MANIFEST,
    ]))
}

/// What [`clippy`] needs.
pub const CLIPPY_NEEDS: &[Need] = &[
    Need::Component("clippy"),
    Need::Target("thumbv6m-none-eabi"),
    Need::Target("thumbv7m-none-eabi"),
    Need::Target("riscv32imac-unknown-none-elf"),
    Need::CPP,
];

/// `cargo clippy`, over every package.
pub fn clippy() -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    run(cargo(["clippy", "--workspace", "--all-targets"]).args(deny))?;
    for (manifest, arguments) in OUTSIDE {
        run(cargo(["clippy", "--manifest-path", manifest])
            .args(arguments)
            .args(deny))?;
    }
    for board in BOARDS {
        run(board.cargo("clippy").args(deny))?;
    }
    Ok(())
}

/// `cargo doc`, with warnings denied.
pub fn doc() -> Result<()> {
    run(cargo(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// What [`unit()`] needs.
pub const UNIT_NEEDS: &[Need] = &[Need::PYTHON];

/// `cargo test`, over the whole workspace, but for the engines under the conformance suite: that is a step of its own.
pub fn unit() -> Result<()> {
    run(&mut cargo([
        "test",
        "--workspace",
        "--exclude",
        "conformance",
    ]))?;
    run(&mut cargo(["test", "--package", "conformance", "--lib"]))?;
    // A stack for boards that is tested here, against a module made of software.
    run(cargo([
        "test",
        "--package",
        "winc1500",
        "--manifest-path",
        boards::MANIFEST,
        "--target-dir",
    ])
    .arg(boards::directory()))
}

/// The transfers that take too long for every run: 2 GiB each way, as they are built to be used.
pub fn soak() -> Result<()> {
    run(&mut cargo([
        "test",
        "--release",
        "--test",
        "files_killed",
        "--",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]))
}

//! Where the project is, and how other programs are run in it.

use std::env;
use std::ffi::OsStr;
use std::path::{self, Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

/// The workspace's root directory.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")); // ROOT/tests/xtask
    here.ancestors().nth(2).unwrap_or(here)
}

/// The directory that cargo builds into; what the steps leave behind goes there too.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => path::absolute(&dir).unwrap_or(dir.into()),
        None => root().join("target"),
    }
}

/// A command that runs `program` in the workspace's root.
///
/// What the `cargo run` behind `cargo xtask` has set for this program alone is taken away again: else build
/// scripts that look at it would run anew each time.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_")
        {
            command.env_remove(name);
        }
    }
    if env::var_os("CARGO_TARGET_DIR").is_some() {
        command.env("CARGO_TARGET_DIR", target_dir());
    }
    command
}

/// `cargo` of the toolchain that `cargo xtask` itself was called with.
pub fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = command("cargo");
    command.args(arguments);
    command
}

/// A program under the nightly toolchain.
pub fn nightly<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = command("rustup");
    command.args(["run", "nightly"]).args(arguments);
    command
}

/// Shows the command, runs it with its output passed on, and fails if it does.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line(command));
    let status = command
        .status()
        .with_context(|| format!("`{}` could not be started", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs the command and keeps its output, whether it succeeds or not.
pub fn capture(command: &mut Command) -> Result<Output> {
    command
        .output()
        .with_context(|| format!("`{}` could not be started", line(command)))
}

/// Runs the command and returns what it wrote to its standard output. What it wrote to either is in the error.
pub fn read(command: &mut Command) -> Result<String> {
    let output = capture(command)?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({})\n{}{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it in the workspace's root.
pub fn line(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value
            && name != "CARGO_TARGET_DIR"
        {
            line += &format!("{}={:?} ", name.to_string_lossy(), value.to_string_lossy());
        }
    }
    for word in words {
        let word = Path::new(word);
        let word = word.strip_prefix(root()).unwrap_or(word).to_string_lossy();
        line += &word;
        line += " ";
    }
    line.trim_end().to_owned()
}

//! Where the project is, and how other programs are run in it.

use std::env;
use std::ffi::OsStr;
use std::path::{self, Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, bail};

/// The workspace's root directory.
///
/// `cargo run` says at run time where this package is. What was true at compile time is the second choice: a
/// target directory may be shared by several copies of the project.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let here = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        here.ancestors().nth(2).unwrap_or(&here).to_path_buf() // ROOT/tests/xtask
    });
    &ROOT
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

/// Does `work` for every item, two items at once, and starts no more once one has failed.
pub fn two_at_once<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let waiting = AtomicUsize::new(0);
    let worker = || -> Result<()> {
        while let Some(item) = items.get(waiting.fetch_add(1, Ordering::Relaxed)) {
            work(item).inspect_err(|_| waiting.store(items.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        let results = workers.map(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread has panicked"),
        });
        results.into_iter().collect()
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let count = AtomicUsize::new(0);
        let work = |item: &usize| {
            count.fetch_add(*item, Ordering::Relaxed);
            Ok(())
        };
        assert!(two_at_once(&[1, 10, 100, 1000, 10_000], work).is_ok());
        assert_eq!(count.into_inner(), 11_111);
    }

    #[test]
    fn one_failure_fails_them_all() {
        let work = |item: &u8| if *item == 3 { bail!("three") } else { Ok(()) };
        let result = two_at_once(&[1, 2, 3, 4, 5], work);
        assert_eq!(
            result.map_err(|error| error.to_string()),
            Err("three".to_owned())
        );
    }
}

//! The fuzz targets of `tests/fuzz`, run for a while with cargo-fuzz.
//!
//! A target starts from the inputs in `tests/fuzz/seeds/TARGET`, which are part of the project, and from what
//! earlier runs found worth keeping, in `target/fuzz-corpus/TARGET`. An input that breaks something is written
//! to `tests/fuzz/artifacts/TARGET`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{line, nightly, read, root, run, target_dir, two_at_once};
use crate::tools::{Need, cargo_tool_path};

/// What the fuzz targets need.
pub const NEEDS: &[Need] = &[Need::CPP, Need::Nightly("llvm-tools"), Need::CARGO_FUZZ];

/// How long each target runs when nothing else is asked for.
pub const SHORT_SECONDS: u64 = 20;

/// The end of a target's output that is shown when it finds something, in lines.
const TAIL: usize = 60;

/// Each target for a short while.
pub fn short() -> Result<()> {
    each(SHORT_SECONDS)
}

/// Runs one target for so many seconds, with its output passed on.
pub fn one(target: &str, seconds: u64) -> Result<()> {
    let targets = targets()?;
    ensure!(
        targets.iter().any(|name| name == target),
        "there is no fuzz target {target}, only {}",
        targets.join(", ")
    );
    run(&mut fuzzer(target, seconds)?).context(advice(target))
}

/// Runs every target for so many seconds, two at once, and shows the end of what each says.
pub fn each(seconds: u64) -> Result<()> {
    let targets = targets()?;
    run(cargo_fuzz("build").args(["--target-dir"]).arg(build_dir()))?;
    println!(
        "{} targets, {seconds} s each: {}",
        targets.len(),
        targets.join(", ")
    );

    two_at_once(&targets, |target| logged(target, seconds))
}

/// Runs one target with its output in a file, and shows what matters of it.
fn logged(target: &str, seconds: u64) -> Result<()> {
    let path = target_dir().join(format!("fuzz-{target}.log"));
    let log = File::create(&path)?;
    let mut command = fuzzer(target, seconds)?;
    let status = command
        .stdout(log.try_clone()?)
        .stderr(log)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("`{}` could not be started", line(&command)))?;
    let log = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    if !status.success() {
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        // In one piece: another target may be talking too.
        println!("$ {}\n{}", line(&command), tail.join("\n"));
        bail!("{}", advice(target));
    }
    println!(
        "{target}: {}",
        summary(&log).with_context(|| format!("the fuzz target {target} did not run"))?
    );
    Ok(())
}

/// libFuzzer's last words, "Done 123 runs in 21 second(s)", and how much code the target has reached.
fn summary(log: &str) -> Option<String> {
    let done = log.lines().rfind(|line| line.starts_with("Done "))?;
    let reached = log
        .lines()
        .rev()
        .find_map(|line| line.split_once(" cov: "))
        .and_then(|(_, rest)| rest.split_whitespace().next());
    Some(match reached {
        Some(reached) => format!("{done}, {reached} edges reached, nothing found"),
        None => format!("{done}, nothing found"),
    })
}

fn advice(target: &str) -> String {
    format!(
        "the fuzz target {target} failed; an input it found is in tests/fuzz/artifacts/{target}, and the output \
         above says how to run it again"
    )
}

fn targets() -> Result<Vec<String>> {
    let targets: Vec<String> = read(&mut cargo_fuzz("list"))?
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    ensure!(!targets.is_empty(), "tests/fuzz has no targets");
    Ok(targets)
}

/// The command that runs a target.
fn fuzzer(target: &str, seconds: u64) -> Result<Command> {
    let corpus = target_dir().join("fuzz-corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("{} cannot be made", corpus.display()))?;
    let seeds = root().join("tests/fuzz/seeds").join(target);

    let mut command = cargo_fuzz("run");
    command.arg("--target-dir").arg(build_dir()).arg(target);
    // The first directory is the one that new inputs are written to.
    command.arg(corpus);
    if seeds.exists() {
        command.arg(seeds);
    }
    command.args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-timeout=10",
        "-rss_limit_mb=2048",
    ]);
    Ok(command)
}

fn cargo_fuzz(subcommand: &str) -> Command {
    let mut command = nightly([cargo_tool_path("cargo-fuzz")]);
    command.args(["fuzz", subcommand, "--fuzz-dir", "tests/fuzz"]);
    command
}

fn build_dir() -> PathBuf {
    target_dir().join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summed_up() {
        let log = "#2 INITED cov: 90 ft: 91\n#9 NEW    cov: 123 ft: 456 corp: 7\nDone 99 runs in 2 second(s)\n";
        assert_eq!(
            summary(log).as_deref(),
            Some("Done 99 runs in 2 second(s), 123 edges reached, nothing found")
        );
        assert_eq!(summary("error: no such target\n"), None);
    }
}

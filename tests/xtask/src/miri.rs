//! Core's tests under Miri, which checks what the compiler takes for granted.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::process::{self, line, nightly, root, target_dir, two_at_once};
use crate::tools::Need;

/// What [`run()`] needs.
pub const NEEDS: &[Need] = &[Need::Nightly("miri"), Need::Nightly("rust-src")];

/// How many cases a property test tries: Miri is some hundred times slower than the processor.
const CASES: &str = "8";

/// `cargo miri test`, for core alone: all else does input and output. Miri uses one processor only, so two of
/// core's test programs run at once.
pub fn run() -> Result<()> {
    process::run(&mut miri(&["--tests", "--no-run"]))?;
    let mut programs = vec![vec!["--doc".to_owned()], vec!["--lib".to_owned()]];
    for name in test_names()? {
        programs.push(vec!["--test".to_owned(), name]);
    }
    two_at_once(&programs, |program| {
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        let mut command = miri(&program);
        let start = Instant::now();
        let output = process::capture(&mut command)?;
        // In one piece: another program may be talking too.
        println!(
            "$ {}\n{}{}({:.1} s)\n",
            line(&command),
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
            start.elapsed().as_secs_f64()
        );
        ensure!(output.status.success(), "`{}` failed", line(&command));
        Ok(())
    })
}

/// The names of core's test programs: one a file.
fn test_names() -> Result<Vec<String>> {
    let directory = root().join("core/tests");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).context("core has no tests")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    ensure!(!names.is_empty(), "core has no tests");
    names.sort();
    Ok(names)
}

fn miri(arguments: &[&str]) -> Command {
    let mut command = nightly(["cargo", "miri", "test", "-p", "unstick-core"]);
    command
        .args(arguments)
        // Property tests keep what they found in files.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("PROPTEST_CASES", CASES)
        .env("CARGO_TARGET_DIR", target_dir().join("miri"));
    command
}

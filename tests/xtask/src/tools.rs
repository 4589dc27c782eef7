//! What the steps need: found, installed if it can be, named if it cannot.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{self, command, read};

/// Something that has to be on the machine before a step can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A program that cannot be installed from here: how to see that it is there, and who has it.
    Program {
        /// The command whose success shows that it is there.
        check: &'static [&'static str],
        /// What to install if it is not.
        advice: &'static str,
    },
    /// The standard library for another target, in the toolchain in use.
    Target(&'static str),
    /// A component of the toolchain in use.
    Component(&'static str),
    /// A component of the nightly toolchain, and that toolchain.
    Nightly(&'static str),
    /// A cargo command, installed into `target/tools` in exactly this version.
    CargoTool {
        /// The crate's name.
        name: &'static str,
        /// The crate's version.
        version: &'static str,
    },
}

impl Need {
    /// Python: the tests talk to the server with it, as its users do.
    pub const PYTHON: Self = Self::Program {
        check: &["python3", "--version"],
        advice: "python3 is missing: install Python 3 (Debian: apt-get install python3)",
    };
    /// A C++ compiler: libFuzzer is written in C++.
    pub const CPP: Self = Self::Program {
        check: &["c++", "--version"],
        advice: "c++ is missing: install a C++ compiler (Debian: apt-get install g++)",
    };
    const RUSTUP: Self = Self::Program {
        check: &["rustup", "--version"],
        advice: "rustup is missing: install it as https://rustup.rs says",
    };
    /// Runs a fuzz target.
    pub const CARGO_FUZZ: Self = Self::CargoTool {
        name: "cargo-fuzz",
        version: "0.13.2",
    };
    /// Measures coverage.
    pub const CARGO_LLVM_COV: Self = Self::CargoTool {
        name: "cargo-llvm-cov",
        version: "0.9.1",
    };

    /// Whether rustup has to provide it.
    fn is_rustups(self) -> bool {
        matches!(
            self,
            Self::Target(_) | Self::Component(_) | Self::Nightly(_)
        )
    }
}

/// Makes sure that all of `needs` are there: installs what is missing, one line each.
pub fn provide<'n>(needs: impl IntoIterator<Item = &'n Need>) -> Result<()> {
    let mut needs: BTreeSet<Need> = needs.into_iter().copied().collect();
    if needs.iter().any(|need| need.is_rustups()) {
        needs.insert(Need::RUSTUP);
    }

    // In the order of the variants: what can only be complained about comes first.
    let mut installed = Installed::default();
    for need in needs {
        match need {
            Need::Program { check, advice } => program(check, advice)?,
            Need::Target(target) => installed.target(target)?,
            Need::Component(component) => installed.component(component)?,
            Need::Nightly(component) => installed.nightly(component)?,
            Need::CargoTool { name, version } => cargo_tool(name, version)?,
        }
    }
    Ok(())
}

fn program(check: &[&str], advice: &'static str) -> Result<()> {
    let (program, arguments) = check.split_first().context("an empty check")?;
    match command(program).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!(advice),
    }
}

/// What rustup has installed, asked once each.
#[derive(Default)]
struct Installed {
    targets: Option<String>,
    components: Option<String>,
    nightly_components: Option<String>,
}

impl Installed {
    fn target(&mut self, target: &str) -> Result<()> {
        let list = match &mut self.targets {
            Some(list) => list,
            none => none.insert(read(command("rustup").args([
                "target",
                "list",
                "--installed",
            ]))?),
        };
        if !list.lines().any(|line| line == target) {
            install(
                &format!("the target {target}"),
                &["rustup", "target", "add", target],
            )?;
        }
        Ok(())
    }

    fn component(&mut self, component: &str) -> Result<()> {
        let list = match &mut self.components {
            Some(list) => list,
            none => none.insert(read(command("rustup").args([
                "component",
                "list",
                "--installed",
            ]))?),
        };
        if !has_component(list, component) {
            install(
                &format!("the component {component}"),
                &["rustup", "component", "add", component],
            )?;
        }
        Ok(())
    }

    fn nightly(&mut self, component: &str) -> Result<()> {
        let list = match &mut self.nightly_components {
            Some(list) => list,
            none => {
                if !has_nightly(&read(command("rustup").args(["toolchain", "list"]))?) {
                    install(
                        "a nightly toolchain",
                        &[
                            "rustup",
                            "toolchain",
                            "install",
                            "nightly",
                            "--profile",
                            "minimal",
                            "--no-self-update",
                        ],
                    )?;
                }
                none.insert(read(command("rustup").args([
                    "component",
                    "list",
                    "--installed",
                    "--toolchain",
                    "nightly",
                ]))?)
            }
        };
        if !has_component(list, component) {
            install(
                &format!("the nightly toolchain's component {component}"),
                &[
                    "rustup",
                    "component",
                    "add",
                    component,
                    "--toolchain",
                    "nightly",
                ],
            )
            .with_context(|| {
                format!("the nightly toolchain has no {component}: try `rustup update nightly`")
            })?;
        }
        Ok(())
    }
}

/// Whether rustup's list names the component, alone or with a target behind it.
fn has_component(list: &str, component: &str) -> bool {
    list.lines().any(|line| {
        line.strip_prefix(component)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// Whether rustup's list names the nightly toolchain; one of a certain date is another.
fn has_nightly(list: &str) -> bool {
    list.split_whitespace()
        .filter_map(|word| word.strip_prefix("nightly"))
        .any(|rest| match rest.strip_prefix('-') {
            Some(rest) => !rest.starts_with(|first: char| first.is_ascii_digit()),
            None => rest.is_empty(),
        })
}

/// Where cargo tools are installed: the programs are in its `bin`.
fn tools_dir() -> PathBuf {
    process::root().join("target/tools")
}

/// The program of a cargo tool that a step has asked for with [`Need::CargoTool`].
pub fn cargo_tool_path(name: &str) -> PathBuf {
    tools_dir()
        .join("bin")
        .join(name)
        .with_extension(std::env::consts::EXE_EXTENSION)
}

fn cargo_tool(name: &str, version: &str) -> Result<()> {
    let installed = fs::read_to_string(tools_dir().join(".crates2.json")).unwrap_or_default();
    if has_crate(&installed, name, version) && cargo_tool_path(name).exists() {
        return Ok(());
    }
    let root = tools_dir();
    install(
        &format!("{name} {version} into target/tools"),
        &[
            "cargo",
            "install",
            name,
            "--version",
            &format!("={version}"),
            "--locked",
            "--force",
            "--root",
            &root.to_string_lossy(),
        ],
    )
}

/// Whether cargo's own record of what it has installed names the crate in this version.
fn has_crate(record: &str, name: &str, version: &str) -> bool {
    let record: Value = serde_json::from_str(record).unwrap_or_default();
    record["installs"].as_object().is_some_and(|installs| {
        installs
            .keys()
            .any(|key| key.starts_with(&format!("{name} {version} ")))
    })
}

/// Installs something with one line about it; all that the installer says is in the error, if there is one.
fn install(what: &str, words: &[&str]) -> Result<()> {
    println!("installing {what}");
    let start = Instant::now();
    let (program, arguments) = words.split_first().context("an empty command")?;
    let mut command = command(program);
    command.args(arguments);
    // Else `cargo install` would build among the project's own files and cargo would wait for itself.
    command.env_remove("CARGO_TARGET_DIR");
    read(&mut command).with_context(|| format!("{what} could not be installed"))?;
    let time = start.elapsed().as_secs();
    if time >= 10 {
        println!("installed {what} in {time} s");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_found_in_rustups_list() {
        let list =
            "cargo-x86_64-unknown-linux-gnu\nllvm-tools-x86_64-unknown-linux-gnu\nrust-src\n";
        assert!(has_component(list, "llvm-tools"));
        assert!(has_component(list, "rust-src"));
        assert!(!has_component(list, "miri"));
    }

    #[test]
    fn a_dated_nightly_is_not_the_nightly() {
        assert!(has_nightly(
            "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-x86_64-unknown-linux-gnu\n"
        ));
        assert!(has_nightly("nightly"));
        assert!(!has_nightly(
            "stable-x86_64-unknown-linux-gnu\nnightly-2026-01-01-x86_64-unknown-linux-gnu\n"
        ));
    }

    #[test]
    fn crates_are_found_in_cargos_record() {
        let record = r#"{"installs":{"cargo-fuzz 0.13.2 (registry+https://example.org)":{"bins":["cargo-fuzz"]}}}"#;
        assert!(has_crate(record, "cargo-fuzz", "0.13.2"));
        assert!(!has_crate(record, "cargo-fuzz", "0.13.1"));
        assert!(!has_crate(record, "cargo-llvm-cov", "0.13.2"));
        assert!(!has_crate("", "cargo-fuzz", "0.13.2"));
    }
}

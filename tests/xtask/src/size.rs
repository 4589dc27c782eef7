//! What the firmware takes of a microcontroller, against the budgets in `examples/boards/budgets.toml`.
//!
//! Flash and RAM are read off the linked program. What a slot takes, and what the call stack has needed, the board says itself, after
//! the hostile cases of the conformance suite.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use conformance::{Target, run_some};
use serde::Deserialize;
use serde_json::json;

use crate::boards::{self, BOARDS, Board, Firmware};
use crate::elf::Elf;
use crate::no_panic;
use crate::process::root;
use crate::qemu::{PORT, Qemu};
use crate::tools::{self, Need};

/// What it needs.
pub const NEEDS: &[Need] = &[
    Need::Target("thumbv6m-none-eabi"),
    Need::Target("thumbv7m-none-eabi"),
    Need::Target("thumbv7em-none-eabi"),
    Need::Target("riscv32imac-unknown-none-elf"),
    boards::ARM,
    boards::RISCV,
];

/// Where the budgets are.
const BUDGETS: &str = "examples/boards/budgets.toml";

/// The cases that the call stack is measured under, by what is in their names.
const HOSTILE: &str = "hostile";

/// The most that something may take, in octets but for `stack_left`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    flash: u64,
    /// With the whole region of the call stack.
    ram: Option<u64>,
    slot: Option<u64>,
    /// What is to be left of the call stack, in percent.
    stack_left: Option<u64>,
}

/// What a program takes, in octets.
#[derive(Debug)]
struct Sizes {
    flash: u64,
    /// Variables, and the region of the call stack.
    variables: u64,
    stack: u64,
    run: Option<Run>,
}

/// What a run has shown.
#[derive(Debug)]
struct Run {
    slot: u64,
    stack_peak: u64,
}

/// Builds everything, prints what each takes, and fails if it is more than its budget.
pub fn gate() -> Result<()> {
    let text = fs::read_to_string(root().join(BUDGETS)).context(BUDGETS)?;
    let mut budgets: BTreeMap<String, Budget> = toml::from_str(&text).context(BUDGETS)?;
    let mut budget = |name: &str| {
        let budget = budgets.remove(name);
        budget.with_context(|| format!("{BUDGETS} has no [{name}]"))
    };
    let mut faults = Vec::new();
    let mut rows = vec![row([
        "",
        "flash",
        "variables",
        "stack",
        "RAM",
        "slot",
        "stack used",
        "left",
    ])];

    let framing = budget("framing")?;
    for target in no_panic::TARGETS {
        let flash = no_panic::framing_flash(target)?;
        let name = format!("framing, {target}");
        rows.push(row([&name, &flash.to_string(), "", "", "", "", "", ""]));
        over(&mut faults, &name, "flash", flash, framing.flash);
    }
    for board in BOARDS {
        let sizes = measure(board).context(board.name)?;
        rows.push(sizes.row(board.name));
        sizes.check(board.name, &budget(board.name)?, &mut faults)?;
    }
    println!("\n{}", rows.join("\n"));
    println!(
        "in octets; the stack is measured under the conformance suite's hostile cases; - is not emulated"
    );
    if let Some(name) = budgets.keys().next() {
        bail!("{BUDGETS} has [{name}], which is no board");
    }
    ensure!(faults.is_empty(), "over budget: {}", faults.join("; "));
    Ok(())
}

fn measure(board: &'static Board) -> Result<Sizes> {
    tools::provide(&board.needs())?;
    board.build()?;
    let elf = Elf::read(&board.firmware(Firmware::Responder))?;
    Ok(Sizes {
        flash: elf.flash,
        variables: elf.ram,
        stack: elf.address("_stack_start")? - elf.address("_stack_end")?,
        run: board
            .emulator
            .as_ref()
            .map(|_| hostile(board))
            .transpose()?,
    })
}

/// Runs the hostile cases, and asks the board afterwards.
fn hostile(board: &Board) -> Result<Run> {
    let qemu = Qemu::boot(board, Firmware::Responder, PORT, 0)?;
    let target = Target::board(qemu.address, qemu.address);
    let report = run_some(&target, HOSTILE);
    ensure!(
        report.is_good(),
        "the hostile cases fail: {:?}",
        report.failed
    );
    let frame = target.ask(&json!({"op": "exec"}), b"stats")?;
    let stats = String::from_utf8(frame.body).context("stats are text")?;
    let count = |name: &str| {
        let mut lines = stats.lines().filter_map(|line| line.split_once(' '));
        let count = lines.find(|(key, _)| *key == name);
        let count = count.and_then(|(_, count)| count.parse().ok());
        count.with_context(|| format!("stats has no number {name}: {stats}"))
    };
    Ok(Run {
        slot: count("slot_len")?,
        stack_peak: count("stack_peak")?,
    })
}

impl Sizes {
    fn ram(&self) -> u64 {
        self.variables + self.stack
    }

    /// What is left of the call stack, in percent.
    fn stack_left(&self, run: &Run) -> u64 {
        self.stack.saturating_sub(run.stack_peak) * 100 / self.stack.max(1)
    }

    fn check(&self, name: &str, budget: &Budget, faults: &mut Vec<String>) -> Result<()> {
        over(faults, name, "flash", self.flash, budget.flash);
        over(
            faults,
            name,
            "RAM",
            self.ram(),
            budget.ram.context("no budget of RAM")?,
        );
        let Some(run) = &self.run else {
            return Ok(());
        };
        over(
            faults,
            name,
            "a slot",
            run.slot,
            budget.slot.context("no budget of a slot")?,
        );
        let (left, least) = (
            self.stack_left(run),
            budget.stack_left.context("no `stack_left`")?,
        );
        if left < least {
            faults.push(format!(
                "{name}: {left} % of the call stack are left, not {least}"
            ));
        }
        Ok(())
    }

    fn row(&self, name: &str) -> String {
        let run = |value: fn(&Self, &Run) -> String| {
            let value = self.run.as_ref().map(|run| value(self, run));
            value.unwrap_or_else(|| "-".to_owned())
        };
        row([
            name,
            &self.flash.to_string(),
            &self.variables.to_string(),
            &self.stack.to_string(),
            &self.ram().to_string(),
            &run(|_, run| run.slot.to_string()),
            &run(|_, run| run.stack_peak.to_string()),
            &run(|sizes, run| format!("{} %", sizes.stack_left(run))),
        ])
    }
}

fn over(faults: &mut Vec<String>, name: &str, what: &str, size: u64, budget: u64) {
    if size > budget {
        faults.push(format!("{name}: {what} is {size} octets, not {budget}"));
    }
}

fn row([name, flash, variables, stack, ram, slot, peak, left]: [&str; 8]) -> String {
    format!(
        "{name:38} {flash:>7} {variables:>9} {stack:>6} {ram:>6} {slot:>5} {peak:>10} {left:>5}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget {
        flash: 100,
        ram: Some(100),
        slot: Some(10),
        stack_left: Some(25),
    };

    fn faults(flash: u64, variables: u64, slot: u64, stack_peak: u64) -> usize {
        let sizes = Sizes {
            flash,
            variables,
            stack: 40,
            run: Some(Run { slot, stack_peak }),
        };
        let mut faults = Vec::new();
        sizes
            .check("a board", &BUDGET, &mut faults)
            .expect("a whole budget");
        faults.len()
    }

    #[test]
    fn what_is_over_budget_is_a_fault() {
        assert_eq!(faults(100, 60, 10, 30), 0);
        assert_eq!(faults(101, 60, 10, 30), 1);
        assert_eq!(faults(100, 61, 10, 30), 1);
        assert_eq!(faults(100, 60, 11, 30), 1);
        assert_eq!(faults(100, 60, 10, 31), 1);
        assert_eq!(faults(101, 61, 11, 41), 4);
    }

    #[test]
    fn every_board_has_a_budget() {
        let text = fs::read_to_string(root().join(BUDGETS)).expect(BUDGETS);
        let budgets: BTreeMap<String, Budget> = toml::from_str(&text).expect(BUDGETS);
        for board in BOARDS {
            assert!(budgets.contains_key(board.name), "{}", board.name);
        }
    }
}

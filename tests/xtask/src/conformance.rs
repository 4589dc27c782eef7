//! The conformance suite, against every engine of the desktop and every board that is emulated.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conformance::{ENGINES, Engine, Report, Running, Server, Target, run_some};

use crate::boards::{self, BOARDS, Board, Firmware};
use crate::qemu::{PORT, Qemu};
use crate::tools::{self, Need};

/// What all of it needs.
pub const NEEDS: &[Need] = &[
    Need::Target("thumbv7m-none-eabi"),
    Need::Target("riscv32imac-unknown-none-elf"),
    boards::ARM,
    boards::RISCV,
];

/// What the suite is run against.
#[derive(Clone, Copy)]
enum Subject {
    Engine(&'static Engine),
    Board(&'static Board),
}

/// All engines, and all boards that can be run here.
fn subjects() -> impl Iterator<Item = Subject> {
    let boards = BOARDS.iter().filter(|board| board.emulator.is_some());
    let engines = ENGINES.iter().map(Subject::Engine);
    engines.chain(boards.map(Subject::Board))
}

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::Engine(engine) => engine.name,
            Self::Board(board) => board.name,
        }
    }

    fn named(name: &str) -> Result<Self> {
        let known = subjects().find(|subject| subject.name() == name);
        known.with_context(|| {
            let names: Vec<&str> = subjects().map(Self::name).collect();
            format!("there is no {name}, only {}", names.join(", "))
        })
    }

    fn start(self) -> Result<Running> {
        match self {
            Self::Engine(engine) => (engine.start)(),
            Self::Board(board) => {
                tools::provide(&board.needs())?;
                board.build()?;
                let qemu = Qemu::boot(board, Firmware::Responder, PORT, 0)?;
                Ok(Running {
                    target: Target::board(qemu.address, qemu.address),
                    server: Box::new(qemu),
                })
            }
        }
    }

    fn run(self, case: &str) -> Result<Report> {
        println!("\n{}:", self.name());
        let mut running = self.start()?;
        let report = run_some(&running.target, case);
        running.server.check()?;
        Ok(report)
    }
}

impl Server for Qemu {
    fn check(&mut self) -> Result<()> {
        // A board that is well has said all it had to say.
        if let Some(line) = self.line_until(Instant::now()) {
            anyhow::bail!("the board says: {line}");
        }
        self.assert_running()
    }
}

/// Every case against every subject.
pub fn all() -> Result<()> {
    run(&[], "")
}

/// The cases whose names have `case` in them against these subjects, or against all of them if none is named.
pub fn run(names: &[String], case: &str) -> Result<()> {
    let chosen: Vec<Subject> = match names {
        [] => subjects().collect(),
        names => names
            .iter()
            .map(|name| Subject::named(name))
            .collect::<Result<_>>()?,
    };
    let mut rows = Vec::new();
    for subject in chosen {
        let report = subject.run(case).context(subject.name())?;
        rows.push((subject.name(), report));
    }
    conclude(&rows)
}

/// The same against a board that runs already, wherever it is.
pub fn run_at(address: SocketAddr, case: &str) -> Result<()> {
    let report = run_some(&Target::board(address, address), case);
    conclude(&[(&address.to_string(), report)])
}

/// Prints the table, and fails unless all have passed all cases, and the same ones.
fn conclude(rows: &[(&str, Report)]) -> Result<()> {
    println!("\n{:16} {:>6} {:>6} {:>9}", "", "passed", "failed", "time");
    for (name, report) in rows {
        let (passed, failed) = (report.passed, report.failed.len());
        println!(
            "{name:16} {passed:6} {failed:6} {:>9}",
            seconds(report.time)
        );
    }
    let passed: usize = rows.iter().map(|(_, report)| report.passed).sum();
    let failed: usize = rows.iter().map(|(_, report)| report.failed.len()).sum();
    let time = rows.iter().map(|(_, report)| report.time).sum();
    println!("{:16} {passed:6} {failed:6} {:>9}", "all", seconds(time));
    for (name, report) in rows {
        for (case, why) in &report.failed {
            println!("{name}: {case}: {why}");
        }
    }
    ensure!(failed == 0, "{failed} cases failed");
    ensure!(passed > 0, "no case has run");
    let counts = rows
        .windows(2)
        .all(|pair| pair[0].1.passed == pair[1].1.passed);
    ensure!(counts, "not all have passed the same cases");
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(passed: usize, failed: usize) -> Report {
        Report {
            passed,
            failed: vec![("a case", "why".to_owned()); failed],
            time: Duration::ZERO,
        }
    }

    #[test]
    fn all_have_to_pass_the_same() {
        assert!(conclude(&[("a", report(2, 0)), ("b", report(2, 0))]).is_ok());
        assert!(conclude(&[("a", report(2, 0)), ("b", report(1, 0))]).is_err());
        assert!(conclude(&[("a", report(2, 1)), ("b", report(2, 0))]).is_err());
        assert!(conclude(&[]).is_err());
    }

    #[test]
    fn names_are_known_and_different() {
        let mut names: Vec<&str> = subjects().map(Subject::name).collect();
        assert!(names.iter().all(|name| Subject::named(name).is_ok()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(Subject::named("no such board").is_err());
    }

    #[test]
    fn what_the_boards_need_is_known() {
        for subject in subjects() {
            if let Subject::Board(board) = subject {
                assert!(
                    board.needs().iter().all(|need| NEEDS.contains(need)),
                    "{}",
                    board.name
                );
            }
        }
    }
}

//! Running the cases.

use std::time::{Duration, Instant};

use crate::cases::{Case, cases};
use crate::target::Target;

/// What became of the cases.
#[derive(Debug, Default)]
pub struct Report {
    /// How many have passed.
    pub passed: usize,
    /// Which have not, and why.
    pub failed: Vec<(&'static str, String)>,
    /// How long it took.
    pub time: Duration,
}

impl Report {
    /// Whether all have passed.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.passed > 0
    }
}

/// Runs every case, in order, and prints a line for each.
pub fn run(target: &Target) -> Report {
    run_some(target, "")
}

/// The same for those cases whose names have this in them.
pub fn run_some(target: &Target, name: &str) -> Report {
    let start = Instant::now();
    let mut report = Report::default();
    for case in cases().filter(|case| case.name.contains(name)) {
        run_case(case, target, &mut report);
    }
    report.time = start.elapsed();
    println!(
        "{} cases passed, {} failed, {:.1} s",
        report.passed,
        report.failed.len(),
        report.time.as_secs_f64()
    );
    report
}

fn run_case(case: &Case, target: &Target, report: &mut Report) {
    let start = Instant::now();
    let result = (case.run)(target);
    let time = start.elapsed().as_secs_f64();
    match result {
        Ok(()) => {
            println!("{time:8.3} s  {}", case.name);
            report.passed += 1;
        }
        Err(error) => {
            let why = format!("{error:#} (seed {})", target.seed);
            println!("{time:8.3} s  {}: FAILED: {why}", case.name);
            report.failed.push((case.name, why));
        }
    }
}

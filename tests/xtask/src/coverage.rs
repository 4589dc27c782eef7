//! The coverage gate: core's tests run every line of core, but for lines that say why they cannot.
//!
//! `// not covered: REASON`, on the line itself or alone on the line above it, excuses one line. The excuse is
//! checked too: one without a reason, or on a line that the tests do run, fails the gate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{command, root, run, target_dir};
use crate::tools::{Need, cargo_tool_path};

/// What [`gate`] needs.
pub const NEEDS: &[Need] = &[Need::Component("llvm-tools"), Need::CARGO_LLVM_COV];

/// The excuse, in front of its reason.
const MARKER: &str = "// not covered:";

/// How often each line that has code was run, by the line's number.
type Counts = BTreeMap<u64, u64>;

/// Runs core's tests and looks at each line.
pub fn gate() -> Result<()> {
    let export = target_dir().join("coverage.lcov");
    run(command(cargo_tool_path("cargo-llvm-cov"))
        .args(["llvm-cov", "--package", "unstick-core"])
        .args(["--lcov", "--output-path"])
        .arg(&export))?;
    let export = fs::read_to_string(&export)
        .with_context(|| format!("{} cannot be read", export.display()))?;

    let sources = root().join("core/src").canonicalize()?;
    let mut total = Report::default();
    for (path, counts) in parse(&export)? {
        let Ok(name) = path.strip_prefix(&sources) else {
            continue;
        };
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        total.add(&Path::new("core/src").join(name), &text, &counts);
    }
    total.conclude()
}

/// The counts of each file in an export in lcov's format.
///
/// A file or line may be named more than once, as a generic function is compiled more than once: a line is
/// covered when any of them is.
fn parse(export: &str) -> Result<BTreeMap<PathBuf, Counts>> {
    let mut files = BTreeMap::<PathBuf, Counts>::new();
    let mut file = None;
    for line in export.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            file = Some(files.entry(path.into()).or_default());
        } else if let Some(data) = line.strip_prefix("DA:") {
            let mut numbers = data.split(',').map(str::parse);
            let (Some(Ok(number)), Some(Ok(count)), Some(file)) =
                (numbers.next(), numbers.next(), file.as_mut())
            else {
                bail!("the export has a line that is not understood: {line}");
            };
            let seen = file.entry(number).or_default();
            *seen = count.max(*seen);
        }
    }
    Ok(files)
}

/// What was found, over all files, in lines.
#[derive(Debug, Default)]
struct Report {
    covered: u64,
    excused: u64,
    uncovered: u64,
    faults: Vec<String>,
}

impl Report {
    /// Holds one file's text against its counts.
    fn add(&mut self, path: &Path, text: &str, counts: &Counts) {
        let excuses = excuses(text);
        for (number, line) in (1..).zip(text.lines()) {
            let count = counts.get(&number);
            let excuse = excuses.get(&number);
            match (count, excuse) {
                (Some(0), Some(_)) => self.excused += 1,
                (Some(0), None) => self.uncovered += 1,
                (Some(_), _) => self.covered += 1,
                (None, _) => {}
            }
            let fault = match (count, excuse) {
                (_, Some(&"")) => "the excuse has no reason",
                (Some(0), None) => "not covered",
                (Some(1..), Some(_)) => "the excuse is stale: the line is covered",
                (None, Some(_)) => "the excuse is stale: the line has no code",
                (Some(_), _) | (None, None) => continue,
            };
            let place = format!("{}:{number}", path.display());
            self.faults
                .push(format!("{place}: {} [{fault}]", line.trim()));
        }
    }

    /// Says what was found.
    fn conclude(&self) -> Result<()> {
        for fault in &self.faults {
            println!("{fault}");
        }
        let lines = self.covered + self.uncovered;
        ensure!(
            self.covered > 0,
            "no line of core was run: its tests or the measurement are broken"
        );
        println!(
            "core: {:.2} % of lines covered ({} of {lines}), and {} excused",
            self.covered as f64 * 100.0 / lines as f64,
            self.covered,
            self.excused
        );
        ensure!(
            self.faults.is_empty(),
            "{} lines of core are not covered or wrongly excused (`{MARKER} REASON` excuses a line that no \
             test can reach)",
            self.faults.len()
        );
        Ok(())
    }
}

/// The reasons of the excuses in a file, by the number of the line that each is for.
fn excuses(text: &str) -> BTreeMap<u64, &str> {
    (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| {
            let (code, reason) = line.split_once(MARKER)?;
            let number = if code.trim().is_empty() {
                number + 1
            } else {
                number
            };
            Some((number, reason.trim()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
fn f() {
    a(); // not covered: cannot be
    // not covered: nor can this
    b();
    c();
    d(); // not covered:
}
";

    fn report(counts: &[(u64, u64)]) -> Report {
        let mut report = Report::default();
        report.add(Path::new("f.rs"), TEXT, &counts.iter().copied().collect());
        report
    }

    #[test]
    fn an_uncovered_line_needs_an_excuse_with_a_reason() {
        let report = report(&[(1, 3), (2, 0), (4, 0), (5, 0), (6, 0), (7, 3)]);
        assert_eq!(
            report.faults,
            [
                "f.rs:5: c(); [not covered]",
                "f.rs:6: d(); // not covered: [the excuse has no reason]"
            ]
        );
        assert_eq!(
            (report.covered, report.excused, report.uncovered),
            (2, 3, 1)
        );
        assert!(report.conclude().is_err());
    }

    #[test]
    fn an_excuse_for_a_covered_line_is_stale() {
        let report = report(&[(1, 3), (2, 1), (5, 1)]);
        assert_eq!(
            report.faults[..2],
            [
                "f.rs:2: a(); // not covered: cannot be [the excuse is stale: the line is covered]",
                "f.rs:4: b(); [the excuse is stale: the line has no code]",
            ]
        );
    }

    #[test]
    fn nothing_measured_is_a_failure() {
        assert!(Report::default().conclude().is_err());
    }

    #[test]
    fn a_line_is_covered_when_any_instance_of_it_is() -> Result<()> {
        let files =
            parse("SF:/f.rs\nDA:1,0\nDA:1,2\nDA:2,0\nend_of_record\nSF:/f.rs\nDA:2,1\nDA:3,0\n")?;
        assert_eq!(
            files[Path::new("/f.rs")],
            Counts::from([(1, 2), (2, 1), (3, 0)])
        );
        assert!(parse("DA:1,1").is_err());
        Ok(())
    }
}

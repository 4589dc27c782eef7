//! The cases, a file for each part of PROTOCOL.md.

mod connections;
mod deadlines;
mod errors;
mod files;
mod frames;
mod headers;
mod hostile;
mod last;
mod malformed;
mod operations;
mod udp;

use anyhow::Result;

use crate::target::Target;

/// Something that has to hold.
#[derive(Debug)]
pub struct Case {
    /// What holds.
    pub name: &'static str,
    /// The heading in PROTOCOL.md under which it is promised.
    pub section: &'static str,
    /// Sees to it.
    pub run: fn(&Target) -> Result<()>,
}

const TABLES: &[&[Case]] = &[
    frames::CASES,
    headers::CASES,
    operations::CASES,
    errors::CASES,
    malformed::CASES,
    deadlines::CASES,
    connections::CASES,
    udp::CASES,
    files::names::CASES,
    files::put::CASES,
    files::get::CASES,
    files::look::CASES,
    hostile::CASES,
    // What all the others have left behind.
    last::CASES,
];

/// All cases, in the order in which they are run.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    TABLES.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_promised_somewhere() {
        let protocol = include_str!("../../../../PROTOCOL.md");
        let headings: Vec<&str> = protocol
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| line.trim_start_matches('#').trim())
            .collect();
        for case in cases() {
            assert!(headings.contains(&case.section), "{}", case.name);
        }
    }

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let mut names: Vec<&str> = cases().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

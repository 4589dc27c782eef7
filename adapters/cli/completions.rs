//! `unstick completions`

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::{Arguments, Completions};
use crate::failure::Failure;

/// Prints the script that has `args.shell` complete this command line.
pub fn run(args: &Completions) -> Result<ExitCode, Failure> {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    // Into memory first: the generator panics if nobody reads what it prints.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(&script).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))?;
    Ok(ExitCode::SUCCESS)
}

//! `unstick man`

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::{Arguments, EXIT_CODES, Man};
use crate::failure::Failure;

/// Prints a page, or writes all of them.
pub fn run(args: &Man) -> Result<ExitCode, Failure> {
    let unstick = Arguments::command().disable_help_subcommand(true);
    // As the help has it: pages would say `subcommands`.
    let mut unstick = unstick.subcommand_value_name("COMMAND");
    unstick.build();
    if let Some(directory) = &args.out {
        fs::create_dir_all(directory).map_err(|error| {
            Failure::io(format_args!("cannot make {}", directory.display()), &error)
        })?;
        write_all(&unstick, directory)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = &unstick;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            let words = args.command.join(" ");
            Failure::Usage(format!("there is no command `{words}`: see unstick --help"))
        })?;
    }
    let mut stdout = io::stdout().lock();
    let written = page(command).and_then(|page| stdout.write_all(&page));
    let written = written.and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of `command`, and those of its commands.
fn write_all(command: &Command, directory: &Path) -> Result<(), Failure> {
    let path = directory.join(format!("{}.1", title(command)));
    let written = page(command).and_then(|page| fs::write(&path, page));
    written
        .map_err(|error| Failure::io(format_args!("cannot write {}", path.display()), &error))?;
    let mut commands = command.get_subcommands();
    commands.try_for_each(|command| write_all(command, directory))
}

/// What the page of `command` is called: its words, joined.
fn title(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

/// The page of `command`, in roff.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = clap_mangen::Man::new(command.clone())
        // Of no day; an empty one would be left out, and what follows taken for it.
        .date(" ")
        .source(concat!("unstick ", env!("CARGO_PKG_VERSION")))
        .manual("unstick");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }

    let mut rest = Roff::default();
    let notes = command.get_after_help().map(ToString::to_string);
    let notes = notes.unwrap_or_default();
    // Those of unstick itself end with the exit codes.
    let notes = notes.strip_suffix(EXIT_CODES).unwrap_or(&notes);
    section(&mut rest, "NOTES", notes);
    section(&mut rest, "EXIT STATUS", EXIT_CODES);
    if title(command) != "unstick" {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([bold("unstick"), roman("(1)")]);
    }
    rest.to_writer(&mut page)?;
    Ok(in_ascii(&String::from_utf8_lossy(&page)).into_bytes())
}

/// The page with other characters as roff names them, so that no formatter has to guess an encoding.
fn in_ascii(page: &str) -> String {
    let mut ascii = String::new();
    for character in page.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            ascii += &format!("\\[u{:04X}]", u32::from(character));
        }
    }
    ascii
}

/// A section of plain text, whose lines stay lines; nothing if there is none.
fn section(page: &mut Roff, name: &str, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    page.control("SH", [name]);
    let mut paragraph = false;
    for line in text.trim().lines() {
        if line.is_empty() {
            page.control("PP", []);
        } else {
            if paragraph {
                page.control("br", []);
            }
            page.text([roman(line)]);
        }
        paragraph = !line.is_empty();
    }
}

//! `unstick man`: the pages as what formats them reads them.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use common::{run, run_with, text, unstick};

/// The names of the subcommands, as the help lists them.
fn commands() -> BTreeSet<String> {
    let output = run(unstick(["-h"]));
    let help = text(&output.stdout).lines();
    let listed = help
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What goes on in a further line is further in.
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next());
    let names: BTreeSet<_> = listed
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.len() >= 12, "{names:?}");
    names
}

/// The page of a command.
fn page(words: &[&str]) -> String {
    let output = run(unstick(["man"].iter().chain(words)));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).to_owned()
}

/// The page as a terminal shows it, without what makes letters bold.
fn shown(page: &str) -> String {
    let mut groff = Command::new("groff");
    // Neither adjusted to both margins nor hyphenated.
    groff.args([
        "-man",
        "-Tutf8",
        "-ww",
        "-P-cbou",
        "-rLL=100n",
        "-dAD=l",
        "-rHY=0",
    ]);
    let output = run_with(groff, page.as_bytes());
    assert!(
        output.status.success(),
        "groff (Debian: groff-base): {output:?}"
    );
    assert_eq!(text(&output.stderr), "", "{page}");
    text(&output.stdout).to_owned()
}

/// The words of a section of a page that is shown, however they are laid out.
fn section(shown: &str, name: &str) -> String {
    let start = shown.find(&format!("\n{name}\n"));
    let start = start.unwrap_or_else(|| panic!("no {name} in {shown}"));
    let rest = &shown[start + name.len() + 2..];
    // The next line that is not indented ends it.
    let end = rest.match_indices('\n').find(|(at, _)| {
        let next = rest.as_bytes().get(at + 1);
        next.is_some_and(|octet| !matches!(octet, b' ' | b'\n'))
    });
    let text = &rest[..end.map_or(rest.len(), |(at, _)| at)];
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_of_the_command_lists_its_commands_and_exit_codes() {
    let shown = shown(&page(&[]));
    assert!(section(&shown, "NAME").starts_with("unstick - "));
    assert!(
        section(&shown, "SYNOPSIS").ends_with("<command>"),
        "{shown}"
    );
    let listed = section(&shown, "SUBCOMMANDS");
    for command in commands() {
        assert!(listed.contains(&format!("unstick-{command}(1)")), "{shown}");
    }
    assert!(section(&shown, "EXIT STATUS").contains("2 the command line is wrong"));
    assert!(section(&shown, "NOTES").contains("8896"));
    assert!(!section(&shown, "NOTES").contains("Exit codes"));
}

#[test]
fn every_command_has_a_page_that_formats_without_a_warning() {
    for command in commands() {
        let shown = shown(&page(&[&command]));
        let name = section(&shown, "NAME");
        assert!(
            name.starts_with(&format!("unstick-{command} - ")),
            "{shown}"
        );
        let synopsis = section(&shown, "SYNOPSIS");
        assert!(
            synopsis.starts_with(&format!("unstick {command}")),
            "{shown}"
        );
        section(&shown, "EXIT STATUS");
        assert_eq!(section(&shown, "SEE ALSO"), "unstick(1)");
    }
    let options = shown(&page(&["exec"]));
    assert!(section(&options, "OPTIONS").contains("shift_jis, … What"));
}

#[test]
fn all_pages_go_into_a_directory() {
    let name = format!("man.{}", std::process::id());
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(name)
        .join("man1");
    let output = run(unstick([
        "man".as_ref(),
        "--out".as_ref(),
        directory.as_os_str(),
    ]));
    assert!(output.status.success(), "{output:?}");
    let written = fs::read_dir(&directory).expect("it is there");
    let written: BTreeSet<_> = written
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected: BTreeSet<_> = commands()
        .iter()
        .map(|command| format!("unstick-{command}.1"))
        .collect();
    expected.insert("unstick.1".to_owned());
    assert_eq!(written, expected);
    let serve = fs::read_to_string(directory.join("unstick-serve.1")).unwrap();
    assert_eq!(serve, page(&["serve"]));
    // What finds pages by what they are about reads the same name of them.
    let mut lexgrog = Command::new("lexgrog");
    lexgrog.args(written.iter().map(|name| directory.join(name)));
    let output = run(lexgrog);
    assert!(
        output.status.success(),
        "lexgrog (Debian: man-db): {output:?}"
    );
    assert_eq!(text(&output.stdout).lines().count(), expected.len());
    fs::remove_dir_all(directory.parent().unwrap()).unwrap();
}

#[test]
fn what_has_no_page_is_a_usage_error() {
    let output = run(unstick(["man", "fly"]));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "unstick: there is no command `fly`: see unstick --help\n"
    );
    let output = run(unstick(["man", "--out", "/dev/null/man1"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("cannot make /dev/null/man1"),
        "{output:?}"
    );
}

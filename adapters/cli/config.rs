//! `unstick serve --config FILE`: options in a file.
//!
//! What the file says is put behind `unstick serve` as options, in front of the others, so that it is read and checked as
//! those are: there is no second list of them.

use std::any::TypeId;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use toml::de::{DeTable, DeValue};

use crate::args::Arguments;
use crate::failure::Failure;
use crate::printable::Printable;

/// The longest file that is taken, in octets.
const MAX_LEN: u64 = 1024 * 1024;

/// The command line of this process, with what its file adds to it.
pub fn arguments() -> Result<Arguments, Failure> {
    let given: Vec<OsString> = env::args_os().collect();
    match read_file(&given) {
        Some((path, matches)) => {
            let settings = settings(&path, &read(&path)?, &matches)?;
            merge(&path, &given, &settings)
        }
        None => Ok(Arguments::parse_from(given)),
    }
}

/// The file that is named, and what is said besides, whether that makes sense by itself or not.
fn read_file(given: &[OsString]) -> Option<(PathBuf, ArgMatches)> {
    let command = Arguments::command().ignore_errors(true);
    let (name, matches) = command
        .try_get_matches_from(given)
        .ok()?
        .remove_subcommand()?;
    if name != "serve" {
        return None;
    }
    let path = matches.try_get_one::<PathBuf>("config").ok()?.cloned()?;
    Some((path, matches))
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let mut octets = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut octets));
    read.map_err(|error| Failure::io(format_args!("cannot read {shown}"), &error))?;
    if octets.len() as u64 > MAX_LEN {
        let sentence = format!("{shown}: longer than the {MAX_LEN} octets that are taken");
        return Err(Failure::Usage(sentence));
    }
    String::from_utf8(octets).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        let line = 1 + before.iter().filter(|octet| **octet == b'\n').count();
        Failure::Usage(format!("{shown}:{line}: not UTF-8"))
    })
}

/// One line of the file.
struct Setting {
    line: usize,
    key: String,
    /// The same on the command line.
    options: Vec<OsString>,
}

/// What the file says, but for what `given` says itself.
fn settings(path: &Path, text: &str, given: &ArgMatches) -> Result<Vec<Setting>, Failure> {
    let line_of = |span: Option<Range<usize>>| {
        let before = text.get(..span.map_or(0, |span| span.start));
        1 + before.unwrap_or_default().matches('\n').count()
    };
    let wrong = |line, what: &str| {
        let what = Printable(what);
        Failure::Usage(format!("{}:{line}: {what}", path.display()))
    };
    let table = DeTable::parse(text).map_err(|error| {
        let message: Vec<_> = error.message().lines().collect();
        wrong(line_of(error.span()), &message.join("; "))
    })?;
    let serve = serve();
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(Some(key.span()));
        let key = key.get_ref().as_ref();
        let Some(option) = options(&serve).find(|option| option.get_long() == Some(key)) else {
            let mut known: Vec<_> = options(&serve).filter_map(Arg::get_long).collect();
            known.sort_unstable();
            let known = known.join(", ");
            return Err(wrong(
                line,
                &format!("there is no setting `{key}`; there are {known}"),
            ));
        };
        let here = path.parent().unwrap_or(Path::new(""));
        let options = as_options(option, key, value.get_ref(), here)
            .map_err(|what| wrong(line_of(Some(value.span())), &format!("`{key}`: {what}")))?;
        let is_given =
            given.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine);
        if !is_given {
            let key = key.to_owned();
            settings.push(Setting { line, key, options });
        }
    }
    settings.sort_by_key(|setting| setting.line);
    Ok(settings)
}

/// `serve` as it is on the command line.
fn serve() -> Command {
    let command = Arguments::command();
    let serve = command.find_subcommand("serve");
    serve.cloned().unwrap_or_default()
}

/// What can be set.
fn options(serve: &Command) -> impl Iterator<Item = &Arg> {
    serve
        .get_arguments()
        .filter(|option| option.get_id() != "config" && option.get_long().is_some())
}

/// A setting as what is written on the command line, checked as it is there; or what would be right.
fn as_options(
    option: &Arg,
    key: &str,
    value: &DeValue<'_>,
    here: &Path,
) -> Result<Vec<OsString>, String> {
    let is_of = |id: TypeId| option.get_value_parser().type_id() == id;
    let value = match (option.get_action(), value) {
        (ArgAction::Count, DeValue::Integer(number)) => {
            let times = usize::from_str_radix(number.as_str(), number.radix());
            let times = times.ok().filter(|times| *times <= 3);
            let times = times.ok_or("a number from 0 to 3 is needed")?;
            return Ok(vec![format!("--{key}").into(); times]);
        }
        (ArgAction::Count, _) => return Err("a number from 0 to 3 is needed".to_owned()),
        (_, DeValue::Boolean(value)) if is_of(TypeId::of::<bool>()) => value.to_string().into(),
        (_, _) if is_of(TypeId::of::<bool>()) => {
            return Err("true or false is needed, without quotes".to_owned());
        }
        (_, DeValue::Integer(number)) if is_number(is_of) => {
            match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => number.to_string().into(),
                // What is wrong with it is said as on the command line.
                Err(_) => number.as_str().into(),
            }
        }
        (_, DeValue::Float(number)) if is_of(TypeId::of::<Duration>()) => number.as_str().into(),
        (_, _) if is_of(TypeId::of::<Duration>()) => {
            return Err("a number of seconds is needed, without quotes".to_owned());
        }
        (_, _) if is_number(is_of) => {
            return Err("a number is needed, without quotes".to_owned());
        }
        // An empty one would be the directory of the file.
        (_, DeValue::String(text)) if is_of(TypeId::of::<PathBuf>()) && text.is_empty() => {
            return Err("a path is needed".to_owned());
        }
        (_, DeValue::String(text)) if is_of(TypeId::of::<PathBuf>()) => {
            here.join(text.as_ref()).into_os_string()
        }
        (_, DeValue::String(text)) => OsString::from(text.as_ref()),
        (_, _) => return Err("a text in quotes is needed".to_owned()),
    };
    check(option, &value)?;
    let mut written = OsString::from(format!("--{key}="));
    written.push(value);
    Ok(vec![written])
}

fn is_number(is_of: impl Fn(TypeId) -> bool) -> bool {
    is_of(TypeId::of::<usize>()) || is_of(TypeId::of::<u64>()) || is_of(TypeId::of::<Duration>())
}

/// Reads the value as on the command line; the reason why it cannot be.
fn check(option: &Arg, value: &OsStr) -> Result<(), String> {
    let alone = Arg::new("value")
        .value_parser(option.get_value_parser().clone())
        .required(true)
        .allow_hyphen_values(true);
    let command = Command::new("").no_binary_name(true).arg(alone);
    let Err(error) = command.try_get_matches_from([value]) else {
        return Ok(());
    };
    // "error: invalid value 'x' for '<value>': the reason", and advice behind it.
    let text = error.to_string();
    let reason = text.split_once("'<value>'");
    let reason = reason.map_or(&*text, |(_, rest)| rest);
    let reason = reason.lines().next().unwrap_or_default();
    let advice = text.lines().find(|line| line.contains("[possible values"));
    let parts = [reason.trim_start_matches(": "), advice.unwrap_or_default()];
    let parts: Vec<_> = parts.iter().map(|part| part.trim()).collect();
    let value = value.display();
    Err(format!("`{value}` cannot be: {}", parts.join(" ").trim()))
}

/// The command line with the settings in it.
fn merge(path: &Path, given: &[OsString], settings: &[Setting]) -> Result<Arguments, Failure> {
    let parse = |without: Option<usize>| {
        let used = settings.iter().enumerate();
        let used = used.filter(|(at, _)| Some(*at) != without);
        // The first is this program, whatever it is called.
        let at = given.iter().skip(1).position(|word| word == "serve");
        let (before, behind) = given.split_at(at.map_or(given.len(), |at| at + 2));
        let words = before.iter().cloned();
        let words = words.chain(used.flat_map(|(_, setting)| setting.options.clone()));
        Arguments::command().try_get_matches_from(words.chain(behind.iter().cloned()))
    };
    let error = match parse(None) {
        Ok(matches) => match Arguments::from_arg_matches(&matches) {
            Ok(arguments) => return Ok(arguments),
            Err(error) => error,
        },
        Err(error) => error,
    };
    // Each of them is right by itself: which does not go with the others?
    let culprit = (0..settings.len()).find(|at| parse(Some(*at)).is_ok());
    let Some(Setting { line, key, .. }) = culprit.map(|at| &settings[at]) else {
        error.exit();
    };
    let text = error.to_string();
    let mut said = text.lines().take_while(|line| !line.is_empty());
    let first = said
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    let rest: Vec<_> = said.map(str::trim).collect();
    let (path, rest) = (path.display(), rest.join(" "));
    Err(Failure::Usage(format!(
        "{path}:{line}: `{key}`: {first} {rest}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Serve;

    /// All lines of the example, those too that are comments with a setting in them.
    fn example() -> String {
        let example = include_str!("../../examples/systemd/unstick.toml");
        let lines = example.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_has_every_option_and_each_can_be_set() {
        let path = Path::new("/etc/unstick/unstick.toml");
        let given = ["unstick", "serve"].map(OsString::from);
        let nothing = serve().get_matches_from(["serve"]);
        let settings = settings(path, &example(), &nothing).unwrap_or_else(|failure| {
            panic!("{}", failure.sentence());
        });
        let mut set: Vec<_> = settings.iter().map(|setting| &*setting.key).collect();
        set.sort_unstable();
        let serve = serve();
        let mut known: Vec<_> = options(&serve).filter_map(Arg::get_long).collect();
        known.sort_unstable();
        assert_eq!(set, known);
        assert!(known.len() >= 16, "{known:?}");
        let arguments = merge(path, &given, &settings);
        let arguments = arguments.unwrap_or_else(|failure| panic!("{}", failure.sentence()));
        let crate::args::Command::Serve(Serve { root, verbose, .. }) = arguments.command else {
            panic!("another command");
        };
        assert_eq!(root.as_deref(), Some(Path::new("/var/lib/unstick")));
        assert_eq!(verbose, 1);
    }
}

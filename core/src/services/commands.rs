//! `exec` where there is no shell: a table of commands.

use super::responder::{Output, Respond, Responder};
use crate::head::{Code, Refusal};

/// One command of a [`Commands`] registry. `C` is what all its commands work on.
#[derive(Debug)]
pub struct Command<C> {
    /// The word that calls it.
    pub name: &'static str,
    /// What it does, and its arguments: a line for `help`.
    pub help: &'static str,
    /// Carries it out with the rest of the line, trimmed, and returns the exit status: 0 is success, 2 wrong usage.
    pub run: fn(&mut C, arguments: &str, out: &mut Output<'_>) -> i32,
}

/// The operation `exec` over a table of commands: what a board offers instead of a shell.
///
/// The body is a line: a command's name, then its arguments. `help` lists the commands and is always there.
///
/// ```
/// use unstick_core::services::{Command, Commands};
///
/// struct Board {
///     led: bool,
/// }
///
/// const COMMANDS: &[Command<Board>] = &[Command {
///     name: "led",
///     help: "on|off: switch the light",
///     run: |board, arguments, _| {
///         board.led = arguments == "on";
///         0
///     },
/// }];
///
/// let exec = Commands::new(Board { led: false }, COMMANDS).into_service::<64, 256>();
/// ```
#[derive(Debug)]
pub struct Commands<C: 'static> {
    context: C,
    commands: &'static [Command<C>],
}

impl<C> Commands<C> {
    /// A registry of `commands`, which work on `context`.
    pub const fn new(context: C, commands: &'static [Command<C>]) -> Self {
        Self { context, commands }
    }

    /// The service for the operation `exec`, with lines of up to `IN` octets and outputs of up to `OUT`.
    pub const fn into_service<const IN: usize, const OUT: usize>(self) -> Responder<Self, IN, OUT> {
        Responder::new("exec", self)
    }

    fn help(&self, out: &mut Output<'_>) -> i32 {
        for Command { name, help, .. } in self.commands {
            writeln!(out, "{name}  {help}");
        }
        0
    }
}

impl<C> Respond for Commands<C> {
    fn respond(&mut self, body: &[u8], out: &mut Output<'_>) -> Result<(), Refusal> {
        let line = core::str::from_utf8(body)
            .map_err(|_| Refusal::new(Code::NotFound, "a command is a line of UTF-8"))?
            .trim();
        let (name, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let status = match self.commands.iter().find(|command| command.name == name) {
            Some(command) => (command.run)(&mut self.context, arguments.trim(), out),
            None if name == "help" => self.help(out),
            None => {
                return Err(Refusal::new(
                    Code::NotFound,
                    format_args!("no command `{name}`; `help` lists them"),
                ));
            }
        };
        out.exit(status);
        Ok(())
    }
}

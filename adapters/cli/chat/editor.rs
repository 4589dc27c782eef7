//! A line editor with a history, for a person at a terminal.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};

use super::keyboard::{Keys, Typed};
use super::screen::{Printer, Screen};

/// How long the editor may take to begin.
const BEGIN: Duration = Duration::from_millis(200);
/// Has the terminal mark pasted text no longer.
const PASTE_UNMARKED: &[u8] = b"\x1b[?2004l";

/// A terminal that lines can be edited on, as it was before.
pub struct Terminal {
    editor: Editor<Prompt, DefaultHistory>,
    modes: Modes,
}

/// How the terminal was found.
pub struct Modes(Termios);

impl Terminal {
    /// The one that standard input and output are, if they are one that an editor can work on.
    pub fn find() -> Option<(Self, Printer)> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let modes = Modes(tcgetattr(io::stdin()).ok()?);
        let config = rustyline::Config::builder().auto_add_history(true).build();
        let mut editor = Editor::with_config(config).ok()?;
        let printer = editor.create_external_printer().ok()?;
        Some((Self { editor, modes }, Box::new(printer)))
    }

    /// Reads lines, and shows in front of them whom they go to if there may be `several`.
    pub fn start(self, screen: Screen, several: bool) -> (impl FnOnce(Keys) + Send, Modes) {
        let Self { mut editor, modes } = self;
        let read = move |keys: Keys| {
            editor.set_helper(Some(Prompt {
                screen: screen.clone(),
                several,
            }));
            while let Some(initial) = keys.wanted() {
                let typed = read_line(&mut editor, &screen, several, &initial);
                if !keys.hand_on(typed) {
                    return;
                }
            }
        };
        (read, modes)
    }
}

fn read_line(
    editor: &mut Editor<Prompt, DefaultHistory>,
    screen: &Screen,
    several: bool,
    initial: &str,
) -> Typed {
    let prompt = prompt(None, several);
    screen.begin_editing();
    let read = editor.readline_with_initial(&prompt, (initial, ""));
    let addressee = screen.end_editing();
    match read {
        Ok(line) => Typed::Line(line, addressee),
        Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
            Typed::not_utf8()
        }
        // Ctrl-C, Ctrl-D, or the terminal is gone.
        Err(_) => Typed::End,
    }
}

/// The prompt. All have the same width: it may change under a line that is being edited.
fn prompt(addressee: Option<u64>, several: bool) -> String {
    match addressee {
        _ if !several => "> ".to_owned(),
        None => format!("{:<6}", ">"),
        Some(number) if number > 999 => "#\u{2026}>   ".to_owned(),
        Some(number) => format!("{:<6}", format!("#{number}>")),
    }
}

impl Modes {
    /// Gives the terminal back as it was found, even from an editor that still waits for a key.
    pub fn restore(&self) {
        // It may be about to begin.
        let begun = Instant::now();
        let is_canonical = || {
            let modes = tcgetattr(io::stdin());
            modes.is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON))
        };
        while is_canonical() && begun.elapsed() < BEGIN {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        // One that nobody reads is not waited for.
        let stdout = io::stdout();
        let mut fds = [PollFd::new(&stdout, PollFlags::OUT)];
        if !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1)) {
            return;
        }
        let mut stdout = stdout.lock();
        let _ = stdout.write_all(PASTE_UNMARKED);
        let _ = stdout.write_all(b"\n");
        let _ = stdout.flush();
    }
}

/// What the editor asks while a line is edited.
struct Prompt {
    screen: Screen,
    several: bool,
}

impl Highlighter for Prompt {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        shown: &'p str,
        is_default: bool,
    ) -> Cow<'b, str> {
        let addressee = self.screen.draw();
        match is_default {
            true => Cow::Owned(prompt(addressee, self.several)),
            // The editor's own, when the history is searched.
            false => Cow::Borrowed(shown),
        }
    }
}

impl Hinter for Prompt {
    type Hint = String;

    /// Asked whenever the line has changed.
    fn hint(&self, line: &str, _pos: usize, _context: &Context<'_>) -> Option<String> {
        self.screen.hold(!line.is_empty());
        None
    }
}

impl Completer for Prompt {
    type Candidate = String;
}

impl Validator for Prompt {}

impl Helper for Prompt {}

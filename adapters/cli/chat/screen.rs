//! What is printed: by a thread of its own, so that nobody who reads slowly holds up the chat.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use rustyline::ExternalPrinter;

/// The most octets that wait to be printed before nothing more is taken from peers.
const MAX_WAITING: usize = 64 * 1024;
/// How long the last of it may take.
const LAST: Duration = Duration::from_secs(5);
/// How long an editor may take to draw.
const DRAWN: Duration = Duration::from_secs(1);

/// What prints above a line that is edited.
pub type Printer = Box<dyn ExternalPrinter + Send>;

/// What is printed, and what an editor has to know of it.
#[derive(Clone)]
pub struct Screen(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    waker: Waker,
}

#[derive(Default)]
struct State {
    waiting: String,
    printing: bool,
    failure: Option<io::Error>,
    /// A line is being edited, and the screen is the editor's.
    editing: bool,
    /// How often the editor has drawn its line.
    drawn: u64,
    /// The peer that a line goes to; held while one is edited.
    addressee: Option<u64>,
    held: Option<Option<u64>>,
}

impl Screen {
    /// Standard output, by way of the editor's `printer` while it edits. `waker` is woken when there is room again.
    pub fn new(printer: Option<Printer>, waker: Waker) -> Self {
        let screen = Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            waker,
        }));
        let of_thread = screen.clone();
        thread::spawn(move || of_thread.print(printer));
        screen
    }

    /// Prints whole lines, soon.
    pub fn show(&self, lines: &str) {
        self.lock().waiting.push_str(lines);
        self.0.changed.notify_all();
    }

    /// Whether more may be shown.
    pub fn has_room(&self) -> bool {
        self.lock().waiting.len() < MAX_WAITING
    }

    /// What printing failed with.
    pub fn failure(&self) -> Option<io::Error> {
        self.lock().failure.take()
    }

    /// Waits until all is printed, but not for ever.
    pub fn finish(&self) {
        let busy = |state: &mut State| state.printing || !state.waiting.is_empty();
        drop(self.wait_while(self.lock(), LAST, busy));
    }

    /// Says whom lines go to.
    pub fn address(&self, peer: Option<u64>) {
        self.lock().addressee = peer;
    }

    /// Whom the prompt is to show; drawing it is what tells that all before it is on the screen.
    pub fn draw(&self) -> Option<u64> {
        let mut state = self.lock();
        state.drawn += 1;
        self.0.changed.notify_all();
        state.held.unwrap_or(state.addressee)
    }

    /// While something is typed, it goes to whom the prompt showed when that began.
    pub fn hold(&self, typing: bool) {
        let mut state = self.lock();
        state.held = match typing {
            true => Some(state.held.unwrap_or(state.addressee)),
            false => None,
        };
    }

    /// A line is edited from now on.
    pub fn begin_editing(&self) {
        self.lock().editing = true;
    }

    /// No line is; whom the one that was goes to.
    pub fn end_editing(&self) -> Option<u64> {
        let mut state = self.lock();
        state.editing = false;
        self.0.changed.notify_all();
        let addressee = state.addressee;
        state.held.take().unwrap_or(addressee)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done in it.
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'g>(
        &self,
        state: MutexGuard<'g, State>,
        at_most: Duration,
        condition: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'g, State> {
        let waited = self.0.changed.wait_timeout_while(state, at_most, condition);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn print(&self, mut printer: Option<Printer>) {
        let has_editor = printer.is_some();
        loop {
            let mut state = self.lock();
            state.printing = false;
            self.0.changed.notify_all();
            while state.waiting.is_empty() {
                let waited = self.0.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
            let text = std::mem::take(&mut state.waiting);
            state.printing = true;
            let was_full = text.len() >= MAX_WAITING;
            let printed = match printer.as_mut().filter(|_| state.editing) {
                Some(printer) => {
                    let drawn = state.drawn;
                    drop(state);
                    let printed = printer.print(text).map_err(io::Error::other);
                    let undrawn = |state: &mut State| state.editing && state.drawn == drawn;
                    drop(self.wait_while(self.lock(), DRAWN, undrawn));
                    printed
                }
                // An editor that begins meanwhile waits for the end of this.
                None if has_editor => {
                    let printed = write(&text);
                    drop(state);
                    printed
                }
                None => {
                    drop(state);
                    write(&text)
                }
            };
            if let Err(error) = printed {
                let mut state = self.lock();
                state.failure = Some(error);
                // Nobody reads it any more.
                state.printing = false;
                state.waiting.clear();
                self.0.changed.notify_all();
                drop(state);
                self.0.waker.wake_by_ref();
                return;
            }
            if was_full {
                self.0.waker.wake_by_ref();
            }
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

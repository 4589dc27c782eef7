//! How far a transfer is: a bar on a terminal, else a line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use unstick_std::transfer::{Phase, Progress};

use crate::printable::Printable;

/// From one line to the next.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Without a colour, so that there is none to be told not to use.
const BAR: &str =
    "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";

/// Shows how far the transfer of one file is, on standard error.
pub struct Meter {
    bar: ProgressBar,
    name: String,
    phase: Option<Phase>,
    /// When the next line is due, where there is no bar.
    next_line: Option<Instant>,
}

impl Meter {
    /// Nothing is shown if it is `quiet`.
    pub fn new(name: &str, quiet: bool) -> Self {
        let on_terminal = io::stderr().is_terminal();
        let target = if quiet || !on_terminal {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let style = ProgressStyle::with_template(BAR);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(0), target);
        Self {
            bar: bar.with_style(style.progress_chars("=> ")),
            name: Printable(name).to_string(),
            phase: None,
            next_line: (!quiet && !on_terminal).then(|| Instant::now() + LINE_EVERY),
        }
    }

    /// It is so far.
    pub fn show(&mut self, progress: Progress) {
        let Progress { phase, done, total } = progress;
        if self.phase != Some(phase) {
            self.phase = Some(phase);
            let name = &self.name;
            self.bar.set_message(match phase {
                Phase::Digest => format!("{name}, what is there"),
                _ => name.clone(),
            });
            self.bar.set_position(done);
            // What was there has not been moved in this time.
            self.bar.reset_eta();
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.next_line.is_some_and(|next| next <= Instant::now()) {
            self.next_line = Some(Instant::now() + LINE_EVERY);
            self.print(done, total);
        }
    }

    fn print(&self, done: u64, total: u64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rate = self.bar.per_sec() as u64;
        // Whoever does not read it does not need it.
        let _ = writeln!(
            io::stderr(),
            "{}: {} of {}, {}/s, {} left",
            self.bar.message(),
            BinaryBytes(done),
            BinaryBytes(total),
            BinaryBytes(rate),
            HumanDuration(self.bar.eta())
        );
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

//! The log of `serve`, on standard error.

use std::env;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;
use crate::printable::Printable;

/// Logs from here on.
pub fn start(verbose: u8, format: LogFormat) {
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = format == LogFormat::Text && io::stderr().is_terminal() && !is_colourless();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(move || Lines { colour })
        // It would be said on the same standard error, with a panic if nobody reads that any more.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Whether the user wants no colours anywhere (no-color.org).
fn is_colourless() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Standard error, where each event is one line: what peers have sent is in there, and neither steers the terminal nor
/// passes for a line of its own.
struct Lines {
    /// Escapes that set colours are ours; those of peers are spelled out before they come here.
    colour: bool,
}

impl Write for Lines {
    /// Takes one event, whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        io::stderr().write_all(line(&text, self.colour).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line(event: &str, colour: bool) -> String {
    let event = event.trim_end_matches('\n');
    let pieces = event.split(|character| colour && character == '\x1b');
    let pieces: Vec<_> = pieces.map(|piece| Printable(piece).to_string()).collect();
    pieces.join("\x1b") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = "INFO op=`a\nb\u{9b}\x1b[2J`\n";
        assert_eq!(line(event, false), "INFO op=`a\\u000ab\\u009b\\u001b[2J`\n");
        let coloured = "\x1b[32mINFO\x1b[0m a\r\nb\n";
        assert_eq!(
            line(coloured, true),
            "\x1b[32mINFO\x1b[0m a\\u000d\\u000ab\n"
        );
    }
}

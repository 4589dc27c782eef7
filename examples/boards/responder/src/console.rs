//! Lines for a console that sends an octet at a time.

use core::fmt::{self, Write};

/// Writes a line, with `send` for each octet.
pub fn print_line(send: impl FnMut(u8), line: fmt::Arguments<'_>) {
    let mut console = Console(send);
    // It has room for anything.
    let _ = console.write_fmt(line);
    let _ = console.write_str("\r\n");
}

struct Console<F>(F);

impl<F: FnMut(u8)> Write for Console<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(&mut self.0);
        Ok(())
    }
}

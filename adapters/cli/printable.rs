//! Text of peers, made safe to print.

use std::fmt::{self, Display, Write};

/// A peer's text with what steers a terminal, or what hides or reorders text, as escapes of JSON.
///
/// In the text of a JSON value that changes how it is spelled, and not what it means.
#[derive(Debug)]
pub struct Printable<'t>(pub &'t str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_safe(character) {
                f.write_char(character)?;
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(f, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// Not a control character, a line separator, or one that sets the direction of writing.
fn is_safe(character: char) -> bool {
    !(character.is_control()
        || matches!(
            character,
            '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}'
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let hostile = "\x1b[2J ok\r\n测试😀\u{9b}31m\u{202e}\u{7f}";
        let safe = "\\u001b[2J ok\\u000d\\u000a测试😀\\u009b31m\\u202e\\u007f";
        assert_eq!(Printable(hostile).to_string(), safe);
    }
}

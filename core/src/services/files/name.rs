//! Names of files, checked.

use core::fmt;

use crate::head::{Code, FILENAME_LEN, Refusal};

/// The name of a file or directory, which cannot lead out of a storage: relative, with `/` between its components.
///
/// A storage gets no name of another type, so none reaches it unchecked.
///
/// ```
/// use unstick_core::services::Name;
///
/// let name = Name::new("logs/today.txt")?;
/// assert!(name.components().eq(["logs", "today.txt"]));
/// assert!(Name::new("logs/../../etc/passwd").is_err());
/// # Ok::<(), unstick_core::Refusal>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// This text as a name, unescaped.
    ///
    /// # Errors
    /// [`Code::Denied`] if it is longer than [`FILENAME_LEN`] octets, has a control character (C0, DEL, C1), `\` or
    /// `:`, or a component that is empty, `.` or `..`. The sentence does not repeat the name, which may be made for
    /// a terminal.
    pub fn new(name: &'a str) -> Result<Self, Refusal> {
        let fault = if name.len() > FILENAME_LEN {
            "a file name is too long"
        } else if name.contains(char::is_control) {
            "a file name has no control characters"
        } else if name.contains(['\\', ':']) {
            "a file name has neither `\\` nor `:`"
        } else if name
            .split('/')
            .any(|component| matches!(component, "" | "." | ".."))
        {
            "a file name is relative, and none of its components is empty, `.` or `..`"
        } else {
            return Ok(Self(name));
        };
        Err(Refusal::new(Code::Denied, fault))
    }

    /// The name, with `/` between its components.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Its components, of which there is at least one: directories, then the last.
    pub fn components(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Whether it is a component alone.
    pub(super) fn is_component(self) -> bool {
        !self.0.contains('/')
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

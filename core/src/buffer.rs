//! Octets on their way between a stream and a state machine.

/// A buffer of `B` octets that is filled at its end and emptied at its front.
#[derive(Debug)]
pub(crate) struct Buffer<const B: usize> {
    octets: [u8; B],
    start: usize,
    end: usize,
}

impl<const B: usize> Buffer<B> {
    pub(crate) const fn new() -> Self {
        const { assert!(B > 0, "nothing can be held in a buffer without room") };
        Self {
            octets: [0; B],
            start: 0,
            end: 0,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn held(&self) -> &[u8] {
        self.octets.get(self.start..self.end).unwrap_or_default()
    }

    /// The room behind what is held; all of it if nothing is.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        self.octets.get_mut(self.end..).unwrap_or_default()
    }

    /// Holds the first `octets` of the room, too.
    pub(crate) fn filled(&mut self, octets: usize) {
        self.end = self.end.saturating_add(octets).min(B);
    }

    /// Lets go of the first `octets` of what is held.
    pub(crate) fn emptied(&mut self, octets: usize) {
        self.start = self.start.saturating_add(octets).min(self.end);
    }

    /// Lets `consume` take octets off the front of what is held, and returns what it makes of them.
    pub(crate) fn take_with<'a, T>(&'a mut self, consume: impl FnOnce(&mut &'a [u8]) -> T) -> T {
        let Self { octets, start, end } = self;
        let mut held = octets.get(*start..*end).unwrap_or_default();
        let result = consume(&mut held);
        *start = end.saturating_sub(held.len());
        result
    }
}

//! Octets on their way between a stream and a state machine.

/// A buffer in the memory `M` that is filled at its end and emptied at its front.
#[derive(Debug)]
pub(crate) struct Buffer<M> {
    octets: M,
    start: usize,
    end: usize,
}

impl<M> Buffer<M> {
    pub(crate) const fn new(octets: M) -> Self {
        Self {
            octets,
            start: 0,
            end: 0,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Lets go of all that is held.
    pub(crate) const fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Lets go of the first `octets` of what is held.
    pub(crate) fn emptied(&mut self, octets: usize) {
        self.start = self.start.saturating_add(octets).min(self.end);
    }
}

impl<M: AsRef<[u8]> + AsMut<[u8]>> Buffer<M> {
    pub(crate) fn held(&self) -> &[u8] {
        let octets = self.octets.as_ref();
        octets.get(self.start..self.end).unwrap_or_default()
    }

    /// The room behind what is held; all of it if nothing is.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.is_empty() {
            self.clear();
        }
        let octets = self.octets.as_mut();
        octets.get_mut(self.end..).unwrap_or_default()
    }

    /// Holds the first `octets` of the room, too.
    pub(crate) fn filled(&mut self, octets: usize) {
        let len = self.octets.as_ref().len();
        self.end = self.end.saturating_add(octets).min(len);
    }

    /// Lets `consume` take octets off the front of what is held, and returns what it makes of them.
    pub(crate) fn take_with<'a, T>(&'a mut self, consume: impl FnOnce(&mut &'a [u8]) -> T) -> T {
        let octets = self.octets.as_ref();
        let mut held = octets.get(self.start..self.end).unwrap_or_default();
        let result = consume(&mut held);
        self.start = self.end.saturating_sub(held.len());
        result
    }
}

//! The call stack: what it has needed, and where the program came from.

use core::fmt;
use core::ops::Range;

/// What the stack is painted with at the start.
pub const PAINT: u32 = 0xcccc_cccc;

/// What the call stack has needed, in octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StackUse {
    /// What there is.
    pub len: usize,
    /// The most that was in use at any one time since the start.
    pub peak: usize,
}

impl StackUse {
    /// Of the stack with these addresses, whose words `word` reads: in use was what is not painted any more.
    pub fn of(region: Range<usize>, word: impl Fn(usize) -> u32) -> Self {
        let len = region.len();
        let unused = region
            .step_by(size_of::<u32>())
            .take_while(|at| word(*at) == PAINT);
        Self {
            len,
            peak: len - unused.count() * size_of::<u32>(),
        }
    }
}

/// What look like return addresses on the stack, the latest first: where the program came from.
///
/// `addr2line -f -e FIRMWARE ADDRESS…` names the functions. Some may be left over from earlier calls.
#[derive(Debug, Clone)]
pub struct Callers<W, A> {
    /// From the stack pointer to the stack's start.
    pub stack: Range<usize>,
    /// The word at an address of the stack.
    pub word: W,
    /// The address that a word returns to, if it is one of the program.
    pub returns: A,
}

/// How many are shown.
const MOST: usize = 8;

impl<W: Fn(usize) -> u32, A: Fn(u32) -> Option<u32>> fmt::Display for Callers<W, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.stack.clone().step_by(size_of::<u32>()).map(&self.word);
        let mut addresses = words.filter_map(&self.returns).take(MOST);
        addresses.try_for_each(|address| write!(f, " {address:#x}"))
    }
}

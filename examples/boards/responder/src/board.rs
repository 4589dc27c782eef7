//! What the responder asks of a board.

use core::fmt;
use core::time::Duration;

use crate::stack::StackUse;

/// Board support, but for the network controller: everything else that differs from board to board.
///
/// The network controller is a [`smoltcp::phy::Device`] of its own, whose interrupt ends [`sleep`](Self::sleep).
pub trait Board {
    /// The board's name, as `info` and the console say it.
    const NAME: &'static str;

    /// The network controller's address.
    const MAC: [u8; 6];

    /// The time since the board was started. Never goes back.
    fn now(&self) -> Duration;

    /// A number that is another one at each start, as far as the board has such a thing: TCP's sequence numbers begin with it.
    fn seed(&self) -> u64;

    /// Sleeps until there is an interrupt, for `most` if there is none; `None` is for ever.
    ///
    /// Returns at once if the controller has a frame, however shortly before the call it arrived. May return early.
    fn sleep(&mut self, most: Option<Duration>);

    /// Switches the light.
    fn set_led(&mut self, on: bool);

    /// Writes a line to the console.
    fn print(&mut self, line: fmt::Arguments<'_>);

    /// Starts the board anew.
    fn reset(&mut self) -> !;

    /// What the call stack has needed so far.
    fn stack() -> StackUse;
}

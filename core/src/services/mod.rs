//! The services that need no operating system: they run unchanged on a desktop and on a board.

mod commands;
mod echo;
mod files;
mod info;
mod responder;

pub use commands::{Command, Commands};
pub use echo::Echo;
pub use files::{Attributes, Entry, Files, Kind, Name, Stat, Storage, Upload};
pub use info::Info;
pub use responder::{Output, Respond, Responder};

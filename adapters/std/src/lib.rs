//! The desktop side of unstick: blocking client, threaded server, UDP and the shell service.

mod limits;
#[cfg(unix)]
pub mod shell;
mod shutdown;
pub mod tcp;

pub use limits::{HEADER_CAPACITY, Limits};
#[cfg(unix)]
pub use shell::Shell;
pub use shutdown::Shutdown;

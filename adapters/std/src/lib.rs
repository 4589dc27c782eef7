//! The desktop side of unstick: blocking client, threaded server, UDP and the shell service.

mod limits;
mod shutdown;

pub use limits::{HEADER_CAPACITY, Limits};
pub use shutdown::Shutdown;

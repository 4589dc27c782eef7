//! How large everything is.

/// Octets of each direction's buffer of a TCP socket of the stack.
pub const BUFFER_LEN: usize = 2048;

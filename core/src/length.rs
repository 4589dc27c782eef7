//! The length codec on its own.

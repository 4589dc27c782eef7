//! Frames of drivers that have the processor move each octet.

use smoltcp::phy::RxToken;

/// A frame that has arrived, and is read where it is.
#[derive(Debug)]
pub struct Received<'a>(pub &'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

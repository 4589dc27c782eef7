//! A frame that is at hand, as a device that has received it.

use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// A device that has received one frame, and may answer it.
pub(crate) struct OneFrame<'f, T> {
    pub(crate) frame: &'f [u8],
    pub(crate) meta: PacketMeta,
    /// None once the frame has been received.
    pub(crate) answer: Option<T>,
    pub(crate) capabilities: DeviceCapabilities,
}

/// The frame.
pub(crate) struct Received<'f> {
    frame: &'f [u8],
    meta: PacketMeta,
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }

    fn meta(&self) -> PacketMeta {
        self.meta
    }
}

impl<T: TxToken> Device for OneFrame<'_, T> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = T
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, T)> {
        let received = Received {
            frame: self.frame,
            meta: self.meta,
        };
        Some((received, self.answer.take()?))
    }

    fn transmit(&mut self, _: Instant) -> Option<T> {
        self.answer.take()
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

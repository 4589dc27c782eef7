//! The digest of a content while it passes, and of what has passed before.

use core::task::{Context, Poll};

use crate::digest::{Digest, Hasher};
use crate::head::{Code, Refusal};

/// How often a storage is read at most before others have their turn.
const READS: usize = 4;

/// How much of a content has passed, and its digest.
#[derive(Debug, Default)]
pub(super) struct Sum {
    len: u64,
    hasher: Hasher,
}

impl Sum {
    /// How many octets have passed.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// The digest of those.
    pub(super) fn digest(&self) -> Digest {
        self.hasher.digest()
    }

    /// Lets `octets` pass.
    pub(super) fn add(&mut self, octets: &[u8]) {
        self.hasher.update(octets);
        self.len = self.len.saturating_add(octets.len() as u64);
    }

    /// Lets the octets pass that `read` puts into `out`, which is not empty; returns how many.
    pub(super) fn add_from(
        &mut self,
        out: &mut [u8],
        read: impl FnOnce(u64, &mut [u8]) -> Result<usize, Refusal>,
    ) -> Result<usize, Refusal> {
        let octets = read(self.len, out)?.min(out.len());
        if octets == 0 {
            let message = "the file has become shorter while it was read";
            return Err(Refusal::new(Code::Internal, message));
        }
        self.add(out.get(..octets).unwrap_or_default());
        Ok(octets)
    }

    /// Lets the octets up to `end` pass, a few buffers in each call: where there are more, it wakes its waker and is
    /// called again.
    pub(super) fn reach(
        &mut self,
        end: u64,
        buffer: &mut [u8],
        cx: &Context<'_>,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, Refusal>,
    ) -> Poll<Result<(), Refusal>> {
        for _ in 0..READS {
            let left = end.saturating_sub(self.len);
            if left == 0 {
                return Poll::Ready(Ok(()));
            }
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let out = buffer.get_mut(..most).unwrap_or_default();
            if let Err(refusal) = self.add_from(out, &mut read) {
                return Poll::Ready(Err(refusal));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

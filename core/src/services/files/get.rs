//! `get`: a file's content, and at its end the digest of all of it.

use core::task::{Context, Poll, ready};

use super::sum::Sum;
use super::{Name, Storage};
use crate::digest::Digest;
use crate::head::{Code, Refusal, Reply, Request};

/// A file that is being sent, through a reader `R`.
#[derive(Debug)]
pub(super) struct Get<R> {
    reader: R,
    len: u64,
    sum: Sum,
    /// What the client has: so many octets, and their digest.
    offset: u64,
    expected: Option<Digest>,
}

impl<R> Get<R> {
    pub(super) fn begin(
        storage: &mut impl Storage<Reader = R>,
        name: Name<'_>,
        request: &Request,
    ) -> Result<Self, Refusal> {
        let (reader, len) = storage.open(name)?;
        let mut offset = request.offset.unwrap_or(0);
        if offset > len {
            if request.sha256.is_none() {
                return Err(Refusal::new(
                    Code::NotFound,
                    format_args!("there is nothing at offset {offset}: the file has {len} octets"),
                ));
            }
            // What the client has is of another content.
            offset = 0;
        }
        Ok(Self {
            reader,
            len,
            sum: Sum::default(),
            offset,
            expected: request.sha256,
        })
    }

    pub(super) fn reply(
        &mut self,
        storage: &mut impl Storage<Reader = R>,
        buffer: &mut [u8],
        frame_len: u64,
        cx: &Context<'_>,
    ) -> Poll<Result<Reply, Refusal>> {
        let reader = &mut self.reader;
        ready!(self.sum.reach(self.offset, buffer, cx, |at, out| {
            storage.read(reader, at, out)
        }))?;
        if let Some(expected) = self.expected.take()
            && self.sum.digest() != expected
        {
            self.sum = Sum::default();
            self.offset = 0;
        }
        let at = self.sum.len();
        let left = self.len.saturating_sub(at);
        let mut head = Reply::new(left.min(frame_len));
        head.offset = (at > 0).then_some(at);
        head.more = left > 0;
        head.sha256 = (left == 0).then(|| self.sum.digest());
        Poll::Ready(Ok(head))
    }

    pub(super) fn fill(
        &mut self,
        storage: &mut impl Storage<Reader = R>,
        out: &mut [u8],
    ) -> Result<usize, Refusal> {
        let reader = &mut self.reader;
        self.sum
            .add_from(out, |at, out| storage.read(reader, at, out))
    }
}

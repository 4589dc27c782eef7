//! `put`: a new content for a file, which is the file only once all of it is there and right.

use core::task::{Context, Poll, ready};

use super::sum::Sum;
use super::{Attributes, Name, Storage, Upload};
use crate::digest::Digest;
use crate::head::{Code, Refusal, Reply, Request};
use crate::octets::take;

/// A file that is being received, through a writer `W`.
#[derive(Debug)]
pub(super) struct Put<W> {
    /// None once it is committed.
    writer: Option<W>,
    /// Where the body begins: the octets before it were kept, and are digested before the body is taken.
    offset: u64,
    sum: Sum,
    expected: Option<Digest>,
    ended: bool,
}

impl<W> Put<W> {
    pub(super) fn begin(
        storage: &mut impl Storage<Writer = W>,
        name: Name<'_>,
        request: &Request,
    ) -> Result<Self, Refusal> {
        let offset = request.offset.unwrap_or(0);
        let Some(len) = offset.checked_add(request.total_size) else {
            let message = "no file is that long";
            return Err(Refusal::new(Code::TooLarge, message));
        };
        let upload = Upload {
            len,
            offset,
            overwrite: request.overwrite,
            attributes: Attributes {
                mode: request.mode,
                mtime_ns: request.mtime_ns,
            },
        };
        Ok(Self {
            writer: Some(storage.create(name, upload)?),
            offset,
            sum: Sum::default(),
            expected: request.sha256,
            ended: false,
        })
    }

    pub(super) fn body(
        &mut self,
        storage: &mut impl Storage<Writer = W>,
        octets: &[u8],
    ) -> Result<usize, Refusal> {
        let at = self.sum.len();
        if at < self.offset {
            return Ok(0);
        }
        let written = self.writer.as_mut().map_or(Ok(0), |writer| {
            // The next octets that are offered follow those that are written.
            storage.write(writer, at, octets)
        })?;
        let mut rest = octets;
        let written = take(&mut rest, written as u64);
        self.sum.add(written);
        Ok(written.len())
    }

    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn reply(
        &mut self,
        storage: &mut impl Storage<Writer = W>,
        buffer: &mut [u8],
        cx: &Context<'_>,
    ) -> Poll<Result<Reply, Refusal>> {
        let writer = &mut self.writer;
        ready!(self.sum.reach(self.offset, buffer, cx, |at, out| {
            let writer = writer.as_mut();
            writer.map_or(Ok(0), |writer| storage.read_back(writer, at, out))
        }))?;
        match self.writer.take_if(|_| self.ended) {
            Some(writer) => Poll::Ready(self.finish(storage, writer)),
            None => Poll::Pending,
        }
    }

    fn finish(&self, storage: &mut impl Storage<Writer = W>, writer: W) -> Result<Reply, Refusal> {
        let digest = self.sum.digest();
        if self.expected.is_some_and(|expected| expected != digest) {
            storage.discard(writer);
            return Err(Refusal::new(
                Code::Digest,
                format_args!("what arrived has sha256 {digest}"),
            ));
        }
        storage.commit(writer)?;
        let mut head = Reply::new(0);
        head.sha256 = Some(digest);
        Ok(head)
    }
}

//! `stat`: what is known of a name, and the digest of the octets that a client wants to go on from.

use core::task::{Context, Poll, ready};

use super::lines::Lines;
use super::sum::Sum;
use super::{Name, Storage, line_too_long};
use crate::head::{Code, Refusal, Reply, Request};

/// What is to be digested before the answer is sent, through a reader `R`.
#[derive(Debug)]
pub(super) struct Look<R> {
    /// The file or its partial, if there is something to digest.
    reader: Option<R>,
    offset: Option<u64>,
    sum: Sum,
}

impl<R> Look<R> {
    pub(super) fn begin<const B: usize>(
        storage: &mut impl Storage<Reader = R>,
        lines: &mut Lines<B>,
        name: Name<'_>,
        request: &Request,
    ) -> Result<Self, Refusal> {
        let stat = storage.stat(name)?;
        if !lines.push(name.as_str(), stat) {
            return Err(line_too_long(B));
        }
        let mut look = Self {
            reader: None,
            offset: request.offset,
            sum: Sum::default(),
        };
        if let Some(offset) = request.offset {
            let (reader, len) = match stat.partial {
                Some(_) => storage.open_partial(name)?,
                None => storage.open(name)?,
            };
            if offset > len {
                return Err(Refusal::new(
                    Code::NotFound,
                    format_args!("there are no {offset} octets, only {len}"),
                ));
            }
            look.reader = Some(reader);
        }
        Ok(look)
    }

    pub(super) fn reply<const B: usize>(
        &mut self,
        storage: &mut impl Storage<Reader = R>,
        lines: &mut Lines<B>,
        cx: &Context<'_>,
    ) -> Poll<Result<Reply, Refusal>> {
        let mut head = Reply::new(lines.len() as u64);
        head.offset = self.offset;
        if let Some(reader) = &mut self.reader {
            let offset = self.offset.unwrap_or(0);
            // There is room: where the end of a line would be, at least.
            ready!(self.sum.reach(offset, lines.room(), cx, |at, out| {
                storage.read(reader, at, out)
            }))?;
            head.sha256 = Some(self.sum.digest());
            self.reader = None;
        }
        Poll::Ready(Ok(head))
    }
}

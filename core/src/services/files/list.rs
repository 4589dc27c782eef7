//! `list`: what is in a directory, a line each, in frames of whole lines.

use core::task::{Context, Poll};

use super::lines::Lines;
use super::{Name, Storage, line_too_long};
use crate::head::{Refusal, Reply};

/// How many entries are looked at before others have their turn.
const ENTRIES: usize = 64;

/// A directory that is being listed, through a listing `L`.
#[derive(Debug)]
pub(super) struct List<L> {
    listing: L,
    /// The place of the entry that is next.
    place: u64,
}

impl<L> List<L> {
    /// Lists this directory; the root, if its name is empty.
    pub(super) fn begin(
        storage: &mut impl Storage<Listing = L>,
        directory: &str,
    ) -> Result<Self, Refusal> {
        let directory = match directory {
            "" => None,
            name => Some(Name::new(name)?),
        };
        let listing = storage.list(directory)?;
        Ok(Self { listing, place: 0 })
    }

    pub(super) fn reply<const B: usize>(
        &mut self,
        storage: &mut impl Storage<Listing = L>,
        lines: &mut Lines<B>,
        cx: &Context<'_>,
    ) -> Poll<Result<Reply, Refusal>> {
        lines.clear();
        let mut more = true;
        for _ in 0..ENTRIES {
            let Some(entry) = storage.entry(&mut self.listing, self.place)? else {
                more = false;
                break;
            };
            // Nobody could ask for what has another name.
            if Name::new(entry.name).is_ok_and(Name::is_component) {
                if !lines.push(entry.name, entry.stat) {
                    if lines.len() == 0 {
                        return Poll::Ready(Err(line_too_long(B)));
                    }
                    break;
                }
                lines.end_line();
            }
            self.place = self.place.saturating_add(1);
        }
        if more && lines.len() == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut head = Reply::new(lines.len() as u64);
        head.more = more;
        Poll::Ready(Ok(head))
    }
}

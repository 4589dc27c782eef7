//! The replies that may be asked for again, in memory of a fixed size.
//!
//! The promise is that a request with an `id` is carried out once, however often its datagram arrives. So
//! nothing is forgotten that may still be repeated: where there is no room for one more, the new request is refused.

use core::net::SocketAddr;
use core::time::Duration;

/// How long a complete reply is kept after it was last asked for.
pub(super) const HOLD: Duration = Duration::from_secs(5);
/// The most datagrams of one reply.
pub(super) const FRAMES: usize = 8;
/// The most octets of a header that ends a reply with an error, and its prefix, as far as it needs to be kept.
pub(super) const RESERVE: usize = 160;

/// What tells one request from another: who asks, and the `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) peer: SocketAddr,
    pub(super) id: u32,
}

/// Room for one reply that may be asked for again: up to 8 datagrams of `OUT` octets together.
#[derive(Debug)]
pub struct Entry<const OUT: usize> {
    key: Option<Key>,
    /// A hash of the request's datagram.
    request: u64,
    /// Whether the request may be carried out again.
    safe: bool,
    done: bool,
    touched: Duration,
    lens: [usize; FRAMES],
    frames: usize,
    octets: [u8; OUT],
}

impl<const OUT: usize> Entry<OUT> {
    /// Nothing is kept here.
    pub const EMPTY: Self = Self::empty();

    /// Nothing is kept here; as [`EMPTY`](Self::EMPTY), but made where it is asked for: a board need not have one in flash
    /// to copy.
    pub const fn empty() -> Self {
        Self {
            key: None,
            request: 0,
            safe: false,
            done: false,
            touched: Duration::ZERO,
            lens: [0; FRAMES],
            frames: 0,
            octets: [0; OUT],
        }
    }

    fn used(&self) -> usize {
        let lens = self.lens.iter().take(self.frames);
        lens.fold(0, |used, len| used.saturating_add(*len))
    }

    /// The datagrams, in their order.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.octets[..];
        self.lens.iter().take(self.frames).map(move |len| {
            let (datagram, behind) = rest.split_at_checked(*len).unwrap_or_default();
            rest = behind;
            datagram
        })
    }

    /// Keeps the next datagram, unless there is no room; `last` ones need not leave any.
    fn push(&mut self, datagram: &[u8], last: bool) -> bool {
        let used = self.used();
        let end = used.saturating_add(datagram.len());
        let frames = self.frames.saturating_add(1);
        let (reserve, kept_free) = if last { (0, 0) } else { (RESERVE, 1) };
        if end.saturating_add(reserve) > OUT || frames.saturating_add(kept_free) > FRAMES {
            return false;
        }
        let room = self.octets.get_mut(used..end).unwrap_or_default();
        room.iter_mut()
            .zip(datagram)
            .for_each(|(to, from)| *to = *from);
        if let Some(len) = self.lens.get_mut(self.frames) {
            *len = datagram.len();
        }
        self.frames = frames;
        true
    }
}

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is new, and has this entry: carry it out, and [`finish`](Cache::finish) it.
    New(usize),
    /// It is a repeat: send the datagrams of this entry again, all there are so far.
    Repeat(usize),
    /// Another request with the same `id` is being carried out: an answer would be taken for that one's.
    InUse,
    /// There is no room.
    Full,
}

/// The replies to the requests of late.
#[derive(Debug)]
pub(super) struct Cache<'m, const OUT: usize> {
    entries: &'m mut [Entry<OUT>],
}

impl<'m, const OUT: usize> Cache<'m, OUT> {
    pub(super) const fn new(entries: &'m mut [Entry<OUT>]) -> Self {
        Self { entries }
    }

    pub(super) fn entry(&self, at: usize) -> Option<&Entry<OUT>> {
        self.entries.get(at)
    }

    /// Says what is to be done with a request's datagram, and keeps its place if it is new.
    ///
    /// `safe` says that it may be carried out again: its place is given up before another request is refused.
    pub(super) fn admit(
        &mut self,
        key: Key,
        datagram: &[u8],
        safe: bool,
        now: Duration,
    ) -> Admission {
        let request = hash(datagram);
        let mut entries = self.entries.iter_mut().enumerate();
        let at = match entries.find(|(_, entry)| entry.key == Some(key)) {
            Some((at, entry)) if entry.request == request => {
                entry.touched = now;
                return Admission::Repeat(at);
            }
            Some((_, entry)) if !entry.done => return Admission::InUse,
            Some((at, _)) => Some(at),
            None => self.place(key.peer, now),
        };
        let Some((at, entry)) = at.and_then(|at| Some((at, self.entries.get_mut(at)?))) else {
            return Admission::Full;
        };
        entry.key = Some(key);
        entry.request = request;
        entry.safe = safe;
        entry.done = false;
        entry.touched = now;
        entry.frames = 0;
        Admission::New(at)
    }

    /// An empty entry; else the one that was not asked for the longest, if that is old enough; else the oldest of those that
    /// may be carried out again; else the oldest of the same peer, which has asked anew since, and who asks one thing at a
    /// time has its answer then.
    fn place(&self, peer: SocketAddr, now: Duration) -> Option<usize> {
        let entries = || self.entries.iter().enumerate();
        if let Some((at, _)) = entries().find(|(_, entry)| entry.key.is_none()) {
            return Some(at);
        }
        let done = || entries().filter(|(_, entry)| entry.done);
        let old = done().min_by_key(|(_, entry)| entry.touched);
        let old = old.filter(|(_, entry)| entry.touched.saturating_add(HOLD) <= now);
        let own = done().filter(|(_, entry)| entry.key.is_some_and(|key| key.peer == peer));
        let own = own.min_by_key(|(_, entry)| entry.touched);
        let safe = done().filter(|(_, entry)| entry.safe);
        let safe = safe.min_by_key(|(_, entry)| entry.touched);
        old.or(safe).or(own).map(|(at, _)| at)
    }

    /// Keeps the next datagram of a reply; whether there is room for it, and for an error behind it if it is not the `last`.
    pub(super) fn push(&mut self, at: usize, datagram: &[u8], last: bool) -> bool {
        let entry = self.entries.get_mut(at);
        entry.is_some_and(|entry| entry.push(datagram, last))
    }

    /// Says that a reply is complete.
    pub(super) fn finish(&mut self, at: usize, now: Duration) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.done = true;
            entry.touched = now;
        }
    }
}

/// FNV-1a: tells a repeat from another request of the same peer with the same `id`, nothing more.
fn hash(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(port: u16, id: u32) -> Key {
        let peer = SocketAddr::from(([127, 0, 0, 1], port));
        Key { peer, id }
    }

    fn answer(cache: &mut Cache<'_, 256>, key: Key, now: Duration) -> usize {
        let Admission::New(at) = cache.admit(key, b"request", false, now) else {
            panic!("no room");
        };
        assert!(cache.push(at, b"reply", true));
        cache.finish(at, now);
        at
    }

    #[test]
    fn a_repeat_gets_what_there_is() {
        let mut entries = [Entry::<512>::EMPTY];
        let mut cache = Cache::new(&mut entries);
        assert_eq!(
            cache.admit(key(1, 1), b"a", false, SECOND),
            Admission::New(0)
        );
        assert_eq!(
            cache.admit(key(1, 1), b"b", false, SECOND),
            Admission::InUse
        );
        assert!(cache.push(0, b"one", false));
        assert_eq!(
            cache.admit(key(1, 1), b"a", false, SECOND),
            Admission::Repeat(0)
        );
        assert!(cache.push(0, b"two", true));
        let datagrams = cache.entry(0).unwrap().datagrams();
        assert!(datagrams.eq([b"one", b"two"]));
        cache.finish(0, SECOND);
        assert_eq!(
            cache.admit(key(1, 1), b"b", false, SECOND),
            Admission::New(0)
        );
    }

    #[test]
    fn what_another_peer_may_ask_for_is_held() {
        let mut entries = [const { Entry::<256>::EMPTY }; 2];
        let mut cache = Cache::new(&mut entries);
        answer(&mut cache, key(1, 1), SECOND);
        answer(&mut cache, key(2, 1), 2 * SECOND);
        let late = HOLD + SECOND;
        let before = late - Duration::from_nanos(1);
        assert_eq!(cache.admit(key(3, 1), b"a", false, before), Admission::Full);
        assert_eq!(cache.admit(key(3, 1), b"a", false, late), Admission::New(0));
        // What is being carried out is held for ever.
        assert_eq!(
            cache.admit(key(4, 1), b"a", false, 100 * SECOND),
            Admission::New(1)
        );
        assert_eq!(
            cache.admit(key(5, 1), b"a", false, 200 * SECOND),
            Admission::Full
        );
    }

    #[test]
    fn a_peer_has_its_own_oldest_forgotten() {
        let mut entries = [const { Entry::<256>::EMPTY }; 2];
        let mut cache = Cache::new(&mut entries);
        assert_eq!(answer(&mut cache, key(1, 1), SECOND), 0);
        assert_eq!(answer(&mut cache, key(2, 1), SECOND), 1);
        for id in 2..100 {
            assert_eq!(answer(&mut cache, key(1, id), SECOND), 0);
        }
        assert_eq!(
            cache.admit(key(2, 1), b"request", false, SECOND),
            Admission::Repeat(1)
        );
    }

    #[test]
    fn a_reply_leaves_room_for_its_end() {
        let mut entries = [Entry::<512>::EMPTY];
        let mut cache = Cache::new(&mut entries);
        assert_eq!(
            cache.admit(key(1, 1), b"a", false, SECOND),
            Admission::New(0)
        );
        assert!(cache.push(0, &[0; 512 - RESERVE], false));
        assert!(!cache.push(0, &[0; 1], false));
        assert!(cache.push(0, &[0; RESERVE], true));

        assert_eq!(
            cache.admit(key(1, 1), b"a", false, SECOND),
            Admission::Repeat(0)
        );
        cache.finish(0, SECOND);
        assert_eq!(
            cache.admit(key(1, 2), b"a", false, SECOND),
            Admission::New(0)
        );
        for _ in 1..FRAMES {
            assert!(cache.push(0, b"a", false));
        }
        assert!(!cache.push(0, b"a", false));
        assert!(cache.push(0, b"a", true));
    }

    #[test]
    fn what_may_be_done_again_gives_way() {
        let mut entries = [const { Entry::EMPTY }; 2];
        let mut cache = Cache::<256>::new(&mut entries);
        answer(&mut cache, key(1, 1), SECOND);
        let Admission::New(at) = cache.admit(key(2, 1), b"request", true, SECOND) else {
            panic!("no room");
        };
        // Not while it is being carried out.
        assert_eq!(cache.admit(key(3, 1), b"a", false, SECOND), Admission::Full);
        cache.finish(at, SECOND);
        assert_eq!(
            cache.admit(key(3, 1), b"a", false, SECOND),
            Admission::New(at)
        );
        assert_eq!(
            cache.admit(key(1, 1), b"request", false, SECOND),
            Admission::Repeat(1 - at)
        );
    }

    #[test]
    fn what_must_not_be_done_again_is_remembered_longer() {
        let mut entries = [const { Entry::EMPTY }; 2];
        let mut cache = Cache::<256>::new(&mut entries);
        let kept = answer(&mut cache, key(1, 1), SECOND);
        for id in 2..5 {
            let Admission::New(at) = cache.admit(key(1, id), b"request", true, SECOND) else {
                panic!("no room");
            };
            assert_ne!(at, kept);
            cache.finish(at, SECOND);
        }
        let again = cache.admit(key(1, 1), b"request", false, SECOND);
        assert_eq!(again, Admission::Repeat(kept));
    }
}

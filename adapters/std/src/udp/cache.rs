//! The replies that may be asked for again.
//!
//! The promise is that a request with an `id` is carried out once, however often its datagram arrives. So
//! nothing is forgotten that may still be repeated: where there is no room for one more, the new request is
//! refused. Every step is O(1), amortised.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::MAX_DATAGRAM;

/// How long a complete reply is kept after it was last asked for: far longer than a datagram lives in a
/// network, and 30 times the longest pause of a client that is still asking.
pub(super) const KEEP: Duration = Duration::from_secs(30);
/// How long it is kept when room is short. A client that lacks it asks every second: four of its
/// datagrams in a row would have to be lost.
pub(super) const HOLD: Duration = Duration::from_secs(5);
/// The most octets that are kept: with [`HOLD`], it is what decides how many requests a second find room,
/// 43,000 with small replies, and how many octets of large ones, 26 million. No less, or one client on the
/// same host that asks without a pause is refused.
pub(super) const MAX_OCTETS: usize = 128 * 1024 * 1024;
/// The most octets of one reply: a client gets all of them again whenever it misses one.
pub(super) const MAX_REPLY: usize = 4 * 1024 * 1024;
/// What an entry takes besides its reply, in octets: its places in the table, which has up to 2.5 times the
/// places it needs, and in the queue, with up to twice. It bounds the entries at 262,144.
pub(super) const ENTRY: usize = 512;
/// What a datagram takes besides its octets.
pub(super) const DATAGRAM: usize = 48;

const _: () = assert!(5 * size_of::<(Key, Entry)>() / 2 + 4 * size_of::<Queued>() <= ENTRY);

/// What tells one request from another: who asks, and the `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) peer: SocketAddr,
    pub(super) id: u32,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is new: carry it out, and [`finish`](Cache::finish) it.
    New,
    /// It is a repeat: send these datagrams again, all there are so far.
    Repeat(Vec<Arc<[u8]>>),
    /// Another request with the same `id` is being carried out: an answer would be taken for that one's.
    InUse,
    /// There is no room.
    Full,
}

/// Why a datagram is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The reply has [`MAX_REPLY`] octets.
    Reply,
    /// There is no room.
    Cache,
}

#[derive(Debug)]
struct Entry {
    /// A hash of the request's datagram.
    request: u64,
    done: bool,
    /// What the datagrams take, in octets.
    octets: usize,
    datagrams: Vec<Arc<[u8]>>,
    touched: Instant,
    /// Of its last place in the queue.
    turn: u64,
}

impl Entry {
    /// What the entry counts for, in octets. Its first datagram has its room from the start: a request
    /// that was carried out can always be answered.
    fn octets(&self) -> usize {
        let reserved = if self.done {
            0
        } else {
            DATAGRAM + MAX_DATAGRAM
        };
        ENTRY + self.octets.max(reserved)
    }
}

#[derive(Debug)]
struct Queued {
    key: Key,
    turn: u64,
}

/// The replies to the requests of late, by peer and `id`.
#[derive(Debug)]
pub(super) struct Cache {
    max_octets: usize,
    entries: HashMap<Key, Entry>,
    /// The entries that are done, the one that was touched last at the end. An entry that was touched
    /// again is here again; its earlier places have an earlier turn, and are passed over.
    queue: VecDeque<Queued>,
    turn: u64,
    octets: usize,
}

impl Cache {
    /// An empty cache for up to `max_octets`.
    pub(super) fn new(max_octets: usize) -> Self {
        Self {
            max_octets,
            entries: HashMap::new(),
            queue: VecDeque::new(),
            turn: 0,
            octets: 0,
        }
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Says what is to be done with a request's datagram, and keeps its place if it is new.
    pub(super) fn admit(&mut self, key: Key, datagram: &[u8], now: Instant) -> Admission {
        self.expire(now);
        let request = self.entries.hasher().hash_one(datagram);
        match self.entries.get(&key) {
            Some(entry) if entry.request == request => {
                let datagrams = entry.datagrams.clone();
                if entry.done {
                    self.touch(key, now);
                }
                return Admission::Repeat(datagrams);
            }
            Some(entry) if !entry.done => return Admission::InUse,
            _ => {}
        }
        let entry = Entry {
            request,
            done: false,
            octets: 0,
            // Most replies are one.
            datagrams: Vec::with_capacity(1),
            touched: now,
            turn: 0,
        };
        // Before the entry that it replaces is dropped: if there is no room, that one is still to be had.
        if !self.make_room(entry.octets(), now) {
            return Admission::Full;
        }
        self.remove(key);
        self.octets += entry.octets();
        self.entries.insert(key, entry);
        Admission::New
    }

    /// Keeps the next datagram of a reply.
    pub(super) fn push(
        &mut self,
        key: Key,
        datagram: Arc<[u8]>,
        now: Instant,
    ) -> Result<(), Overflow> {
        let Some(entry) = self.entries.get(&key) else {
            return Ok(());
        };
        let octets = entry.octets + DATAGRAM + datagram.len();
        if octets > MAX_REPLY {
            return Err(Overflow::Reply);
        }
        let growth = (ENTRY + octets).saturating_sub(entry.octets());
        if growth > 0 && !self.make_room(growth, now) {
            return Err(Overflow::Cache);
        }
        self.keep(key, datagram);
        Ok(())
    }

    /// Keeps the datagram that ends a reply for want of room: it is short, and has its place in any case.
    pub(super) fn push_refusal(&mut self, key: Key, datagram: Arc<[u8]>) {
        self.keep(key, datagram);
    }

    /// Says that a reply is complete.
    pub(super) fn finish(&mut self, key: Key, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&key) {
            let reserved = entry.octets();
            entry.done = true;
            entry.datagrams.shrink_to_fit();
            self.octets -= reserved - entry.octets();
            self.touch(key, now);
        }
    }

    /// Forgets what was not asked for in a long time.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.drop_oldest(KEEP, now) {}
        if self.entries.is_empty() {
            // What a burst made large need not stay so.
            self.entries.shrink_to_fit();
            self.queue.shrink_to_fit();
        }
    }

    fn keep(&mut self, key: Key, datagram: Arc<[u8]>) {
        if let Some(entry) = self.entries.get_mut(&key) {
            let before = entry.octets();
            entry.octets += DATAGRAM + datagram.len();
            entry.datagrams.push(datagram);
            self.octets += entry.octets() - before;
        }
    }

    /// Moves an entry that is done to the end of the queue.
    fn touch(&mut self, key: Key, now: Instant) {
        self.turn += 1;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.touched = now;
            entry.turn = self.turn;
        }
        self.queue.push_back(Queued {
            key,
            turn: self.turn,
        });
        // Places that are passed over, at most as many as there are entries, and a few.
        if self.queue.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.queue.retain(|queued| is_current(entries, queued));
        }
    }

    /// Makes room for `octets` more, if it can be had.
    fn make_room(&mut self, octets: usize, now: Instant) -> bool {
        while self.octets + octets > self.max_octets {
            if !self.drop_oldest(HOLD, now) {
                return false;
            }
        }
        true
    }

    /// Drops the entry that was touched the longest ago, if that is at least `age`, and is done.
    fn drop_oldest(&mut self, age: Duration, now: Instant) -> bool {
        while let Some(queued) = self.queue.front() {
            if is_current(&self.entries, queued) {
                let key = queued.key;
                let touched = self.entries.get(&key).map_or(now, |entry| entry.touched);
                if now.saturating_duration_since(touched) < age {
                    return false;
                }
                self.queue.pop_front();
                self.remove(key);
                return true;
            }
            self.queue.pop_front();
        }
        false
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.octets -= entry.octets();
        }
    }
}

/// Whether this is the last place of an entry that there is.
fn is_current(entries: &HashMap<Key, Entry>, queued: &Queued) -> bool {
    entries
        .get(&queued.key)
        .is_some_and(|entry| entry.done && entry.turn == queued.turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ROOM_FOR_ONE: usize = ENTRY + DATAGRAM + MAX_DATAGRAM;

    fn key(id: u32) -> Key {
        let peer = SocketAddr::from(([127, 0, 0, 1], 7));
        Key { peer, id }
    }

    /// Carries out a request that is new.
    fn answer(cache: &mut Cache, id: u32, request: &[u8], reply: &[u8], now: Instant) {
        assert_eq!(cache.admit(key(id), request, now), Admission::New);
        cache.push(key(id), reply.into(), now).unwrap();
        cache.finish(key(id), now);
    }

    fn repeat(replies: &[&[u8]]) -> Admission {
        Admission::Repeat(replies.iter().map(|&reply| reply.into()).collect())
    }

    #[test]
    fn a_repeat_gets_what_there_is() {
        let (mut cache, now) = (Cache::new(MAX_OCTETS), Instant::now());
        assert_eq!(cache.admit(key(1), b"a", now), Admission::New);
        assert_eq!(cache.admit(key(1), b"a", now), repeat(&[]));
        cache.push(key(1), b"one"[..].into(), now).unwrap();
        assert_eq!(cache.admit(key(1), b"a", now), repeat(&[b"one"]));
        cache.push(key(1), b"two"[..].into(), now).unwrap();
        cache.finish(key(1), now);
        assert_eq!(cache.admit(key(1), b"a", now), repeat(&[b"one", b"two"]));
    }

    #[test]
    fn another_peer_with_the_same_id_is_another_request() {
        let (mut cache, now) = (Cache::new(MAX_OCTETS), Instant::now());
        answer(&mut cache, 1, b"a", b"one", now);
        let peer = SocketAddr::from(([127, 0, 0, 1], 8));
        assert_eq!(cache.admit(Key { peer, id: 1 }, b"a", now), Admission::New);
    }

    #[test]
    fn another_datagram_with_the_same_id_waits_for_the_first() {
        let (mut cache, now) = (Cache::new(MAX_OCTETS), Instant::now());
        assert_eq!(cache.admit(key(1), b"a", now), Admission::New);
        assert_eq!(cache.admit(key(1), b"b", now), Admission::InUse);
        cache.push(key(1), b"one"[..].into(), now).unwrap();
        cache.finish(key(1), now);
        answer(&mut cache, 1, b"b", b"two", now);
        assert_eq!(cache.admit(key(1), b"b", now), repeat(&[b"two"]));
    }

    #[test]
    fn a_reply_is_forgotten_when_nobody_asked_for_a_while() {
        let (mut cache, start) = (Cache::new(MAX_OCTETS), Instant::now());
        answer(&mut cache, 1, b"a", b"one", start);
        let late = start + KEEP - SECOND;
        assert_eq!(cache.admit(key(1), b"a", late), repeat(&[b"one"]));
        let later = late + KEEP - SECOND;
        assert_eq!(cache.admit(key(1), b"a", later), repeat(&[b"one"]));
        assert_eq!(cache.admit(key(1), b"a", later + KEEP), Admission::New);
    }

    #[test]
    fn what_is_running_is_never_forgotten() {
        let (mut cache, start) = (Cache::new(ROOM_FOR_ONE), Instant::now());
        assert_eq!(cache.admit(key(1), b"a", start), Admission::New);
        let late = start + 100 * KEEP;
        assert_eq!(cache.admit(key(2), b"b", late), Admission::Full);
        assert_eq!(cache.admit(key(1), b"a", late), repeat(&[]));
    }

    #[test]
    fn without_room_the_new_one_is_refused_until_the_oldest_is_old() {
        let (mut cache, start) = (Cache::new(ROOM_FOR_ONE + ENTRY + 100), Instant::now());
        answer(&mut cache, 1, b"a", &[1; 1000], start);
        let before = start + HOLD - SECOND;
        assert_eq!(cache.admit(key(2), b"b", before), Admission::Full);
        assert_eq!(cache.admit(key(1), b"a", start), repeat(&[&[1; 1000]]));
        answer(&mut cache, 2, b"b", b"two", start + HOLD);
        assert_eq!(cache.admit(key(1), b"a", start + HOLD), Admission::New);
    }

    #[test]
    fn without_room_the_one_that_would_be_replaced_is_kept() {
        let (mut cache, start) = (Cache::new(ROOM_FOR_ONE + ENTRY + 100), Instant::now());
        answer(&mut cache, 1, b"a", &[1; 1000], start);
        assert_eq!(cache.admit(key(1), b"b", start), Admission::Full);
        assert_eq!(cache.admit(key(1), b"a", start), repeat(&[&[1; 1000]]));
    }

    #[test]
    fn a_reply_has_a_limit_and_the_first_datagram_always_its_room() {
        let (mut cache, now) = (Cache::new(2 * ROOM_FOR_ONE), Instant::now());
        let most: Arc<[u8]> = vec![0; MAX_DATAGRAM].into();
        assert_eq!(cache.admit(key(1), b"a", now), Admission::New);
        assert_eq!(cache.admit(key(2), b"b", now), Admission::New);
        assert_eq!(cache.push(key(1), most.clone(), now), Ok(()));
        assert_eq!(cache.push(key(1), most.clone(), now), Err(Overflow::Cache));
        assert_eq!(cache.push(key(2), most.clone(), now), Ok(()));

        let mut cache = Cache::new(MAX_OCTETS);
        assert_eq!(cache.admit(key(1), b"a", now), Admission::New);
        let count = (0..)
            .take_while(|_| cache.push(key(1), most.clone(), now).is_ok())
            .count();
        assert_eq!(count, MAX_REPLY / (MAX_DATAGRAM + DATAGRAM));
        assert_eq!(cache.push(key(1), most, now), Err(Overflow::Reply));
        cache.push_refusal(key(1), b"enough"[..].into());
    }

    #[test]
    fn repeats_do_not_lengthen_the_queue() {
        let (mut cache, now) = (Cache::new(MAX_OCTETS), Instant::now());
        for id in 0..100 {
            answer(&mut cache, id, b"a", b"one", now);
        }
        for id in 0..100_000 {
            cache.admit(key(id % 100), b"a", now);
            assert!(cache.queue.len() <= 2 * 100 + 64);
        }
        cache.expire(now + KEEP);
        assert!(cache.is_empty() && cache.octets == 0 && cache.queue.is_empty());
    }

    /// The same rules, with a list that is searched.
    #[derive(Default)]
    struct Model {
        max_octets: usize,
        /// The one that was touched last at the end.
        list: Vec<Kept>,
    }

    struct Kept {
        key: Key,
        request: Vec<u8>,
        done: bool,
        datagrams: Vec<Arc<[u8]>>,
        touched: Instant,
    }

    impl Kept {
        fn reply(&self) -> usize {
            self.datagrams.iter().map(|d| d.len() + DATAGRAM).sum()
        }

        fn octets(&self) -> usize {
            let reserved = DATAGRAM + MAX_DATAGRAM;
            ENTRY + self.reply().max(if self.done { 0 } else { reserved })
        }
    }

    impl Model {
        fn octets(&self) -> usize {
            self.list.iter().map(Kept::octets).sum()
        }

        fn find(&mut self, key: Key) -> Option<&mut Kept> {
            self.list.iter_mut().find(|kept| kept.key == key)
        }

        fn is_running(&mut self, key: Key) -> bool {
            self.find(key).is_some_and(|kept| !kept.done)
        }

        fn drop_oldest(&mut self, age: Duration, now: Instant) -> bool {
            match self.list.iter().position(|kept| kept.done) {
                Some(oldest) if now - self.list[oldest].touched >= age => {
                    self.list.remove(oldest);
                    true
                }
                _ => false,
            }
        }

        fn touch(&mut self, key: Key, now: Instant) {
            self.find(key).unwrap().touched = now;
            // Stable: all others keep their places.
            self.list.sort_by_key(|kept| kept.key == key);
        }

        fn admit(&mut self, key: Key, request: &[u8], now: Instant) -> Admission {
            while self.drop_oldest(KEEP, now) {}
            match self.find(key) {
                Some(kept) if kept.request == request => {
                    let datagrams = kept.datagrams.clone();
                    if kept.done {
                        self.touch(key, now);
                    }
                    return Admission::Repeat(datagrams);
                }
                Some(kept) if !kept.done => return Admission::InUse,
                _ => {}
            }
            while self.octets() + ROOM_FOR_ONE > self.max_octets {
                if !self.drop_oldest(HOLD, now) {
                    return Admission::Full;
                }
            }
            self.list.retain(|kept| kept.key != key);
            self.list.push(Kept {
                key,
                request: request.to_vec(),
                done: false,
                datagrams: Vec::new(),
                touched: now,
            });
            Admission::New
        }

        fn push(&mut self, key: Key, datagram: &Arc<[u8]>, now: Instant) -> Result<(), Overflow> {
            let before = self.octets();
            let kept = self.find(key).unwrap();
            kept.datagrams.push(datagram.clone());
            let mut overflow = (kept.reply() > MAX_REPLY).then_some(Overflow::Reply);
            while overflow.is_none() && self.octets() > before.max(self.max_octets) {
                if !self.drop_oldest(HOLD, now) {
                    overflow = Some(Overflow::Cache);
                }
            }
            if overflow.is_some() {
                self.find(key).unwrap().datagrams.pop();
            }
            overflow.map_or(Ok(()), Err)
        }

        fn finish(&mut self, key: Key, now: Instant) {
            self.find(key).unwrap().done = true;
            self.touch(key, now);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit(u32, u8),
        Push(u32, usize),
        Finish(u32),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..6_u32, 0..2_u8).prop_map(|(id, request)| Step::Admit(id, request)),
            3 => (0..6_u32, prop_oneof![0..2000_usize, Just(MAX_DATAGRAM)])
                .prop_map(|(id, len)| Step::Push(id, len)),
            3 => (0..6_u32).prop_map(Step::Finish),
            2 => (0..12_000_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn does_what_the_model_does(
            rooms in 1..5_usize,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let max_octets = rooms * ROOM_FOR_ONE + 3000;
            let mut cache = Cache::new(max_octets);
            let mut model = Model { max_octets, ..Model::default() };
            let mut now = Instant::now();
            for step in steps {
                match step {
                    Step::Admit(id, request) => prop_assert_eq!(
                        cache.admit(key(id), &[request], now),
                        model.admit(key(id), &[request], now)
                    ),
                    Step::Push(id, len) if model.is_running(key(id)) => {
                        let datagram: Arc<[u8]> = vec![0; len].into();
                        prop_assert_eq!(
                            cache.push(key(id), datagram.clone(), now),
                            model.push(key(id), &datagram, now)
                        );
                    }
                    Step::Finish(id) if model.is_running(key(id)) => {
                        model.finish(key(id), now);
                        cache.finish(key(id), now);
                    }
                    Step::Push(..) | Step::Finish(_) => {}
                    Step::Wait(millis) => now += Duration::from_millis(millis),
                }
                prop_assert_eq!(cache.octets, model.octets());
                prop_assert_eq!(cache.entries.len(), model.list.len());
                prop_assert!(cache.octets <= max_octets);
            }
        }
    }
}

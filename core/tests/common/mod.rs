//! What several of core's tests share, and the fuzz targets with them: frames, and a service that does what it
//! is told and minds that the connection keeps to the protocol of `Service`.
#![allow(dead_code, reason = "no test uses all of it")]

pub mod events;
#[cfg(test)]
pub mod memory;
pub mod scenario;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use unstick_core::{Code, Decoder, Event, Refusal, Reply, Request, Route, Service};

/// A property test with this many cases; or few, where each takes long.
#[cfg(test)]
pub fn config(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: if cfg!(miri) { 8 } else { cases },
        failure_persistence: None,
        ..Default::default()
    }
}

/// Of many lengths one in so many is tried.
pub const STEP: usize = if cfg!(miri) { 16 } else { 1 };

/// Any text. As `any::<String>()`, which takes a regular expression to pieces first.
#[cfg(test)]
pub fn text() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    proptest::collection::vec(any::<char>(), 0..60).prop_map(String::from_iter)
}

/// One frame, octet by octet.
pub fn frame(header: &str, body: &[u8]) -> Vec<u8> {
    let prefix = i32::try_from(header.len()).unwrap().to_le_bytes();
    [&prefix, header.as_bytes(), body].concat()
}

/// A context that wakes nobody.
pub fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// The octet at this place of every body there is.
pub fn octet(place: u64) -> u8 {
    u8::try_from(place % 251).unwrap()
}

/// A body of this length.
pub fn body(len: usize) -> Vec<u8> {
    (0..len as u64).map(octet).collect()
}

/// One frame of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub head: Reply,
    pub body: Vec<u8>,
    /// Whether it was cut inside its body.
    pub cut: bool,
}

/// What a server has sent: whole frames, but for the body of the last.
pub fn frames(mut octets: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::<Reply, 512>::new();
    let mut frames = Vec::<Frame>::new();
    while let Some(event) = decoder.decode(&mut octets).expect("a server sends frames") {
        match event {
            Event::Header(head) => frames.push(Frame {
                head,
                body: Vec::new(),
                cut: true,
            }),
            Event::Body(piece) => frames.last_mut().unwrap().body.extend_from_slice(piece),
            Event::End => frames.last_mut().unwrap().cut = false,
        }
    }
    let cut = frames.last().is_some_and(|frame| frame.cut);
    assert!(
        decoder.finish().is_ok() || cut,
        "a header is sent whole or not at all"
    );
    frames
}

/// What the [`Script`] does with one request.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub begin_refused: bool,
    /// How many octets the first calls of `body` take at most, 0 for "not now"; the others take all.
    pub takes: Vec<usize>,
    /// `body` refuses when it has taken so many.
    pub body_refused_at: Option<u64>,
    pub end_refused: bool,
    /// The reply begins when so many octets of the body are taken; otherwise at its end.
    pub reply_after: Option<u64>,
    /// The bodies of the reply's frames, by length. None: one frame without a body.
    pub frames: Vec<usize>,
    /// Instead of the frame of this number comes a refusal.
    pub reply_refused_at: Option<usize>,
    /// How many octets the first calls of `reply` and `fill` give at most, 0 for `Pending`; the others give all.
    pub fills: Vec<usize>,
    /// In the frame of this number, `fill` breaks off after so many octets, with an error or with `Ok(0)`.
    pub fill_fails_at: Option<(usize, usize, bool)>,
    /// Every frame is an error frame.
    pub errors: bool,
}

impl Plan {
    /// The lengths of the frames' bodies.
    pub fn lens(&self) -> &[usize] {
        match self.frames.as_slice() {
            [] => &[0],
            frames => frames,
        }
    }

    /// The reply's frame of this number, without an id.
    pub fn frame(&self, number: usize) -> Frame {
        let len = self.lens()[number];
        let mut head = Reply::new(len as u64);
        head.more = number + 1 < self.lens().len();
        head.error = self.errors.then_some(Code::Busy);
        Frame {
            head,
            body: body(len),
            cut: false,
        }
    }
}

/// What the script refuses with.
pub const BEGIN: Code = Code::Denied;
pub const BODY: Code = Code::Digest;
pub const END: Code = Code::NotFound;
pub const REPLY: Code = Code::Internal;

/// Where the [`Script`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// It has nothing to do.
    #[default]
    Idle,
    /// It may have something to say that it has not been asked for.
    Ready,
    /// It needs more of the body.
    Hungry,
    /// It has said "not now".
    Waiting,
}

/// Carries out `script` requests as planned, and panics if it is called out of turn.
#[derive(Debug, Default)]
pub struct Script {
    plans: VecDeque<Plan>,
    plan: Plan,
    turn: Option<Turn>,
    /// Whether every body has to be one that [`body`] makes.
    pub minds_bodies: bool,
    /// Where it stands; for others to see.
    pub mood: Rc<Cell<Mood>>,
}

#[derive(Debug)]
struct Turn {
    total_size: u64,
    taken: u64,
    ended: bool,
    /// `body` took nothing, and has to be left in peace until something is asked for.
    full: bool,
    /// The frames whose headers are handed out.
    frames: usize,
    /// Of the last one's body: octets that are filled, and all of them.
    filled: usize,
    len: usize,
}

impl Turn {
    /// Whether all of the reply is handed out.
    fn is_replied(&self, plan: &Plan) -> bool {
        self.frames == plan.lens().len() && self.filled == self.len
    }
}

impl Script {
    /// Plans for the requests to come, in order; those that follow get the plan that is the default.
    pub fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        Self {
            plans: plans.into_iter().collect(),
            ..Self::default()
        }
    }

    fn turn(&mut self) -> &mut Turn {
        self.turn.as_mut().expect("called outside of a turn")
    }

    fn pending(&mut self) -> bool {
        let pending = self.plan.fills.first() == Some(&0);
        if pending {
            self.plan.fills.remove(0);
            self.mood.set(Mood::Waiting);
        }
        pending
    }

    fn gone_on(&mut self) {
        let turn = self.turn.as_ref().expect("called outside of a turn");
        self.mood.set(match turn.is_replied(&self.plan) {
            true => Mood::Idle,
            false => Mood::Ready,
        });
    }

    fn refuse<T>(&mut self, code: Code) -> Result<T, Refusal> {
        self.turn = None;
        self.mood.set(Mood::Idle);
        Err(Refusal::new(code, "as planned"))
    }
}

impl Service for Script {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        if let Some(turn) = &self.turn {
            assert!(turn.is_replied(&self.plan), "begun in another turn");
        }
        self.plan = self.plans.pop_front().unwrap_or_default();
        if self.plan.begin_refused {
            return self.refuse(BEGIN);
        }
        self.mood.set(Mood::Ready);
        self.turn = Some(Turn {
            total_size: request.total_size,
            taken: 0,
            ended: false,
            full: false,
            frames: 0,
            filled: 0,
            len: 0,
        });
        Ok(())
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        let refused_at = self.plan.body_refused_at;
        let minds_bodies = self.minds_bodies;
        let takes = &mut self.plan.takes;
        let most = if takes.is_empty() {
            usize::MAX
        } else {
            takes.remove(0)
        };
        let turn = self.turn();
        assert!(!octets.is_empty() && !turn.ended && !turn.full);
        for (place, found) in (turn.taken..).zip(octets) {
            assert!(!minds_bodies || *found == octet(place), "another body");
        }
        let taken = octets.len().min(most);
        turn.taken += taken as u64;
        turn.full = taken == 0;
        assert!(turn.taken <= turn.total_size);
        if refused_at.is_some_and(|at| turn.taken > at) {
            return self.refuse(BODY);
        }
        self.mood.set(match taken {
            0 => Mood::Waiting,
            _ => Mood::Ready,
        });
        Ok(taken)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        let turn = self.turn();
        assert!(!turn.ended && turn.taken == turn.total_size);
        turn.ended = true;
        self.mood.set(Mood::Ready);
        if self.plan.end_refused {
            return self.refuse(END);
        }
        Ok(())
    }

    fn reply(&mut self, _: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        let after = self.plan.reply_after;
        let (frames, lens) = (self.turn().frames, self.plan.lens().len());
        assert!(frames < lens, "asked for more than there is");
        let turn = self.turn();
        assert_eq!(turn.filled, turn.len, "the last frame is not whole");
        turn.full = false;
        if !(turn.ended || after.is_some_and(|after| turn.taken >= after)) {
            self.mood.set(Mood::Hungry);
            return Poll::Pending;
        }
        if self.pending() {
            return Poll::Pending;
        }
        if self.plan.reply_refused_at == Some(frames) {
            return Poll::Ready(self.refuse(REPLY));
        }
        let head = self.plan.frame(frames).head;
        let len = self.plan.lens()[frames];
        let turn = self.turn();
        (turn.frames, turn.filled, turn.len) = (frames + 1, 0, len);
        self.gone_on();
        Poll::Ready(Ok(head))
    }

    fn fill(&mut self, _: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        let turn = self.turn();
        turn.full = false;
        assert!(!out.is_empty() && out.len() <= turn.len - turn.filled);
        let (number, filled) = (turn.frames - 1, turn.filled);
        if self.pending() {
            return Poll::Pending;
        }
        let mut most = match self.plan.fills.is_empty() {
            true => usize::MAX,
            false => self.plan.fills.remove(0),
        };
        if let Some((frame, at, error)) = self.plan.fill_fails_at
            && frame == number
        {
            if filled >= at {
                let refused = self.refuse(REPLY);
                return Poll::Ready(if error { refused } else { Ok(0) });
            }
            most = most.min(at - filled);
        }
        let octets = out.len().min(most);
        for (place, out) in (filled as u64..).zip(&mut out[..octets]) {
            *out = octet(place);
        }
        self.turn().filled += octets;
        self.gone_on();
        Poll::Ready(Ok(octets))
    }

    fn cancel(&mut self) {
        assert!(self.turn.take().is_some(), "cancelled outside of a turn");
        self.mood.set(Mood::Idle);
    }
}

impl Route for Script {
    fn serves(&self, op: &str) -> bool {
        op == "script"
    }
}

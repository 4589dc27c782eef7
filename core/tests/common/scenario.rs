//! Random conversations with a connection, and the simple model that they are held against.
//!
//! Everything random is chosen by octets: a property test makes them up, a fuzzer learns them.

use std::cell::Cell;

use unstick_core::services::{Echo, Info, Output, Responder};
use unstick_core::{
    Code, Connection, DecodeError, Fault, HeaderError, HeaderErrorKind, Phase, Refusal, Reply,
    Route, Service, Wants,
};

use super::{BEGIN, BODY, END, Frame, Mood, Plan, REPLY, Script, body, context, frame, frames};

/// What the server gives up with: a connection, and a request.
const ABORT: Code = Code::Deadline;
const CANCEL: Code = Code::Unknown;

/// The longest header a server here takes, and the longest body.
pub const MAX_HEADER: usize = 128;
pub const MAX_BODY: u64 = 100;
/// The most octets of prefix and header in any reply here.
pub const MIN_OUT: usize = 192;

/// Octets that choose.
#[derive(Debug)]
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// A number less than `bound`; 0 when there are no octets left.
    pub fn below(&mut self, bound: usize) -> usize {
        let mut chosen = 0;
        let mut range = 1;
        while range < bound {
            chosen = chosen << 8 | usize::from(self.0.split_off_first().copied().unwrap_or(0));
            range <<= 8;
        }
        chosen % bound
    }

    /// Whether something happens that does so once in `times`; not when there are no octets left.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// A few numbers less than `bound`.
    fn several(&mut self, most: usize, bound: usize) -> Vec<usize> {
        (0..self.below(most + 1))
            .map(|_| self.below(bound))
            .collect()
    }
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub enum Kind {
    Echo,
    Script(Plan),
    Info,
    Shout,
    Unknown,
    Nothing,
    TooLarge,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Sent {
    pub kind: Kind,
    pub total_size: u64,
    pub id: Option<u32>,
}

impl Sent {
    /// All of its octets, but no body that is too large.
    fn octets(&self) -> Vec<u8> {
        let op = match self.kind {
            Kind::Echo | Kind::TooLarge => r#""op":"echo","#,
            Kind::Script(_) => r#""op":"script","#,
            Kind::Info => r#""op":"info","#,
            Kind::Shout => r#""op":"shout","#,
            Kind::Unknown => r#""op":"sing","#,
            Kind::Nothing => "",
        };
        let id = self.id.map_or(String::new(), |id| format!(r#""id":{id},"#));
        let len = match self.kind {
            Kind::TooLarge => 0,
            _ => usize::try_from(self.total_size).unwrap(),
        };
        let header = format!(r#"{{{op}{id}"total_size":{}}}"#, self.total_size);
        frame(&header, &body(len))
    }
}

/// How the stream of requests ends.
#[derive(Debug, Clone)]
pub enum Tail {
    /// Between two frames.
    Clean,
    /// So many octets before the end of the last request.
    Cut(usize),
    /// With a prefix, and octets that make a header of it which cannot be.
    Bad(i32, &'static [u8]),
}

/// A conversation.
#[derive(Debug)]
pub struct Scenario {
    pub requests: Vec<Sent>,
    pub tail: Tail,
    /// The step in which the server gives up the connection.
    pub abort_at: Option<usize>,
    /// The step in which it gives up the request at hand.
    pub cancel_at: Option<usize>,
}

impl Scenario {
    /// The conversation that these octets choose.
    pub fn new(choices: &mut Choices<'_>) -> Self {
        let requests: Vec<_> = (0..choices.below(6)).map(|_| sent(choices)).collect();
        let tail = match choices.below(8) {
            0 if !requests.is_empty() => Tail::Cut(choices.below(200)),
            1 => Tail::Bad([0, -1, i32::MIN][choices.below(3)], b"x"),
            2 => Tail::Bad([129, i32::MAX][choices.below(2)], b"{"),
            3 => Tail::Bad(2, b"{}"),
            4 => Tail::Bad(2, b"[]{"),
            _ => Tail::Clean,
        };
        let abort_at = choices.once_in(8).then(|| choices.below(64));
        let cancel_at = choices.once_in(8).then(|| choices.below(64));
        Self {
            requests,
            tail,
            abort_at,
            cancel_at,
        }
    }

    /// What the client sends.
    fn stream(&self) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut last = 0;
        for request in &self.requests {
            last = stream.len();
            stream.extend(request.octets());
        }
        match self.tail {
            Tail::Clean => {}
            Tail::Cut(missing) => {
                let len = stream.len() - last;
                stream.truncate(last + len - (1 + missing % (len - 1)));
            }
            Tail::Bad(prefix, octets) => {
                stream.extend(prefix.to_le_bytes());
                stream.extend(octets);
            }
        }
        stream
    }

    /// Has the conversation, and holds it against the model. `choices` cut the streams.
    pub fn check(&self, choices: &mut Choices<'_>) {
        let plans = self.requests.iter().filter_map(|request| {
            if let Kind::Script(plan) = &request.kind {
                Some(plan.clone())
            } else {
                None
            }
        });
        let mut script = Script::new(plans);
        script.minds_bodies = true;
        let mood = script.mood.clone();
        let mut connection = connection(script);
        let sent = converse(
            &mut connection,
            &mood,
            &self.stream(),
            choices,
            |step, connection| {
                if self.cancel_at == Some(step) {
                    connection.cancel(Refusal::new(CANCEL, "not this one"));
                }
                if self.abort_at == Some(step) {
                    connection.abort(Refusal::new(ABORT, "no time left"));
                }
            },
        );
        self.hold(&sent, connection.fault());
    }
}

fn sent(choices: &mut Choices<'_>) -> Sent {
    let mut total_size = match choices.below(4) {
        0 => 0,
        1 => choices.below(8),
        _ => choices.below(101),
    } as u64;
    let id = match choices.below(3) {
        0 => None,
        1 => Some(u32::MAX),
        _ => Some(7),
    };
    let kind = match choices.below(16) {
        0..6 => Kind::Script(plan(choices, total_size)),
        6..9 => Kind::Echo,
        9 => Kind::Info,
        10 | 11 => {
            total_size = total_size.min(40);
            Kind::Shout
        }
        12 => Kind::Unknown,
        13 => Kind::Nothing,
        14 => {
            total_size = [MAX_BODY + 1, u64::MAX][choices.below(2)];
            Kind::TooLarge
        }
        _ => {
            total_size = 0;
            Kind::Info
        }
    };
    Sent {
        kind,
        total_size,
        id,
    }
}

/// A plan for a request with a body of this length.
pub fn plan(choices: &mut Choices<'_>, total_size: u64) -> Plan {
    let size = usize::try_from(total_size).unwrap();
    let mut plan = Plan {
        takes: choices.several(6, 12),
        frames: choices.several(4, 40),
        fills: choices.several(8, 12),
        errors: choices.once_in(8),
        ..Plan::default()
    };
    if choices.below(2) == 1 {
        plan.reply_after = Some(choices.below(size + 1) as u64);
    }
    match choices.below(16) {
        0 => plan.begin_refused = true,
        1 => plan.end_refused = true,
        2 if size > 0 => plan.body_refused_at = Some(choices.below(size) as u64),
        3 => plan.reply_refused_at = Some(choices.below(plan.lens().len())),
        4 | 5 => {
            let frame = choices.below(plan.lens().len());
            if plan.lens()[frame] > 0 {
                let octets = choices.below(plan.lens()[frame]);
                plan.fill_fails_at = Some((frame, octets, choices.below(2) == 1));
            }
        }
        _ => {}
    }
    plan
}

/// The longest body that `shout` takes, and the longest that it answers.
const SHOUT_IN: usize = 32;
const SHOUT_OUT: usize = 24;

const INFO: Info = Info {
    name: "model",
    version: "0",
    max_header: MAX_HEADER as u64,
    max_body: MAX_BODY,
    max_datagram: 0,
    ops: &["script", "echo", "info", "shout"],
};
const INFO_TEXT: &[u8] = br#"{"name":"model","version":"0","max_header":128,"max_body":100,"max_datagram":0,"ops":["script","echo","info","shout"]}"#;

/// A server of everything that [`Kind`] asks for.
pub fn connection(script: Script) -> Connection<impl Service, MAX_HEADER> {
    let shout = |body: &[u8], out: &mut Output<'_>| {
        out.write(&body.to_ascii_uppercase());
        Ok(())
    };
    let service = script
        .or(Echo::<16>::new())
        .or(INFO.into_service())
        .or(Responder::<_, SHOUT_IN, SHOUT_OUT>::new("shout", shout));
    Connection::new(service).with_limits(MAX_HEADER, MAX_BODY)
}

/// Has a conversation and returns what the server sends until it closes. `before` is called before each step.
///
/// Along the way it minds that every step gets somewhere, and that the connection ends in good order.
pub fn converse<S: Service, const N: usize>(
    connection: &mut Connection<S, N>,
    mood: &Cell<Mood>,
    stream: &[u8],
    choices: &mut Choices<'_>,
    mut before: impl FnMut(usize, &mut Connection<S, N>),
) -> Vec<Frame> {
    // What has arrived and is not yet received is stream[start..end].
    let (mut start, mut end) = (0, 0);
    let (mut sent, mut out) = (Vec::new(), [0; MIN_OUT + 512]);
    let mut finished = false;
    let mut left = 20_000 + 64 * stream.len();
    for step in 0.. {
        left = left.checked_sub(1).expect("no end is in sight");
        before(step, connection);
        let wants = connection.wants();
        let idle = connection.phase() == Phase::Idle;
        assert!(!idle || matches!(wants, Wants::Input | Wants::Close));
        let by_the_way = choices.once_in(16);
        match wants {
            Wants::Close => break,
            Wants::Input if !by_the_way => {
                assert!(!finished, "there is no more input to want");
                if start == end {
                    // The peer may wait for what the service has to say.
                    assert_ne!(mood.get(), Mood::Ready);
                }
                if start == end && end == stream.len() {
                    connection.finish();
                    finished = true;
                    continue;
                }
                if start == end || choices.below(2) == 0 {
                    let most = [1, 1, 8, 64, 1024][choices.below(5)];
                    end = stream.len().min(end + 1 + choices.below(most));
                }
                let mut input = &stream[start..end];
                connection.receive(&mut input);
                let taken = end - start - input.len();
                assert!(taken > 0 || connection.wants() != Wants::Input);
                start += taken;
            }
            // Nothing is received that is not wanted.
            Wants::Output | Wants::Pending if by_the_way => {
                let mut input = &stream[start..];
                connection.receive(&mut input);
                assert_eq!(input.len(), stream.len() - start);
                assert_eq!(connection.wants(), wants);
                if start == stream.len() && !finished {
                    connection.finish();
                    finished = true;
                }
            }
            Wants::Input | Wants::Output | Wants::Pending => {
                assert!(wants != Wants::Pending || mood.get() == Mood::Waiting);
                let room = MIN_OUT + [0, choices.below(32), 512][choices.below(3)];
                let octets = connection.transmit(&mut context(), &mut out[..room]);
                assert!(octets > 0 || connection.wants() != Wants::Output);
                sent.extend_from_slice(&out[..octets]);
            }
        }
    }
    assert_eq!(mood.get(), Mood::Idle, "neither done nor cancelled");
    let fault = connection.fault();
    let sent = frames(&sent);
    let is_cut = sent.last().is_some_and(|frame| frame.cut);
    assert_eq!(is_cut, !connection.is_between_frames());
    closed_for_good(connection);
    assert_eq!(connection.fault(), fault);
    sent
}

fn closed_for_good<S: Service, const N: usize>(connection: &mut Connection<S, N>) {
    let between_frames = connection.is_between_frames();
    connection.receive(&mut &frame(r#"{"total_size":0}"#, b"")[..]);
    connection.finish();
    connection.abort(Refusal::new(Code::Busy, "once more"));
    assert_eq!(connection.transmit(&mut context(), &mut [0; 512]), 0);
    assert_eq!(connection.wants(), Wants::Close);
    assert_eq!(connection.is_between_frames(), between_frames);
}

/// What a request is to be answered with, if nothing comes between.
struct Expected {
    frames: Vec<Frame>,
    /// The refusals there may be instead of one of the frames, and of those after it.
    refusals: Vec<Code>,
    /// The frame in whose place a refusal comes for certain.
    refused_at: Option<usize>,
    /// The frame that the service cuts.
    cut_at: Option<usize>,
}

impl Expected {
    fn frame(head: Reply, body: Vec<u8>) -> Self {
        let cut = false;
        Self {
            frames: vec![Frame { head, body, cut }],
            refusals: Vec::new(),
            refused_at: None,
            cut_at: None,
        }
    }

    fn refusal(code: Code) -> Self {
        Self {
            frames: Vec::new(),
            refusals: vec![code],
            refused_at: Some(0),
            cut_at: None,
        }
    }

    fn of(request: &Sent) -> Self {
        let len = usize::try_from(request.total_size).unwrap_or_default();
        let mut expected = match &request.kind {
            Kind::TooLarge => Self::refusal(Code::TooLarge),
            Kind::Echo => Self::frame(Reply::new(request.total_size), body(len)),
            Kind::Info if len > 0 => Self::refusal(Code::TooLarge),
            Kind::Info => Self::frame(Reply::new(INFO_TEXT.len() as u64), INFO_TEXT.into()),
            Kind::Shout if len > SHOUT_OUT => Self::refusal(Code::TooLarge),
            Kind::Shout => Self::frame(
                Reply::new(request.total_size),
                body(len).to_ascii_uppercase(),
            ),
            Kind::Unknown | Kind::Nothing => Self::refusal(Code::UnknownOp),
            Kind::Script(plan) => Self::planned(plan),
        };
        for frame in &mut expected.frames {
            frame.head.id = request.id;
        }
        expected
    }

    fn planned(plan: &Plan) -> Self {
        let refusals = [
            (plan.begin_refused, BEGIN),
            (plan.body_refused_at.is_some(), BODY),
            (plan.end_refused, END),
            (plan.reply_refused_at.is_some(), REPLY),
        ];
        let before_a_late_reply = plan.body_refused_at.is_some() || plan.end_refused;
        Self {
            frames: (0..plan.lens().len())
                .map(|number| plan.frame(number))
                .collect(),
            refusals: refusals
                .into_iter()
                .filter_map(|(planned, code)| planned.then_some(code))
                .collect(),
            refused_at: if plan.begin_refused || before_a_late_reply && plan.reply_after.is_none() {
                Some(0)
            } else {
                plan.reply_refused_at
            },
            cut_at: plan.fill_fails_at.map(|(frame, ..)| frame),
        }
    }
}

/// How the server's side of a conversation goes on, or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Next,
    /// With nothing, where something should be.
    Silence,
    /// With an error frame of this code.
    Error(Code),
    /// Inside a frame; because of the service, if this is true.
    Cut(bool),
}

impl Scenario {
    /// Holds what the server has sent, and why it closed, against the requests.
    fn hold(&self, mut replies: &[Frame], fault: Option<Fault>) {
        let mut requests = self.requests.iter();
        let mut then = Then::Next;
        for request in &mut requests {
            then = self.reply(request, &mut replies);
            if then != Then::Next {
                break;
            }
        }
        let at_the_last = requests.len() == 0;
        let tail = match self.tail {
            Tail::Clean => None,
            Tail::Cut(_) => Some(DecodeError::Truncated),
            Tail::Bad(prefix @ ..=0, _) => Some(DecodeError::PrefixNotPositive(prefix)),
            Tail::Bad(prefix @ 129.., _) => {
                Some(DecodeError::HeaderTooLong(prefix.cast_unsigned()))
            }
            Tail::Bad(_, b"{}") => Some(header_error(HeaderErrorKind::Key, 2)),
            Tail::Bad(..) => Some(header_error(HeaderErrorKind::NotAnObject, 0)),
        };
        if then == Then::Next
            && let Some(last) = replies.split_off_first()
        {
            assert_eq!(last.head.id, None);
            then = Then::Error(last.head.error.expect("a reply to nothing"));
        }
        assert_eq!(replies, [], "sent after the end");

        match (fault, then) {
            (None, Then::Next) => assert_eq!(tail, None),
            (Some(Fault::Aborted(code)), then) => {
                assert!(self.abort_at.is_some());
                assert!(
                    matches!(then, Then::Next | Then::Silence | Then::Cut(_))
                        || then == Then::Error(code)
                );
            }
            (Some(Fault::Peer(DecodeError::Truncated)), then) => {
                assert!(at_the_last && tail == Some(DecodeError::Truncated));
                // A request may be answered before it is cut.
                assert!(matches!(
                    then,
                    Then::Next | Then::Cut(_) | Then::Error(Code::BadHeader)
                ));
            }
            (Some(Fault::Peer(error)), Then::Error(code)) => {
                assert!(at_the_last && tail == Some(error));
                let too_long = matches!(error, DecodeError::HeaderTooLong(_));
                assert_eq!(code == Code::TooLarge, too_long);
                assert_eq!(code == Code::BadHeader, !too_long);
            }
            (Some(Fault::BodyTooLarge(len)), Then::Error(Code::TooLarge)) => {
                assert!(len > MAX_BODY);
            }
            (Some(Fault::ReplyCut), Then::Cut(by_service)) => assert!(by_service),
            (fault, then) => panic!("{fault:?}, but {then:?}"),
        }
    }

    /// Holds the start of `replies` against one request.
    fn reply(&self, request: &Sent, replies: &mut &[Frame]) -> Then {
        let expected = Expected::of(request);
        for number in 0.. {
            let planned = expected.frames.get(number);
            if planned.is_none() && expected.refused_at != Some(number) {
                break;
            }
            let Some(frame) = replies.split_off_first() else {
                return Then::Silence;
            };
            let head = &frame.head;
            let as_planned = planned.is_some_and(|planned| planned.head == *head);
            if as_planned && expected.refused_at != Some(number) {
                let body = &planned.unwrap().body;
                if frame.cut {
                    assert!(body.starts_with(&frame.body) && body.len() > frame.body.len());
                    let refused = expected
                        .refusals
                        .iter()
                        .any(|code| [BODY, END].contains(code));
                    let by_service = refused || expected.cut_at == Some(number);
                    return Then::Cut(by_service || self.cancel_at.is_some());
                }
                assert_eq!(frame.body, *body);
                assert_ne!(expected.cut_at, Some(number), "the frame should be cut");
                continue;
            }
            let code = head.error.expect("another frame was planned");
            assert!(!frame.cut && frame.body.is_empty() && !head.more && head.message.is_some());
            if expected.refusals.contains(&code) {
                assert_eq!(head.id, request.id);
                if expected.refused_at.is_some() {
                    assert_eq!(expected.refused_at, Some(number), "refused too early");
                }
                return match request.kind {
                    Kind::TooLarge => Then::Error(code),
                    _ => Then::Next,
                };
            }
            if code == CANCEL {
                assert!(self.cancel_at.is_some() && head.id == request.id);
                return Then::Next;
            }
            // Not this request's doing; that is, if it had arrived at all.
            assert!(head.id == request.id || head.id.is_none());
            return Then::Error(code);
        }
        Then::Next
    }
}

fn header_error(kind: HeaderErrorKind, offset: u32) -> DecodeError {
    DecodeError::Header(HeaderError { offset, kind })
}

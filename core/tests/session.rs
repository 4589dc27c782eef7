//! The session: a connection with its buffers, and with deadlines by a clock that the tests set.

mod common;

use std::time::Duration;

use common::{Frame, Mood, Plan, Script, body, context, frame, frames};
use proptest::prelude::*;
use unstick_core::services::Echo;
use unstick_core::{Code, Connection, Fault, Needs, Phase, Refusal, Service, Session, Timeouts};

const TIMEOUTS: Timeouts = Timeouts {
    header: Duration::from_secs(10),
    idle: Duration::from_secs(60),
};

type Scripted = Session<Script, 256, [u8; 4096], [u8; 512]>;

/// A session that is asked at the time that the test says.
struct Clocked {
    session: Scripted,
    now: Duration,
}

impl Clocked {
    fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        let connection = Connection::new(Script::new(plans));
        let now = Duration::from_secs(1000);
        Self {
            session: Session::new(connection, [0; 4096], [0; 512], now),
            now,
        }
    }

    fn advance(&mut self) -> Needs {
        self.session.advance(&mut context(), self.now)
    }

    fn receive(&mut self, octets: &[u8]) {
        self.session.room()[..octets.len()].copy_from_slice(octets);
        self.session.received(octets.len(), self.now);
    }

    /// Lets time pass; when the next deadline is, from now.
    fn after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn deadline_in(&self, needs: Needs) -> Option<u64> {
        let deadline = self.session.deadline(&TIMEOUTS, needs)?;
        Some((deadline - self.now).as_secs())
    }

    fn keep_deadlines(&mut self, needs: Needs) -> bool {
        self.session.keep_deadlines(&TIMEOUTS, needs, self.now)
    }

    /// Takes all that is sent until something else is needed.
    fn take(&mut self) -> (Vec<Frame>, Needs) {
        let mut sent = Vec::new();
        loop {
            match self.advance() {
                Needs::Write => {
                    let octets = self.session.unsent().to_vec();
                    assert!(!octets.is_empty());
                    self.session.sent(octets.len(), self.now);
                    sent.extend(octets);
                }
                needs => return (frames(&sent), needs),
            }
        }
    }
}

#[test]
fn a_header_has_its_own_deadline_and_ends_the_connection() {
    let mut clocked = Clocked::new([]);
    assert_eq!(clocked.advance(), Needs::Read);
    assert_eq!(clocked.deadline_in(Needs::Read), Some(60));
    clocked.after(30);
    clocked.receive(b"\x10");
    assert_eq!(clocked.advance(), Needs::Read);
    assert_eq!(clocked.deadline_in(Needs::Read), Some(10));
    // One more octet is no new header.
    clocked.after(9);
    clocked.receive(b"\0");
    assert_eq!(clocked.advance(), Needs::Read);
    assert!(!clocked.keep_deadlines(Needs::Read));
    clocked.after(1);
    assert!(clocked.keep_deadlines(Needs::Read));
    let (sent, needs) = clocked.take();
    assert_eq!(sent[0].head.error, Some(Code::Deadline));
    assert_eq!(needs, Needs::Close);
    assert_eq!(
        clocked.session.connection().fault(),
        Some(Fault::Aborted(Code::Deadline))
    );
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    let mut clocked = Clocked::new([]);
    clocked.receive(&frame(r#"{"total_size":0}"#, b""));
    assert_eq!(clocked.take().1, Needs::Read);
    clocked.after(60);
    assert!(clocked.keep_deadlines(Needs::Read));
    assert_eq!(clocked.take(), (vec![], Needs::Close));
    assert_eq!(clocked.session.connection().fault(), None);
    assert!(!clocked.session.has_ended());
}

#[test]
fn a_body_has_to_move_by_a_kilobyte() {
    let mut clocked = Clocked::new([]);
    clocked.receive(&frame(r#"{"total_size":1000000}"#, b""));
    assert_eq!(clocked.advance(), Needs::Read);
    clocked.after(59);
    clocked.receive(&body(1023));
    assert_eq!(clocked.advance(), Needs::Read);
    assert_eq!(clocked.deadline_in(Needs::Read), Some(1));
    clocked.receive(&body(1));
    assert_eq!(clocked.deadline_in(Needs::Read), Some(60));
    assert_eq!(clocked.advance(), Needs::Read);
    clocked.after(60);
    assert!(clocked.keep_deadlines(Needs::Read));
    let (sent, needs) = clocked.take();
    assert_eq!(sent[0].head.error, Some(Code::Deadline));
    assert_eq!(needs, Needs::Close);
}

#[test]
fn a_request_over_its_time_ends_alone() {
    let mut clocked = Clocked::new([Plan {
        fills: vec![0; 10],
        ..Plan::default()
    }]);
    clocked.receive(&frame(r#"{"total_size":0,"id":4,"timeout_ms":5000}"#, b""));
    assert_eq!(clocked.advance(), Needs::Service);
    assert_eq!(clocked.deadline_in(Needs::Service), Some(5));
    clocked.after(5);
    assert!(clocked.keep_deadlines(Needs::Service));
    let (sent, needs) = clocked.take();
    assert_eq!(sent[0].head.error, Some(Code::Deadline));
    assert_eq!(sent[0].head.id, Some(4));
    assert_eq!(needs, Needs::Read);
    assert_eq!(clocked.session.connection().phase(), Phase::Idle);
    assert_eq!(clocked.deadline_in(Needs::Read), Some(60));
}

#[test]
fn the_time_of_the_service_is_not_the_peers() {
    let mut clocked = Clocked::new([Plan {
        fills: vec![0; 3],
        ..Plan::default()
    }]);
    clocked.receive(&frame(r#"{"total_size":0}"#, b""));
    assert_eq!(clocked.advance(), Needs::Service);
    assert_eq!(clocked.deadline_in(Needs::Service), None);
    clocked.after(1_000_000);
    assert!(!clocked.keep_deadlines(Needs::Service));
    // Each time it is asked once.
    assert_eq!(clocked.advance(), Needs::Service);
    assert_eq!(clocked.advance(), Needs::Service);
    let (sent, needs) = clocked.take();
    assert_eq!((sent.len(), needs), (1, Needs::Read));
}

#[test]
fn the_time_of_the_service_is_not_the_peers_afterwards_either() {
    let mut clocked = Clocked::new([Plan {
        frames: vec![1, 1, 1],
        fills: vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 1],
        ..Plan::default()
    }]);
    clocked.receive(&frame(r#"{"total_size":0}"#, b""));
    for _ in 0..3 {
        assert_eq!(clocked.take().1, Needs::Service);
        clocked.after(TIMEOUTS.idle.as_secs());
        assert_eq!(clocked.advance(), Needs::Write);
        assert_eq!(
            clocked.deadline_in(Needs::Write),
            Some(TIMEOUTS.idle.as_secs())
        );
        assert!(!clocked.keep_deadlines(Needs::Write));
    }
    assert_eq!(clocked.take().1, Needs::Read);
}

#[test]
fn a_service_is_asked_again_while_the_body_is_waited_for() {
    let mut clocked = Clocked::new([Plan {
        reply_after: Some(0),
        fills: vec![0; 2],
        ..Plan::default()
    }]);
    clocked.receive(&frame(r#"{"total_size":5}"#, b"")[..]);
    assert_eq!(clocked.advance(), Needs::Read);
    assert!(clocked.session.connection().is_stalled());
    assert_eq!(clocked.advance(), Needs::Read);
    assert_eq!(clocked.advance(), Needs::Write);
    assert!(!clocked.session.connection().is_stalled());
}

#[test]
fn the_time_of_a_request_does_not_run_while_its_body_passes_by() {
    let mut clocked = Clocked::new([Plan {
        begin_refused: true,
        ..Plan::default()
    }]);
    clocked.receive(&frame(r#"{"total_size":5,"timeout_ms":1000}"#, b""));
    assert_eq!(clocked.take().1, Needs::Read);
    clocked.after(1);
    assert!(!clocked.keep_deadlines(Needs::Read));
    assert_eq!(
        clocked.deadline_in(Needs::Read),
        Some(TIMEOUTS.idle.as_secs() - 1)
    );
    clocked.after(TIMEOUTS.idle.as_secs());
    assert!(clocked.keep_deadlines(Needs::Read));
    assert_eq!(clocked.take().1, Needs::Close);
}

#[test]
fn a_deadline_beyond_all_clocks_is_none() {
    let mut clocked = Clocked::new([Plan {
        fills: vec![0],
        ..Plan::default()
    }]);
    let forever = Timeouts {
        header: Duration::MAX,
        idle: Duration::MAX,
    };
    let never = |clocked: &Clocked, needs| clocked.session.deadline(&forever, needs).is_none();
    assert!(never(&clocked, Needs::Read));
    let header = format!("{{\"total_size\":0,\"timeout_ms\":{}}}", u64::MAX);
    let request = frame(&header, b"");
    clocked.receive(&request[..1]);
    assert_eq!(clocked.advance(), Needs::Read);
    assert!(never(&clocked, Needs::Read));
    clocked.receive(&request[1..]);
    assert_eq!(clocked.advance(), Needs::Service);
    // The longest `timeout_ms` is no more than far away.
    let far = clocked.now + Duration::from_millis(u64::MAX);
    assert_eq!(
        clocked.session.deadline(&forever, Needs::Service),
        Some(far)
    );
}

#[test]
fn the_end_of_the_stream_is_a_read_of_nothing() {
    let mut clocked = Clocked::new([]);
    clocked.receive(&frame(r#"{"total_size":0}"#, b""));
    assert_eq!(clocked.take().1, Needs::Read);
    clocked.receive(b"");
    assert!(clocked.session.has_ended());
    assert_eq!(clocked.take(), (vec![], Needs::Close));
}

#[test]
fn the_connection_can_be_given_up() {
    let mut clocked = Clocked::new([]);
    let refusal = Refusal::busy("later", 5);
    clocked.session.connection_mut().abort(refusal);
    let (sent, needs) = clocked.take();
    assert_eq!(
        (sent[0].head.error, needs),
        (Some(Code::Busy), Needs::Close)
    );
}

#[test]
fn small_replies_share_a_write() {
    let mut clocked = Clocked::new([]);
    let request = frame(r#"{"total_size":0}"#, b"");
    clocked.receive(&request.repeat(10));
    assert_eq!(clocked.advance(), Needs::Write);
    assert_eq!(frames(clocked.session.unsent()).len(), 10);
}

#[test]
fn a_header_waits_for_room_behind_other_replies() {
    let mut clocked = Clocked::new([]);
    let request = frame(r#"{"total_size":0}"#, b"");
    for count in [40, 41, 42, 43] {
        clocked.receive(&request.repeat(count));
        let (sent, needs) = clocked.take();
        assert_eq!((sent.len(), needs), (count, Needs::Read));
    }
    assert_eq!(clocked.session.connection().fault(), None);
}

proptest! {
    #![proptest_config(common::config(256))]

    /// However little is read and written at a time, what is echoed comes back.
    #[test]
    fn octets_pass_through_any_buffers(
        bodies in prop::collection::vec(0_usize..300, 1..8),
        pieces in prop::collection::vec(1_usize..100, 1..20),
        room in 1_usize..80,
    ) {
        let stream: Vec<u8> = bodies
            .iter()
            .flat_map(|len| frame(&format!("{{\"total_size\":{len}}}"), &body(*len)))
            .collect();
        let connection = Connection::<_, 64>::new(Echo::<16>::new());
        let mut session = Session::new(connection, vec![0; room], vec![0; 40 + room], Duration::ZERO);
        let (mut unread, mut sent) = (&stream[..], Vec::new());
        let mut pieces = pieces.iter().cycle();
        loop {
            let piece = *pieces.next().unwrap();
            match session.advance(&mut context(), Duration::ZERO) {
                Needs::Read => {
                    let (piece, rest) = unread.split_at(piece.min(unread.len()).min(room));
                    session.room()[..piece.len()].copy_from_slice(piece);
                    session.received(piece.len(), Duration::ZERO);
                    unread = rest;
                }
                Needs::Write => {
                    let octets = piece.min(session.unsent().len());
                    sent.extend_from_slice(&session.unsent()[..octets]);
                    session.sent(octets, Duration::ZERO);
                }
                Needs::Service => panic!("an echo never waits"),
                Needs::Close => break,
            }
        }
        let echoed: Vec<_> = frames(&sent).into_iter().map(|frame| frame.body).collect();
        let asked: Vec<_> = bodies.iter().map(|len| body(*len)).collect();
        prop_assert_eq!(echoed, asked);
    }
}

/// What a session with these octets to read sends until it needs something else, and what that is.
fn converse<S: Service>(
    session: &mut Session<S, 64, [u8; 32], [u8; 128]>,
    mut stream: &[u8],
    now: Duration,
) -> (Vec<u8>, Needs) {
    let mut sent = Vec::new();
    loop {
        match session.advance(&mut context(), now) {
            Needs::Read if !stream.is_empty() => {
                let room = session.room();
                let len = room.len().min(stream.len());
                room[..len].copy_from_slice(&stream[..len]);
                stream = &stream[len..];
                session.received(len, now);
            }
            Needs::Write => {
                let octets = session.unsent().to_vec();
                session.sent(octets.len(), now);
                sent.extend(octets);
            }
            needs => return (sent, needs),
        }
    }
}

proptest! {
    #![proptest_config(common::config(300))]

    #[test]
    fn a_session_that_was_restarted_is_as_good_as_new(
        bodies in proptest::collection::vec(0..200_usize, 1..4),
        garbage in proptest::collection::vec(any::<u8>(), 0..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let request = |len: &usize| frame(&format!(r#"{{"op":"echo","id":7,"total_size":{len}}}"#), &body(*len));
        let mut stream = bodies.iter().flat_map(request).collect::<Vec<u8>>();
        stream.extend(garbage);
        let new = || {
            let connection = Connection::new(Some(Echo::<16>::new())).with_limits(60, 150);
            Session::<_, 64, _, _>::new(connection, [0; 32], [0; 128], Duration::ZERO)
        };
        let expected = converse(&mut new(), &stream, Duration::ZERO);

        let mut session = new();
        converse(&mut session, &stream[..cut.index(stream.len())], Duration::ZERO);
        session.received(0, Duration::ZERO);
        session.advance(&mut context(), Duration::ZERO);
        let now = Duration::from_secs(5);
        session.restart(Some(Echo::new()), now);
        prop_assert!(!session.has_ended() && session.connection().fault().is_none());
        prop_assert_eq!(session.connection().requests(), 0);
        prop_assert_eq!(session.deadline(&TIMEOUTS, Needs::Read), Some(now + TIMEOUTS.idle));
        prop_assert_eq!(converse(&mut session, &stream, now), expected);
    }
}

#[test]
fn a_place_without_a_service_refuses() {
    let connection = Connection::new(None::<Echo<16>>);
    let mut session = Session::new(connection, [0; 32], [0; 128], Duration::ZERO);
    let request = frame(r#"{"op":"echo","total_size":1}"#, b"x");
    let (sent, needs) = converse(&mut session, &request, Duration::ZERO);
    assert_eq!(frames(&sent)[0].head.error, Some(Code::Internal));
    assert_eq!(needs, Needs::Read);

    // A connection asks no more of it; whoever does gets nothing.
    let mut nobody = None::<Echo<16>>;
    assert_eq!(nobody.body(b"x"), Ok(0));
    assert_eq!(nobody.end(), Ok(()));
    assert!(nobody.reply(&mut context()).is_pending());
    assert!(nobody.fill(&mut context(), &mut [0]).is_pending());
    nobody.cancel();
}

#[test]
fn what_is_given_up_is_given_up_in_its_place() {
    let plan = Plan {
        fills: vec![0; 9],
        ..Plan::default()
    };
    let script = Script::new([plan]);
    let mood = script.mood.clone();
    let connection = Connection::new(Some(script));
    let mut session = Session::<_, 64, _, _>::new(connection, [0; 32], [0; 128], Duration::ZERO);
    converse(
        &mut session,
        &frame(r#"{"total_size":0}"#, b""),
        Duration::ZERO,
    );
    assert_eq!(mood.get(), Mood::Waiting);
    let refusal = Refusal::new(Code::Deadline, "it took too long");
    session.connection_mut().abort(refusal);
    assert_eq!(mood.get(), Mood::Idle);
}

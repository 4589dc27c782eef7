//! The state machines drawn in ARCHITECTURE.md are those of the code: they are explored through what a caller can
//! do, and drawn anew. `UPDATE=1 cargo test -p unstick-core --test state_machine` writes the drawing.

mod common;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};

use common::{context, frame};
use unstick_core::{Code, Connection, Decoder, Event, Phase, Refusal, Reply, Request, Service};

/// Where the drawing is, between these lines.
const PAGE: &str = "../ARCHITECTURE.md";
const BEGIN: &str = "<!-- state machine -->";
const END: &str = "<!-- /state machine -->";

/// The name in `debug` behind `field: `, as `Debug` writes it: states are private, but no secret.
fn field<'a>(debug: &'a str, field: &str) -> &'a str {
    let (_, value) = debug.split_once(&format!("{field}: ")).unwrap();
    value.split([',', ' ', '(', '}']).next().unwrap()
}

// ---------------------------------------------------------------------------------------------------------------
// Drawing.

/// The steps of a state machine: what leads from one state to another.
#[derive(Default)]
struct Drawing(BTreeMap<(String, String), BTreeSet<String>>);

impl Drawing {
    fn step(&mut self, from: &str, to: &str, label: &str) {
        let labels = self.0.entry((from.into(), to.into())).or_default();
        labels.insert(label.into());
    }

    /// As Mermaid, which GitHub shows as a picture. `order` is that of the states.
    fn draw(&self, order: &[&str]) -> String {
        let place = |name: &String| order.iter().position(|known| known == name);
        let mut steps: Vec<_> = self.0.iter().collect();
        steps.sort_by_key(|((from, to), _)| (place(from).unwrap(), place(to).unwrap()));
        let mut text = format!("```mermaid\nstateDiagram-v2\n    [*] --> {}\n", order[0]);
        for ((from, to), labels) in steps {
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            text += &format!("    {from} --> {to} : {}\n", labels.join("<br>"));
        }
        text + "```\n"
    }
}

// ---------------------------------------------------------------------------------------------------------------
// The decoder.

/// Every way of giving the decoder one more piece of a stream.
const PIECES: [&[u8]; 7] = [
    b"",
    b"\x10\0",
    b"\x10\0\0\0",
    b"\0\0\0\0",
    b"{\"total_size\":2}",
    b"not a header....",
    b"a",
];

fn decoder() -> Drawing {
    let mut drawing = Drawing::default();
    let mut seen = BTreeSet::new();
    let mut paths = VecDeque::from([Vec::<&[u8]>::new()]);
    while let Some(path) = paths.pop_front() {
        for piece in PIECES {
            let mut decoder = Decoder::<Request, 16>::new();
            for piece in &path {
                let _: Result<_, _> = decoder.decode(&mut &**piece);
            }
            let before = format!("{decoder:?}");
            let event = match decoder.decode(&mut &*piece) {
                Ok(None) => "",
                Ok(Some(Event::Header(_))) => "Header",
                Ok(Some(Event::Body(_))) => "Body",
                Ok(Some(Event::End)) => "End",
                Err(_) => "an error",
            };
            let after = format!("{decoder:?}");
            let (from, to) = (field(&before, "state"), field(&after, "state"));
            if !event.is_empty() || from != to {
                let label = if event.is_empty() { "prefix" } else { event };
                drawing.step(from, to, label);
            }
            if seen.insert(after) {
                paths.push_back([path.as_slice(), &[piece]].concat());
            }
        }
    }
    drawing
}

// ---------------------------------------------------------------------------------------------------------------
// The connection.

/// What the service says to the next call of each of its methods. Then it says yes, or "not now".
#[derive(Default, Clone, Copy)]
struct Answers {
    begin_refused: bool,
    body_refused: bool,
    end_refused: bool,
    /// A frame with a body of this length, and whether another follows; or a refusal.
    reply: Option<Result<(u64, bool), ()>>,
    /// So many octets, or a refusal.
    fill: Option<Result<usize, ()>>,
}

/// A service that says what it is told.
#[derive(Clone, Default)]
struct Puppet(Rc<RefCell<Answers>>);

impl fmt::Debug for Puppet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Puppet")
    }
}

fn refused() -> Refusal {
    Refusal::new(Code::Denied, "")
}

fn unless(refuse: bool) -> Result<(), Refusal> {
    if refuse { Err(refused()) } else { Ok(()) }
}

impl Service for Puppet {
    fn begin(&mut self, _: &Request) -> Result<(), Refusal> {
        unless(self.0.borrow().begin_refused)
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        unless(self.0.borrow().body_refused)?;
        Ok(octets.len())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        unless(self.0.borrow().end_refused)
    }

    fn reply(&mut self, _: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        match self.0.borrow_mut().reply.take() {
            None => Poll::Pending,
            Some(Ok((total_size, more))) => {
                let mut head = Reply::new(total_size);
                head.more = more;
                Poll::Ready(Ok(head))
            }
            Some(Err(())) => Poll::Ready(Err(refused())),
        }
    }

    fn fill(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        match self.0.borrow_mut().fill.take() {
            None => Poll::Pending,
            Some(Ok(octets)) => Poll::Ready(Ok(octets)),
            Some(Err(())) => Poll::Ready(Err(refused())),
        }
    }
}

/// One thing that a caller does, with what the service says to it.
#[derive(Clone)]
struct Act {
    label: &'static str,
    does: Does,
    answers: Answers,
}

#[derive(Clone)]
enum Does {
    /// Octets that arrive between two frames.
    Frame(Vec<u8>),
    /// An octet of a body of which so many are missing, where the request's side has this name.
    Body(u64, &'static str),
    /// Into so much room, where the reply's side has this in its name.
    Transmit(usize, &'static str),
    /// Where the decoder is in this state.
    Finish(&'static str),
    Abort,
    Cancel,
}

fn acts() -> Vec<Act> {
    let none = Answers::default();
    let begin_refused = Answers {
        begin_refused: true,
        ..none
    };
    let body_refused = Answers {
        body_refused: true,
        ..none
    };
    let end_refused = Answers {
        end_refused: true,
        ..none
    };
    let reply = |reply| Answers {
        reply: Some(reply),
        ..none
    };
    let fill = |fill| Answers {
        fill: Some(fill),
        ..none
    };
    let request =
        |total_size: u64| Does::Frame(frame(&format!("{{\"total_size\":{total_size}}}"), b""));
    let acts = [
        ("header", request(2), none),
        ("header of no body", request(0), none),
        ("header refused", request(2), begin_refused),
        ("header of no body, refused", request(0), begin_refused),
        ("header of no body, refused", request(0), end_refused),
        ("body over the limit", request(3), none),
        ("not a frame", Does::Frame(vec![0; 4]), none),
        ("", Does::Frame(vec![1]), none),
        ("", Does::Body(2, "Body"), none),
        ("", Does::Body(2, "Drain"), none),
        ("body refused", Does::Body(2, "Body"), body_refused),
        ("last of the body", Does::Body(1, "Body"), none),
        ("last of the body", Does::Body(1, "Drain"), none),
        ("body refused", Does::Body(1, "Body"), body_refused),
        ("end refused", Does::Body(1, "Body"), end_refused),
        ("", Does::Transmit(512, "Ask"), none),
        ("", Does::Transmit(512, "Body"), none),
        (
            "frame begun",
            Does::Transmit(512, "Ask"),
            reply(Ok((2, false))),
        ),
        (
            "frame begun",
            Does::Transmit(512, "Ask"),
            reply(Ok((2, true))),
        ),
        (
            "frame sent",
            Does::Transmit(512, "Ask"),
            reply(Ok((0, true))),
        ),
        (
            "last frame sent",
            Does::Transmit(512, "Ask"),
            reply(Ok((0, false))),
        ),
        ("reply refused", Does::Transmit(512, "Ask"), reply(Err(()))),
        ("no room", Does::Transmit(1, "Ask"), reply(Ok((0, false)))),
        ("", Does::Transmit(1, "left: 2"), fill(Ok(1))),
        ("broken off", Does::Transmit(512, "Body"), fill(Err(()))),
        ("broken off", Does::Transmit(512, "Body"), fill(Ok(0))),
        ("frame sent", Does::Transmit(512, "more: true"), fill(Ok(2))),
        (
            "last frame sent",
            Does::Transmit(512, "more: false"),
            fill(Ok(2)),
        ),
        ("refusal sent", Does::Transmit(512, "Refusal"), none),
        ("no room", Does::Transmit(1, "Refusal"), none),
        ("end of stream", Does::Finish("Prefix"), none),
        ("end inside a frame", Does::Finish("Header"), none),
        ("end inside a frame", Does::Finish("Body"), none),
        ("abort", Does::Abort, none),
        ("cancel", Does::Cancel, none),
    ];
    acts.map(|(label, does, answers)| Act {
        label,
        does,
        answers,
    })
    .into()
}

type Stage = Connection<Puppet, 32>;

/// What has become of a connection after these acts.
fn play(path: &[Act]) -> Stage {
    let puppet = Puppet::default();
    let mut connection = Stage::new(puppet.clone()).with_limits(32, 2);
    for Act { does, answers, .. } in path {
        puppet.0.replace(*answers);
        match does {
            Does::Frame(octets) => connection.receive(&mut &**octets),
            Does::Body(..) => connection.receive(&mut &b"a"[..]),
            Does::Transmit(room, _) => {
                connection.transmit(&mut context(), &mut vec![0; *room]);
            }
            Does::Finish(_) => connection.finish(),
            Does::Abort => connection.abort(refused()),
            Does::Cancel => connection.cancel(refused()),
        }
    }
    connection
}

/// A connection's whole state but for its counters; what the drawings show of it first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    request: String,
    reply: String,
    decoder: String,
    body_left: u64,
    output: String,
    flags: [bool; 3],
}

impl State {
    fn of(connection: &Stage) -> Self {
        let debug = format!("{connection:?}");
        let is = |flag| field(&debug, flag) == "true";
        let output = &debug[debug.find(" output: ").unwrap()..];
        let (decoder, body_left) = match field(&debug, "state") {
            // How much of either has arrived makes no difference to the connection.
            "Prefix" if connection.phase() == Phase::Header => ("Header", 0),
            "Body" => ("Body", field(&debug, "left").parse().unwrap()),
            other => (other, 0),
        };
        Self {
            request: field(&debug, " input").into(),
            reply: match field(output, " output") {
                // A header that waits for room is one that the service was just asked for.
                "Head" => "Ask".into(),
                other => other.into(),
            },
            decoder: decoder.into(),
            body_left,
            output: output.split(" id: ").next().unwrap().into(),
            flags: [is("stalled"), is("full"), is("closing")],
        }
    }

    /// Whether this act can be tried here.
    fn admits(&self, does: &Does) -> bool {
        match does {
            Does::Frame(_) => self.decoder == "Prefix",
            Does::Body(left, input) => self.body_left == *left && self.request == *input,
            Does::Finish(decoder) => self.decoder == *decoder,
            Does::Transmit(_, output) => self.output.contains(output),
            _ => true,
        }
    }
}

/// All there is to a connection: its states, and the steps between them.
fn explore() -> Vec<(State, State, Act)> {
    let start = State::of(&play(&[]));
    let mut seen = BTreeSet::from([start.clone()]);
    let mut paths = VecDeque::from([(start, Vec::new())]);
    let mut steps = Vec::new();
    while let Some((from, path)) = paths.pop_front() {
        for act in acts() {
            if !from.admits(&act.does) {
                continue;
            }
            let mut path = path.clone();
            path.push(act.clone());
            let to = State::of(&play(&path));
            steps.push((from.clone(), to.clone(), act));
            if seen.insert(to.clone()) {
                paths.push_back((to, path));
            }
        }
    }
    steps
}

/// One side of the connection. Where an act may lead to more than one state, the label says when.
fn side(
    steps: &[(State, State, Act)],
    this: fn(&State) -> &String,
    condition: fn(&State) -> String,
) -> Drawing {
    let changes = || steps.iter().filter(|(from, to, _)| this(from) != this(to));
    let mut targets = BTreeMap::<_, BTreeSet<_>>::new();
    for (from, to, act) in changes() {
        targets
            .entry((this(from), act.label))
            .or_default()
            .insert(this(to));
    }
    let mut drawing = Drawing::default();
    for (from, to, act) in changes() {
        assert_ne!(act.label, "", "{from:?} to {to:?}");
        let label = match targets[&(this(from), act.label)].len() {
            1 => act.label.into(),
            _ => format!("{} ({})", act.label, condition(from)),
        };
        drawing.step(this(from), this(to), &label);
    }
    drawing
}

#[test]
#[cfg_attr(miri, ignore = "it reads and writes a file, and takes long")]
fn the_drawing_is_that_of_the_code() {
    let steps = explore();
    let request = side(&steps, |state| &state.request, |state| state.reply.clone());
    let reply = side(
        &steps,
        |state| &state.reply,
        |state| {
            if state.flags[2] {
                "closing".into()
            } else {
                state.request.clone()
            }
        },
    );
    let drawing = format!(
        "The decoder:\n\n{}\nThe connection, the request's side:\n\n{}\nThe connection, the reply's side:\n\n{}",
        decoder().draw(&["Prefix", "Header", "Body", "Failed"]),
        request.draw(&["Await", "Body", "Drain", "Whole"]),
        reply.draw(&["Await", "Ask", "Body", "Refusal", "Whole", "Closed", "Cut"]),
    );

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has a place for the drawing");
    let (_, after) = rest.split_once(END).expect("the place has an end");
    let drawn = format!("{before}{BEGIN}\n\n{drawing}\n{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    assert!(
        page == drawn || std::env::var_os("UPDATE").is_some(),
        "the drawing is another:\n{drawing}"
    );
}

/// From every state there is a way out, and what is wanted is what leads there.
#[test]
#[cfg_attr(miri, ignore = "it takes long")]
fn every_state_can_be_left() {
    for (from, to, act) in explore() {
        let is_closed = |state: &State| ["Closed", "Cut"].contains(&state.reply.as_str());
        if is_closed(&from) {
            assert!(is_closed(&to), "{from:?} to {to:?} by {}", act.label);
        }
        if matches!(act.does, Does::Abort) {
            assert!(is_closed(&to) || to.reply == "Refusal");
        }
    }
    let mut wants = BTreeMap::<_, BTreeSet<_>>::new();
    let mut paths = VecDeque::from([Vec::new()]);
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        let connection = play(&path);
        let state = State::of(&connection);
        if !seen.insert(state.clone()) {
            continue;
        }
        wants
            .entry(state.reply.clone())
            .or_default()
            .insert(format!("{:?}", connection.wants()));
        for act in acts() {
            if state.admits(&act.does) {
                paths.push_back([path.as_slice(), &[act]].concat());
            }
        }
    }
    let wants = |reply: &str| wants[reply].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(wants("Await"), ["Input"]);
    assert_eq!(wants("Ask"), ["Input", "Output", "Pending"]);
    assert_eq!(wants("Body"), ["Input", "Output", "Pending"]);
    assert_eq!(wants("Refusal"), ["Output"]);
    assert_eq!(wants("Whole"), ["Input"]);
    assert_eq!(wants("Closed"), ["Close"]);
    assert_eq!(wants("Cut"), ["Close"]);
}

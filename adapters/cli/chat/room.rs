//! The chat itself: one thread that waits for peers, for what is typed and for a signal.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use unstick_std::{Shutdown, WakePipe};

use super::event::{Event, Peer, Style, What};
use super::keyboard::{Keyboard, Typed};
use super::line::{self, Order};
use super::screen::Screen;
use super::transport::{FAREWELL, Transport};
use super::turn::Turn;
use crate::failure::Failure;
use crate::printable::Printable;

/// Who is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Whoever comes.
    Operator,
    /// The operator at this address, and nobody else.
    Guest(SocketAddr),
}

/// How lines are taken.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    /// Nobody types them.
    pub piped: bool,
    /// And peers take turns.
    pub in_turn: bool,
    /// An editor reads them: a line that is refused can be given back.
    pub edited: bool,
}

/// A chat.
pub struct Room {
    transport: Box<dyn Transport>,
    side: Side,
    style: Style,
    screen: Screen,
    keyboard: Keyboard,
    input: Input,
    /// Who spoke last, or was chosen since; perhaps gone.
    addressee: Option<Peer>,
    /// What was typed and is not done yet.
    typed: Option<Typed>,
    /// That it waits for somebody to speak was said.
    waits: bool,
    /// Of the next piped line, and of the goodbye.
    turn: Turn,
    /// When to end, once this side is leaving.
    leaving: Option<Instant>,
    /// How it ends, once the operator is not there any more.
    over: Option<Result<(), Failure>>,
}

impl Room {
    /// A chat in which nothing was said.
    pub fn new(
        transport: Box<dyn Transport>,
        side: Side,
        style: Style,
        screen: Screen,
        mut keyboard: Keyboard,
        input: Input,
    ) -> Self {
        let addressee = match side {
            Side::Operator => None,
            Side::Guest(_) => transport.here().first().copied(),
        };
        keyboard.ask(String::new());
        Self {
            transport,
            side,
            style,
            screen,
            keyboard,
            input,
            addressee,
            typed: None,
            waits: false,
            turn: Turn::new(),
            leaving: None,
            over: None,
        }
    }

    /// Talks until one side leaves.
    pub fn talk(&mut self, wake: &mut WakePipe, shutdown: &Shutdown) -> Result<ExitCode, Failure> {
        let mut events = Vec::new();
        loop {
            // Goodbyes go out, and are answered, though nobody reads what is shown.
            let reading = self.leaving.is_some() || self.screen.has_room();
            self.transport.step(reading, &mut events);
            for event in events.drain(..) {
                self.happens(event);
            }
            if let Some(error) = self.screen.failure() {
                return Err(Failure::output(&error));
            }
            if shutdown.is_requested() {
                self.leave();
            }
            self.take_typed();
            let now = Instant::now();
            if self.leaving.is_some_and(|end| end <= now) {
                return Ok(ExitCode::SUCCESS);
            }
            if self.transport.has_parted() {
                if let Some(over) = self.over.take() {
                    return over.map(|()| ExitCode::SUCCESS);
                }
                if self.leaving.is_some() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            let waited = self.wait(reading, wake, shutdown);
            waited.map_err(|error| Failure::io("cannot wait for what happens", &error))?;
        }
    }

    /// Whether a line is still being typed.
    pub fn is_typing(&self) -> bool {
        self.keyboard.is_asked()
    }

    fn happens(&mut self, event: Event) {
        let Event { peer, what } = &event;
        match (self.side, what) {
            // Too late.
            (_, What::Comes) if self.leaving.is_some() => return self.transport.part(*peer),
            (_, What::Says(_)) => {
                self.address(*peer);
                self.turn.heard();
            }
            (Side::Operator, What::Leaves | What::Gone(_) | What::Forgotten(_)) => {
                self.is_away(*peer);
            }
            (Side::Guest(address), What::Gone(why)) => {
                let sentence = format!("{address} is gone: {why}");
                return self.end(&event, Failure::Told(sentence));
            }
            (Side::Guest(address), What::Refuses(why)) => {
                let sentence = format!("{address} refuses: {}", Printable(why));
                return self.end(&event, Failure::Told(sentence));
            }
            (Side::Guest(_), What::Leaves) => {
                self.over.get_or_insert(Ok(()));
            }
            _ => {}
        }
        if self.leaving.is_none() || self.screen.has_room() {
            self.screen.show(&self.style.lines(&event));
        }
    }

    /// The operator is not there any more. The sentence on standard error says so to a person.
    fn end(&mut self, event: &Event, failure: Failure) {
        if self.style.json {
            self.screen.show(&self.style.lines(event));
        }
        // What it has said of it says more than that its connection has ended.
        self.over.get_or_insert(Err(failure));
    }

    /// Lines go to this peer from now on.
    fn address(&mut self, peer: Peer) {
        self.addressee = Some(peer);
        self.screen.address(Some(peer.number));
    }

    /// Nothing goes to this peer any more.
    fn is_away(&mut self, peer: Peer) {
        if self.addressee == Some(peer) {
            self.screen.address(None);
        }
    }

    /// Says goodbye to everybody.
    fn leave(&mut self) {
        if self.leaving.is_none() {
            self.leaving = Some(Instant::now() + FAREWELL);
            for peer in self.transport.here() {
                self.transport.part(peer);
            }
        }
    }

    /// Does what was typed, as far as its time has come.
    fn take_typed(&mut self) {
        while self.leaving.is_none() && self.over.is_none() {
            let Some(typed) = self.typed.take().or_else(|| self.keyboard.take()) else {
                return;
            };
            match typed {
                Typed::Wrong(sentence) => self.refuse(&sentence, String::new()),
                Typed::Broken(sentence) => {
                    self.tell(&sentence);
                    self.typed = Some(Typed::End);
                }
                Typed::End if self.is_settled() => self.leave(),
                Typed::Line(line, to) if self.may_go(&line) => {
                    self.waits = false;
                    self.obey(&line, to);
                }
                early => {
                    self.say_that_it_waits(&early);
                    self.typed = Some(early);
                    return;
                }
            }
        }
    }

    /// Once, if a line waits because whom it would have gone to is gone.
    fn say_that_it_waits(&mut self, typed: &Typed) {
        let here = self.transport.here();
        if let (Typed::Line(line, _), Some(peer), false) = (typed, self.addressee, self.waits)
            && let Ok(Order::Say(None, _)) = self.order(line, &here)
            && !here.contains(&peer)
        {
            self.waits = true;
            self.tell(&format!("{peer} is gone: a line waits for who speaks next"));
        }
    }

    /// Whether what was sent is answered, or has had its time.
    fn is_settled(&self) -> bool {
        let now = Instant::now();
        let mut here = self.transport.here().into_iter();
        let has_taken = |peer| {
            self.transport
                .patience(peer)
                .is_none_or(|until| until <= now)
        };
        !self.input.piped || (self.turn.begins() <= now && here.all(has_taken))
    }

    /// Whether it is a piped line's turn.
    fn may_go(&self, line: &str) -> bool {
        if !self.input.piped {
            return true;
        }
        let here = self.transport.here();
        match self.order(line, &here) {
            Ok(Order::Leave) => self.is_settled(),
            Ok(Order::Say(to, _)) => {
                // A line is not spent on nobody.
                let to = to.or(self.addressee).filter(|to| here.contains(to));
                let now = Instant::now();
                let has_taken = |to| match self.transport.patience(to) {
                    None => true,
                    // Others are there to be talked to.
                    Some(until) => self.side == Side::Operator && until <= now,
                };
                to.is_some_and(has_taken) && (!self.input.in_turn || self.turn.begins() <= now)
            }
            _ => true,
        }
    }

    fn order<'l>(&self, line: &'l str, here: &[Peer]) -> Result<Order<'l>, String> {
        match self.side {
            Side::Operator => line::of_operator(line, here),
            Side::Guest(_) => line::plain(line),
        }
    }

    /// Does what a line means. An editor's prompt has shown that it goes `to` this peer.
    fn obey(&mut self, line: &str, to: Option<u64>) {
        let here = self.transport.here();
        let done = match self.order(line, &here) {
            Ok(Order::Leave) => return self.leave(),
            Ok(Order::List) => {
                self.tell(&line::list(&here));
                Ok(())
            }
            Ok(Order::Choose(peer)) => {
                self.address(peer);
                self.tell(&format!("lines go to {peer}"));
                Ok(())
            }
            Ok(Order::Dismiss(peer)) => {
                self.transport.part(peer);
                self.is_away(peer);
                let what = What::Dismissed;
                self.screen.show(&self.style.lines(&Event { peer, what }));
                Ok(())
            }
            Ok(Order::Say(Some(peer), text)) => {
                let said = self.say(peer, text);
                said.map(|()| self.address(peer))
            }
            Ok(Order::Say(None, text)) => {
                let recipient = self.recipient(&here, to);
                recipient.and_then(|peer| self.say(peer, text))
            }
            Err(sentence) => Err(sentence),
        };
        match done {
            Ok(()) => self.keyboard.ask(String::new()),
            Err(sentence) => self.refuse(&sentence, line.trim_end().to_owned()),
        }
    }

    fn say(&mut self, peer: Peer, text: &str) -> Result<(), String> {
        self.transport.send(peer, text)?;
        self.turn.said();
        Ok(())
    }

    /// Whom a line goes to that does not say it.
    fn recipient(&self, here: &[Peer], to: Option<u64>) -> Result<Peer, String> {
        let number = match self.input.edited && self.side == Side::Operator {
            // As the prompt has said, whatever was said since.
            true => to,
            false => self.addressee.map(|peer| peer.number),
        };
        let found = here.iter().copied();
        let mut found = found.filter(|peer| Some(peer.number) == number);
        found.next().ok_or_else(|| {
            let list = line::list(here);
            match number.or(self.addressee.map(|peer| peer.number)) {
                Some(number) => format!("#{number} is gone: not sent; {list}"),
                None => format!("nobody has spoken yet: not sent; {list}"),
            }
        })
    }

    /// Says why a line does nothing, and gives it back to an editor.
    fn refuse(&mut self, sentence: &str, line: String) {
        self.tell(sentence);
        self.keyboard.ask(line);
    }

    /// Says something to whom types.
    fn tell(&self, sentence: &str) {
        if self.input.edited {
            self.screen.show(&format!("{sentence}\n"));
        } else {
            // If nobody reads it, nobody does.
            let _ = writeln!(io::stderr(), "unstick: {sentence}");
        }
    }

    /// Waits until there may be something to do.
    fn wait(&self, reading: bool, wake: &mut WakePipe, shutdown: &Shutdown) -> io::Result<()> {
        // What was typed waits for its turn, or for a peer's patience to end.
        let here = self.transport.here().into_iter();
        let patience = here.filter_map(|peer| self.transport.patience(peer));
        let turn = patience.chain([self.turn.begins()]);
        let turn = turn.filter(|turn| self.typed.is_some() && *turn > Instant::now());
        let deadlines = [self.transport.deadline(reading), self.leaving, turn.min()];
        let left = deadlines
            .into_iter()
            .flatten()
            .min()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // What is too long for the system is for ever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
        // Once it is heeded it would be told of over and over.
        if self.leaving.is_none() {
            fds.push(PollFd::new(shutdown, PollFlags::IN));
        }
        self.transport.watch(reading, &mut fds);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let woken = !fds[0].revents().is_empty();
        drop(fds);
        match woken {
            true => wake.take(),
            false => Ok(()),
        }
    }
}

//! A client's side of one connection, and what is asked over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use serde_json::Value;
use unstick_core::services::Files;
use unstick_core::{Code, Connection, Digest, Hasher, Needs, Service, Session};

use crate::common::memory::Memory;
use crate::common::scenario::Choices;
use crate::common::{Frame, frame, frames};

/// Counts how often it is woken.
#[derive(Default)]
pub struct Count(pub AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client's side of one connection.
pub struct Peer<S> {
    pub session: Session<S, 1024, Vec<u8>, Vec<u8>>,
    pub woken: Arc<Count>,
    pub sent: Vec<u8>,
}

impl<S: Service> Peer<S> {
    pub fn new(service: S) -> Self {
        let connection = Connection::new(service);
        Self {
            session: Session::new(connection, vec![0; 64], vec![0; 256], Duration::ZERO),
            woken: Arc::default(),
            sent: Vec::new(),
        }
    }

    /// Sends this, in pieces that are chosen, until the server wants more. A service that waits has to have woken.
    pub fn say(&mut self, mut stream: &[u8], choices: &mut Choices<'_>) {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        loop {
            let woken = self.woken.0.load(Ordering::Relaxed);
            match self.session.advance(&mut cx, Duration::ZERO) {
                Needs::Read if self.session.connection().is_stalled() && choices.below(2) == 1 => {}
                Needs::Read if stream.is_empty() => {
                    // What has woken may go on without the peer.
                    if woken == self.woken.0.load(Ordering::Relaxed) {
                        return;
                    }
                }
                Needs::Read => {
                    let most = [64, 8, 1][choices.below(3)];
                    let room = self.session.room();
                    let most = most - choices.below(most);
                    let len = stream.len().min(room.len()).min(most);
                    room[..len].copy_from_slice(&stream[..len]);
                    stream = &stream[len..];
                    self.session.received(len, Duration::ZERO);
                }
                Needs::Write => {
                    let most = 256 - choices.below(256);
                    let len = self.session.unsent().len().min(most);
                    self.sent.extend_from_slice(&self.session.unsent()[..len]);
                    self.session.sent(len, Duration::ZERO);
                }
                Needs::Service => assert!(woken < self.woken.0.load(Ordering::Relaxed)),
                Needs::Close => return,
            }
        }
    }

    /// All frames that have come, since the last time.
    pub fn frames(&mut self) -> Vec<Frame> {
        frames(&std::mem::take(&mut self.sent))
    }
}

/// A request, and what the server has to say to that.
pub fn ask_in<const B: usize>(memory: &Memory, header: &Value, content: &[u8]) -> Vec<Frame> {
    let mut peer = Peer::new(Files::<_, B>::new(memory.clone()));
    peer.say(&request(header, content), &mut Choices(&[]));
    assert_eq!(peer.session.connection().fault(), None);
    peer.frames()
}

pub fn ask(memory: &Memory, header: Value) -> Vec<Frame> {
    ask_in::<1024>(memory, &header, b"")
}

pub fn put(memory: &Memory, header: Value, content: &[u8]) -> Frame {
    one(ask_in::<8>(memory, &header, content))
}

#[track_caller]
pub fn one(mut frames: Vec<Frame>) -> Frame {
    assert_eq!(frames.len(), 1, "{frames:?}");
    frames.remove(0)
}

/// The octets of a request, whose `total_size` is that of its body.
pub fn request(header: &Value, content: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    header["total_size"] = content.len().into();
    frame(&header.to_string(), content)
}

pub fn sha256(octets: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(octets);
    hasher.digest()
}

pub fn hex(octets: &[u8]) -> String {
    sha256(octets).to_string()
}

/// A storage with the file `a`.
pub fn memory(content: &[u8]) -> Memory {
    let memory = Memory::default();
    memory
        .0
        .borrow_mut()
        .files
        .insert("a".into(), content.into());
    memory
}

pub fn content_of(memory: &Memory, name: &str) -> Option<Vec<u8>> {
    memory.0.borrow().files.get(name).cloned()
}

pub fn partial_of(memory: &Memory, name: &str) -> Option<Vec<u8>> {
    memory.0.borrow().partials.get(name).cloned()
}

#[track_caller]
pub fn refused(frames: Vec<Frame>, code: Code, message: &str) {
    let frame = one(frames);
    assert_eq!(frame.head.error, Some(code), "{:?}", frame.head.message);
    assert_eq!(frame.head.message.as_deref(), Some(message));
    assert!(!frame.head.more && frame.body.is_empty());
}

/// Minds that these frames are the content from `offset` on, whole.
#[track_caller]
pub fn is_content(sent: &[Frame], content: &[u8], offset: usize) {
    let (last, pieces) = sent.split_last().unwrap();
    let mut at = offset;
    for piece in pieces {
        assert_eq!(piece.head.offset.unwrap_or(0), at as u64);
        assert!(piece.head.more && !piece.cut && piece.head.sha256.is_none());
        assert_eq!(piece.body, content[at..at + piece.body.len()]);
        at += piece.body.len();
    }
    assert_eq!(at, content.len());
    assert_eq!(last.head.offset, (at > 0).then_some(at as u64));
    assert_eq!(last.head.sha256, Some(sha256(content)));
    assert!(!last.head.more && last.body.is_empty());
    assert_eq!(last.head.error, None);
}

/// All lines of a listing, whose frames have at most `B` octets.
pub fn list_in<const B: usize>(memory: &Memory, header: &Value) -> Vec<Value> {
    let sent = ask_in::<B>(memory, header, b"");
    let (last, others) = sent.split_last().unwrap();
    assert!(!last.head.more && others.iter().all(|frame| frame.head.more));
    assert!(others.iter().all(|frame| frame.body.ends_with(b"\n")));
    assert!(sent.iter().all(|frame| frame.body.len() <= B));
    let lines: Vec<u8> = sent.into_iter().flat_map(|frame| frame.body).collect();
    let lines = std::str::from_utf8(&lines).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

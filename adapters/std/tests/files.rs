//! Files over real sockets: a digest that takes several steps must not wait for anybody.

use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use unstick_core::services::{Attributes, Entry, Files, Kind, Name, Stat, Storage, Upload};
use unstick_core::{Code, Digest, Hasher, Refusal, Reply, Request};
use unstick_std::{Client, Limits, Shutdown, tcp, udp};

/// How long a wait may take that should end at once.
const SOON: Duration = Duration::from_secs(30);
/// Read a few kilobytes at a time, this takes some dozens of steps.
const LONG: usize = 500_000;

/// The contents of one file and of its partial, for all connections.
#[derive(Default)]
struct State {
    content: Vec<u8>,
    partial: Vec<u8>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

fn read(octets: &[u8], offset: u64, out: &mut [u8]) -> Result<usize, Refusal> {
    let mut rest = &octets[usize::try_from(offset).unwrap()..];
    Ok(rest.read(out).unwrap())
}

impl Storage for Shared {
    type Reader = ();
    type Writer = ();
    type Listing = ();

    fn stat(&mut self, _: Name<'_>) -> Result<Stat, Refusal> {
        let state = self.0.lock().unwrap();
        Ok(Stat {
            kind: Kind::File,
            size: Some(state.content.len() as u64),
            writable: true,
            partial: None,
            attributes: Attributes::default(),
        })
    }

    fn open(&mut self, _: Name<'_>) -> Result<((), u64), Refusal> {
        Ok(((), self.0.lock().unwrap().content.len() as u64))
    }

    fn read(&mut self, (): &mut (), offset: u64, out: &mut [u8]) -> Result<usize, Refusal> {
        read(&self.0.lock().unwrap().content, offset, out)
    }

    fn create(&mut self, _: Name<'_>, upload: Upload) -> Result<(), Refusal> {
        let offset = usize::try_from(upload.offset).unwrap();
        self.0.lock().unwrap().partial.truncate(offset);
        Ok(())
    }

    fn write(&mut self, (): &mut (), _: u64, octets: &[u8]) -> Result<usize, Refusal> {
        self.0.lock().unwrap().partial.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn read_back(&mut self, (): &mut (), offset: u64, out: &mut [u8]) -> Result<usize, Refusal> {
        read(&self.0.lock().unwrap().partial, offset, out)
    }

    fn commit(&mut self, (): ()) -> Result<(), Refusal> {
        let mut state = self.0.lock().unwrap();
        state.content = std::mem::take(&mut state.partial);
        Ok(())
    }

    fn discard(&mut self, (): ()) {}

    fn list(&mut self, _: Option<Name<'_>>) -> Result<(), Refusal> {
        Ok(())
    }

    fn entry(&mut self, (): &mut (), _: u64) -> Result<Option<Entry<'_>>, Refusal> {
        Ok(None)
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place % 251) as u8).collect()
}

fn sha256(octets: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(octets);
    hasher.digest()
}

fn request(op: &str, offset: usize, body: usize) -> Request {
    let mut request = Request::new(op, body as u64);
    request.filename = Some("a".try_into().unwrap());
    request.offset = (offset > 0).then_some(offset as u64);
    request
}

/// What comes in reply: the frames' headers and all that is in their bodies.
fn replies(client: &mut Client, request: &Request, body: &[u8]) -> (Vec<Reply>, Vec<u8>) {
    client.set_deadline(Some(Instant::now() + SOON));
    let mut replies = client.request(request.clone(), Cursor::new(body)).unwrap();
    let (mut heads, mut octets) = (Vec::new(), Vec::new());
    while let Some(mut frame) = replies.next_frame().unwrap() {
        let head = frame.header.clone();
        frame.body.read_to_end(&mut octets).unwrap();
        heads.push(head);
    }
    (heads, octets)
}

/// Runs `test` beside a server.
fn beside(serve: impl FnOnce(&Shutdown) + Send, test: impl FnOnce()) {
    let shutdown = Shutdown::new().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| serve(&shutdown));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        shutdown.request();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn long_files_go_on_over_tcp() {
    let shared = Shared::default();
    let whole = content(LONG);
    let cut = LONG - 1000;
    shared.0.lock().unwrap().partial = whole[..cut].into();
    let server = tcp::Server::bind("127.0.0.1:0", Limits::default()).unwrap();
    let address = server.local_addr().unwrap();
    let factory = |_| Files::<_, 4096>::new(shared.clone());
    beside(
        |shutdown| server.serve_forever(shutdown, factory).unwrap(),
        || {
            let mut client = Client::connect(address).unwrap();
            let mut put = request("put", cut, 1000);
            put.sha256 = Some(sha256(&whole));
            let (heads, _) = replies(&mut client, &put, &whole[cut..]);
            assert_eq!((heads[0].error, heads[0].sha256), (None, put.sha256));

            for offset in [0, cut] {
                let mut get = request("get", offset, 0);
                get.sha256 = Some(sha256(&whole[..offset]));
                let (heads, octets) = replies(&mut client, &get, b"");
                assert_eq!(heads.len(), 2);
                assert_eq!(heads[0].offset.unwrap_or(0), offset as u64);
                assert_eq!(heads[1].sha256, Some(sha256(&whole)));
                assert!(octets == whole[offset..]);
            }

            let (heads, _) = replies(&mut client, &request("stat", LONG, 0), b"");
            assert_eq!(heads[0].sha256, Some(sha256(&whole)));
        },
    );
}

#[test]
fn files_go_over_udp() {
    let shared = Shared::default();
    let whole = content(LONG);
    shared.0.lock().unwrap().content = whole.clone();
    let server = udp::Server::bind("127.0.0.1:0", Limits::default()).unwrap();
    let address = server.local_addr().unwrap();
    let factory = |_| Files::<_, 4096>::new(shared.clone()).with_frame_len(16 * 1024);
    beside(
        |shutdown| server.serve_forever(shutdown, factory).unwrap(),
        || {
            let mut client = udp::Client::connect(address).unwrap();
            let mut ask = |request, body: &[u8]| {
                let (mut last, mut octets) = (Reply::default(), Vec::new());
                let take = |head: &Reply, body: &[u8]| {
                    last = head.clone();
                    octets.extend_from_slice(body);
                };
                client.request(request, body, SOON, take).unwrap();
                (last, octets)
            };
            let (last, octets) = ask(request("get", 0, 0), b"");
            assert_eq!(last.sha256, Some(sha256(&whole)));
            assert!(octets == whole);

            let (last, _) = ask(request("get", 5, 0), b"");
            assert_eq!(last.error, Some(Code::Denied));
            // The digest takes a while, and has no frame before it.
            let (last, _) = ask(request("stat", LONG, 0), b"");
            assert_eq!(last.sha256, Some(sha256(&whole)));

            let (last, _) = ask(request("put", 0, 0), b"short");
            assert_eq!(last.sha256, Some(sha256(b"short")));
            assert_eq!(ask(request("get", 0, 0), b"").1, b"short");
            let (last, octets) = ask(request("put", 0, 0), b"");
            assert_eq!((last.sha256, octets.len()), (Some(sha256(b"")), 0));
            assert_eq!(ask(request("get", 0, 0), b"").0.sha256, Some(sha256(b"")));
        },
    );
}

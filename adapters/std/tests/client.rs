//! The blocking client against the server of this crate, and against peers that do as they are scripted.

use std::io::{self, Read, Write};
use std::net::{Shutdown as Direction, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use unstick_core::services::Echo;
use unstick_core::{Code, DecodeError, Request};
use unstick_std::{Client, Error, Limits, Shutdown, tcp};

/// How long a wait may take that should end at once.
const SOON: Duration = Duration::from_secs(30);

/// Runs `script` as the server of one connection, and `test` as its client, who must not wait for ever.
fn scripted<T>(script: impl FnOnce(TcpStream) + Send, test: impl FnOnce(Client) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::scope(|scope| {
        scope.spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            stream.set_read_timeout(Some(SOON)).expect("a timeout");
            script(stream);
        });
        let mut client = Client::connect(address).expect("it listens");
        client.set_deadline(Some(Instant::now() + SOON));
        test(client)
    })
}

/// Runs `test` as the client of an echo server.
fn echoed(limits: Limits, test: impl FnOnce(Client)) {
    let server = tcp::Server::bind("127.0.0.1:0", limits).expect("a port");
    let address = server.local_addr().expect("its address");
    let shutdown = Shutdown::new().expect("descriptors");
    thread::scope(|scope| {
        scope.spawn(|| server.serve_forever(&shutdown, |_| Echo::<4096>::new()));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            test(Client::connect(address).expect("it listens"));
        }));
        shutdown.request();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn frame(header: &str, body: &str) -> Vec<u8> {
    let len = i32::try_from(header.len()).expect("short").to_le_bytes();
    [&len, header.as_bytes(), body.as_bytes()].concat()
}

/// Reads the prefix and header of a request, and returns the header.
fn read_header(stream: &mut TcpStream) -> String {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).expect("a prefix");
    let mut header = String::new();
    let len = u64::from(u32::from_le_bytes(prefix));
    stream
        .take(len)
        .read_to_string(&mut header)
        .expect("a header");
    header
}

/// Octets that are never all there at once.
struct Pieces<'b> {
    octets: &'b [u8],
    most: usize,
    interrupted: bool,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = self.most.min(out.len());
        self.octets.read(&mut out[..most])
    }
}

/// What an echo answers, read in pieces of this length.
fn echo(client: &mut Client, body: &[u8], most: usize) -> Result<Vec<u8>, Error> {
    let request = Request::new("echo", body.len() as u64);
    let pieces = Pieces {
        octets: body,
        most,
        interrupted: false,
    };
    let mut replies = client.request(request, pieces)?;
    let mut answer = Vec::new();
    let mut piece = vec![0; most];
    while let Some(mut frame) = replies.next_frame()? {
        frame.accepted()?;
        loop {
            match frame.body.read(&mut piece)? {
                0 => break,
                len => answer.extend(&piece[..len]),
            }
        }
        assert_eq!(frame.body.left(), 0);
    }
    Ok(answer)
}

#[test]
fn one_request_follows_another() {
    echoed(Limits::default(), |mut client| {
        let body: Vec<u8> = (0..300_000_u32).map(|number| (number * 7) as u8).collect();
        for (len, most) in [
            (0, 1),
            (1, 1),
            (5, 2),
            (70_000, 1000),
            (300_000, 65_536),
            (3, 9),
        ] {
            let answer = echo(&mut client, &body[..len], most).expect("an echo");
            assert!(answer == body[..len], "{len} octets by {most}");
        }
    });
}

#[test]
fn a_body_larger_than_all_buffers_on_the_way_comes_back() {
    const LEN: u64 = 64 << 20;
    echoed(Limits::default(), |mut client| {
        let request = Request::new("echo", LEN);
        let mut replies = client
            .request(request, io::repeat(7).take(LEN))
            .expect("a request");
        let mut frame = replies.next_frame().expect("a reply").expect("a frame");
        assert_eq!(
            io::copy(&mut frame.body, &mut io::sink()).expect("the body"),
            LEN
        );
        assert!(replies.next_frame().expect("the end").is_none());
        assert!(replies.next_frame().expect("the end").is_none());
        assert_eq!(echo(&mut client, b"again", 5).expect("an echo"), b"again");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// However the frames of a reply arrive, and however they are read.
    #[test]
    fn replies_are_read_from_any_pieces(
        bodies in prop::collection::vec("[a-z]{0,40}", 1..6),
        cut in 1..64_usize,
        most in 1..64_usize,
        skipped in 0..6_usize,
    ) {
        let last = bodies.len() - 1;
        let stream: Vec<u8> = bodies.iter().enumerate().flat_map(|(number, body)| {
            let more = if number == last { "" } else { r#","more":true"# };
            frame(&format!(r#"{{"total_size":{},"id":1{more}}}"#, body.len()), body)
        }).collect();
        scripted(
            |mut peer| {
                read_header(&mut peer);
                peer.set_nodelay(true).expect("an option");
                for piece in stream.chunks(cut) {
                    peer.write_all(piece).expect("it reads");
                }
            },
            |mut client| {
                let mut replies = client.request(Request::new("x", 0), io::empty()).expect("a request");
                for (number, body) in bodies.iter().enumerate() {
                    let mut frame = replies.next_frame().expect("a reply").expect("a frame");
                    assert_eq!(frame.header.more, number != last);
                    // The body of one is left unread.
                    if number != skipped {
                        let mut text = vec![0; most];
                        let mut read = String::new();
                        loop {
                            match frame.body.read(&mut text).expect("a body") {
                                0 => break,
                                len => read += str::from_utf8(&text[..len]).expect("text"),
                            }
                        }
                        assert_eq!(&read, body);
                    }
                }
                assert!(replies.next_frame().expect("the end").is_none());
            },
        );
    }
}

#[test]
fn header_and_body_leave_in_one_write() {
    scripted(
        |mut peer| {
            let mut octets = [0; 1024];
            let len = peer.read(&mut octets).expect("a request");
            assert!(octets[..len].ends_with(b"}hello"), "{len} octets");
            peer.write_all(&frame(r#"{"total_size":0,"id":1}"#, ""))
                .expect("it reads");
        },
        |mut client| assert_eq!(echo(&mut client, b"hello", 100).expect("a reply"), b""),
    );
}

#[test]
fn an_error_frame_is_read_although_the_server_is_gone() {
    let refusal = r#"{"total_size":0,"error":"busy","message":"later","retry_after_ms":9}"#;
    for _ in 0..20 {
        let (sender, gone) = std::sync::mpsc::channel();
        scripted(
            |mut peer| {
                peer.write_all(&frame(refusal, "")).expect("it reads");
                // With octets unread, closing resets the connection.
                peer.peek(&mut [0]).expect("a request");
                drop(peer);
                sender.send(()).expect("the client waits");
            },
            |mut client| {
                let request = Request::new("echo", 1 << 30);
                let mut replies = client.request(request, io::repeat(0)).expect("a request");
                gone.recv().expect("the server");
                let frame = replies
                    .next_frame()
                    .expect("the error frame")
                    .expect("a frame");
                let Err(Error::Refused {
                    code,
                    message,
                    retry_after_ms,
                }) = frame.accepted()
                else {
                    panic!("{frame:?}");
                };
                assert_eq!(
                    (code, message.as_str(), retry_after_ms),
                    (Code::Busy, "later", Some(9))
                );
                assert!(replies.next_frame().expect("the end").is_none());
                let again = client.request(Request::new("echo", 0), io::empty());
                assert!(matches!(again, Err(Error::Unusable)));
            },
        );
    }
}

#[test]
fn an_early_refusal_stops_the_body() {
    let limits = Limits {
        max_body: 10,
        ..Limits::default()
    };
    echoed(limits, |mut client| {
        let body = vec![0; 8 << 20];
        let refused = echo(&mut client, &body, 1 << 20).expect_err("too large");
        assert!(
            matches!(
                refused,
                Error::Refused {
                    code: Code::TooLarge,
                    ..
                }
            ),
            "{refused}"
        );
        let again = echo(&mut client, b"", 1).expect_err("no more use");
        assert!(matches!(again, Error::Unusable), "{again}");
    });
}

#[test]
fn a_refusal_of_a_whole_request_is_not_the_end() {
    scripted(
        |mut peer| {
            for id in 1..=2 {
                read_header(&mut peer);
                let refusal = format!(r#"{{"total_size":2,"id":{id},"error":"denied"}}"#);
                peer.write_all(&frame(&refusal, "no")).expect("it reads");
            }
        },
        |mut client| {
            for _ in 0..2 {
                let request = Request::new("echo", 0);
                let mut replies = client.request(request, io::empty()).expect("a request");
                let mut frame = replies.next_frame().expect("a reply").expect("a frame");
                let refused = frame.accepted().expect_err("denied");
                assert_eq!(refused.to_string(), "the server refuses: denied");
                let mut body = String::new();
                frame.body.read_to_string(&mut body).expect("a body");
                assert_eq!(body, "no");
            }
        },
    );
}

/// The error of an echo of `hello` that is answered with `octets` and the end of the stream.
fn answered(octets: &[u8]) -> Error {
    scripted(
        |mut peer| {
            read_header(&mut peer);
            peer.write_all(octets).expect("it reads");
            peer.shutdown(Direction::Write).expect("a stream");
            let _ = peer.read_to_end(&mut Vec::new());
        },
        |mut client| echo(&mut client, b"hello", 5).expect_err("no reply"),
    )
}

#[test]
fn a_reply_that_is_none_is_an_error() {
    assert!(matches!(answered(b""), Error::Closed));
    assert!(matches!(answered(b"\x10\0"), Error::Closed));
    let more = frame(r#"{"total_size":2,"id":1,"more":true}"#, "ab");
    assert!(matches!(answered(&more), Error::Closed));
    let cut = frame(r#"{"total_size":3,"id":1}"#, "ab");
    assert!(matches!(answered(&cut), Error::Closed));
    let prefix = answered(&[0; 4]);
    assert!(matches!(
        prefix,
        Error::Peer(DecodeError::PrefixNotPositive(0))
    ));
    let header = answered(&frame("[]", ""));
    assert!(matches!(header, Error::Peer(DecodeError::Header(_))));
    for (id, received) in [(r#","id":2"#, Some(2)), ("", None)] {
        let other = answered(&frame(&format!(r#"{{"total_size":0{id}}}"#), ""));
        assert!(
            matches!(other, Error::WrongId { sent: 1, received: found } if found == received),
            "{other}"
        );
    }
    let stale = answered(&frame(r#"{"total_size":0,"id":2,"error":"busy"}"#, ""));
    assert!(matches!(stale, Error::WrongId { .. }), "{stale}");
}

#[test]
fn a_deadline_is_kept() {
    // The request waits for a reply, and a body for room that never comes.
    for len in [5, 1 << 30] {
        let (sender, over) = std::sync::mpsc::channel::<()>();
        scripted(
            move |peer| {
                let _ = over.recv();
                drop(peer);
            },
            |mut client| {
                let start = Instant::now();
                client.set_deadline(Some(start + Duration::from_millis(200)));
                let body = io::repeat(0).take(len);
                let mut replies = client
                    .request(Request::new("echo", len), body)
                    .expect("a request");
                let error = replies.next_frame().expect_err("no reply");
                assert!(matches!(error, Error::Deadline), "{error}");
                assert!(start.elapsed() >= Duration::from_millis(200));
                let after = replies.next_frame().expect_err("nothing more");
                assert!(matches!(after, Error::Unusable), "{after}");
                drop(sender);
            },
        );
    }
}

#[test]
fn a_body_of_another_length_is_our_own_error() {
    fn refused(announced: u64, body: impl Read) -> Error {
        scripted(
            |mut peer| {
                let _ = peer.read_to_end(&mut Vec::new());
            },
            |mut client| {
                let request = Request::new("echo", announced);
                match client.request(request, body) {
                    Ok(mut replies) => replies.next_frame().map(|_| ()).expect_err("no reply"),
                    Err(error) => error,
                }
            },
        )
    }
    for (announced, body, given) in [(5, &b"four"[..], 4), (3, b"four", 4), (0, b"x", 1)] {
        let error = refused(announced, body);
        assert!(
            matches!(error, Error::BodyLength { announced: a, given: g } if a == announced && g == given),
            "{error}"
        );
    }
    let late = refused(100_000, io::repeat(0).take(99_999));
    assert!(
        matches!(late, Error::BodyLength { given: 99_999, .. }),
        "{late}"
    );

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("out of paper"))
        }
    }
    let broken = refused(5, Broken);
    assert_eq!(
        broken.to_string(),
        "the request's body cannot be read: out of paper"
    );
    assert!(std::error::Error::source(&broken).is_some());
}

#[test]
fn a_reply_left_unread_spends_the_connection() {
    echoed(Limits::default(), |mut client| {
        let mut replies = client
            .request(Request::new("echo", 2), &b"hi"[..])
            .expect("a request");
        let _ = replies.next_frame().expect("a reply");
        drop(replies);
        let error = echo(&mut client, b"", 1).expect_err("unread");
        assert!(matches!(error, Error::Unusable), "{error}");
    });
}

#[test]
fn nobody_there_is_an_error_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let error = Client::connect(address).expect_err("nobody");
    assert!(matches!(error, Error::Connect { address: Some(tried), .. } if tried == address));
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot connect to {address}: "))
    );
    let error = Client::connect(&[][..]).expect_err("nowhere");
    assert!(matches!(error, Error::Connect { address: None, .. }));
}

#[test]
fn errors_survive_the_way_through_a_reader() {
    let error = Error::from(io::Error::from(Error::Deadline));
    assert!(matches!(error, Error::Deadline));
    let error = Error::from(io::Error::from(io::ErrorKind::ConnectionReset));
    assert!(matches!(error, Error::Transport(_)));
}

//! PROTOCOL.md says what the server does: its dumps are sent, and the answers compared with the document's.

mod common;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Shutdown as Direction, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use common::{SOON, run_with, unstick};
use unstick_core::services::{Attributes, Echo, Entry, Files, Info, Kind, Name, Stat, Storage};
use unstick_core::{Code, Refusal, Route};
use unstick_std::{Limits, Shell, Shutdown, tcp};

use common::dumps::{PROTOCOL, blocks};

/// A storage of one file.
struct Hello;

const HELLO: &[u8] = b"hello\n";

impl Storage for Hello {
    type Reader = ();
    type Writer = Infallible;
    type Listing = ();

    fn stat(&mut self, _: Name<'_>) -> Result<Stat, Refusal> {
        Ok(Stat {
            kind: Kind::File,
            size: Some(HELLO.len() as u64),
            writable: false,
            partial: None,
            attributes: Attributes::default(),
        })
    }

    fn open(&mut self, name: Name<'_>) -> Result<((), u64), Refusal> {
        assert_eq!(name.as_str(), "hello.txt");
        Ok(((), HELLO.len() as u64))
    }

    fn read(&mut self, (): &mut (), at: u64, mut out: &mut [u8]) -> Result<usize, Refusal> {
        Ok(out.write(&HELLO[usize::try_from(at).unwrap()..]).unwrap())
    }

    fn write(&mut self, writer: &mut Infallible, _: u64, _: &[u8]) -> Result<usize, Refusal> {
        match *writer {}
    }

    fn read_back(
        &mut self,
        writer: &mut Infallible,
        _: u64,
        _: &mut [u8],
    ) -> Result<usize, Refusal> {
        match *writer {}
    }

    fn commit(&mut self, writer: Infallible) -> Result<(), Refusal> {
        match writer {}
    }

    fn discard(&mut self, writer: Infallible) {
        match writer {}
    }

    fn list(&mut self, _: Option<Name<'_>>) -> Result<(), Refusal> {
        Ok(())
    }

    fn entry(&mut self, (): &mut (), _: u64) -> Result<Option<Entry<'_>>, Refusal> {
        Ok(None)
    }
}

#[test]
fn the_message_is_what_chat_sends() {
    let [(_, message)] = &blocks("message")[..] else {
        panic!("one block is fenced as `message`");
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let guest = thread::spawn(move || run_with(unstick(["chat", &address]), b"hello!\n"));
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent).unwrap();
    drop(stream);
    assert!(guest.join().unwrap().status.success());
    let goodbye = b"\x23\0\0\0{\"total_size\":1,\"op\":\"chat\",\"id\":2}q";
    assert_eq!(sent, [&message[..], goodbye].concat());
}

#[test]
fn the_dumps_are_what_the_server_answers() {
    let server = tcp::Server::bind("127.0.0.1:0", Limits::default()).unwrap();
    let addr = server.local_addr().unwrap();
    let shutdown = Shutdown::new().unwrap();
    let until = shutdown.clone();
    let info = Info {
        name: "unstick",
        version: "0",
        max_header: 4096,
        max_body: u64::MAX,
        max_datagram: 0,
        ops: &["echo", "info", "exec", "get", "put", "list", "stat"],
    };
    let serving = thread::spawn(move || {
        let factory = |_| {
            let services = Echo::<1024>::new().or(info.into_service()).or(Shell::new());
            services.or(Files::<_, 640>::new(Hello))
        };
        server.serve_forever(&until, factory).unwrap();
    });

    let (requests, replies) = (blocks("request"), blocks("reply"));
    assert!(requests.len() >= 5 && requests.len() == replies.len());
    for ((line, request), (_, reply)) in requests.iter().zip(&replies) {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(request).unwrap();
        let mut answer = vec![0; reply.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&answer),
            String::from_utf8_lossy(reply),
            "PROTOCOL.md, line {line}"
        );
        stream.shutdown(Direction::Write).unwrap();
        assert_eq!(
            stream.read(&mut [0]).unwrap(),
            0,
            "PROTOCOL.md, line {line}: there is more"
        );
    }
    shutdown.request();
    serving.join().unwrap();
}

#[test]
fn the_table_of_codes_is_complete() {
    let codes = [
        Code::BadHeader,
        Code::TooLarge,
        Code::UnknownOp,
        Code::NotFound,
        Code::Denied,
        Code::Busy,
        Code::Deadline,
        Code::Digest,
        Code::Internal,
    ];
    for code in codes {
        assert!(
            PROTOCOL.contains(&format!("\n| `{code}` | ")),
            "{code} is not in PROTOCOL.md"
        );
    }
}

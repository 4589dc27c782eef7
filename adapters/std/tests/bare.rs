//! The servers without frames: handlers, their deadlines, and peers that come and go.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown as Direction, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;
use unstick_std::bare::{DatagramHandler, Handler, Stream, TcpServer, UdpServer};
use unstick_std::{Limits, Shutdown, WakePipe};

/// How long a wait may take that should end at once.
const SOON: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);

/// What a handler ends with is told to the test when it is dropped, which is after `handle`.
struct Told<F> {
    handle: F,
    end: Option<io::Result<()>>,
    ends: Sender<io::Result<()>>,
}

impl<F: FnMut(&mut Stream<'_>) -> io::Result<()>> Handler for Told<F> {
    fn handle(&mut self, stream: &mut Stream<'_>, _: SocketAddr) -> io::Result<()> {
        let end = (self.handle)(stream);
        let copy = end.as_ref().copied().map_err(|error| error.kind().into());
        self.end = Some(end);
        copy
    }
}

impl<F> Drop for Told<F> {
    fn drop(&mut self) {
        let panicked = || Err(io::Error::other("panicked"));
        let _ = self.ends.send(self.end.take().unwrap_or_else(panicked));
    }
}

/// A server in a thread of its own, which ends with the test.
struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    ends: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    fn with<F>(limits: Limits, handle: F) -> Self
    where
        F: FnMut(&mut Stream<'_>) -> io::Result<()> + Clone + Send + Sync + 'static,
    {
        let server = TcpServer::bind("127.0.0.1:0", limits).expect("a port");
        let address = server.local_addr().expect("its address");
        let shutdown = Shutdown::new().expect("descriptors");
        let (ends, receiver) = channel();
        let heeded = shutdown.clone();
        let thread = thread::spawn(move || {
            let factory = |_| Told {
                handle: handle.clone(),
                end: None,
                ends: ends.clone(),
            };
            server.serve_forever(&heeded, factory)
        });
        Self {
            address,
            shutdown,
            ends: receiver,
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.set_write_timeout(Some(SOON)).expect("a timeout");
        stream
    }

    /// What the next handler to end has ended with.
    fn end(&self) -> Result<(), ErrorKind> {
        let end = self.ends.recv_timeout(SOON).expect("an end");
        end.map_err(|error| error.kind())
    }

    fn stop(&mut self) {
        self.shutdown.request();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("no error");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop();
        }
    }
}

/// Sends back what arrives.
fn echo(stream: &mut Stream<'_>) -> io::Result<()> {
    let mut octets = [0; 1024];
    loop {
        match stream.read(&mut octets)? {
            0 => return Ok(()),
            len => stream.write_all(&octets[..len])?,
        }
    }
}

fn ask(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("room");
    let mut reply = vec![0; text.len()];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(reply, text.as_bytes());
}

/// What is left, up to an end that is no reset.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("no reset");
    rest
}

#[test]
fn peers_are_served_side_by_side_and_each_handler_is_told_the_end() {
    let server = Running::with(Limits::default(), echo);
    let (mut one, mut two) = (server.connect(), server.connect());
    ask(&mut one, "one");
    ask(&mut two, "two");
    one.shutdown(Direction::Write).expect("connected");
    assert_eq!(rest(&mut one), b"");
    assert_eq!(server.end(), Ok(()));
    ask(&mut two, "still here");
}

#[test]
fn lines_are_read_and_answered_through_one_stream() {
    let server = Running::with(Limits::default(), |stream| {
        for line in BufReader::new(&*stream).lines() {
            (&*stream).write_all((line?.to_uppercase() + "\n").as_bytes())?;
        }
        Ok(())
    });
    let mut peer = server.connect();
    peer.write_all(b"a\nb").expect("room");
    peer.shutdown(Direction::Write).expect("connected");
    assert_eq!(rest(&mut peer), b"A\nB\n");
}

#[test]
fn a_peer_too_many_is_closed_without_a_word() {
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let server = Running::with(limits, echo);
    let mut first = server.connect();
    ask(&mut first, "first");
    let mut second = server.connect();
    second.write_all(b"anybody there?").expect("room");
    assert_eq!(rest(&mut second), b"");
    ask(&mut first, "still here");
    drop(first);
    assert_eq!(server.end(), Ok(()));
    // The place is given up when the connection is closed, a little later.
    let deadline = Instant::now() + SOON;
    loop {
        let mut third = server.connect();
        let _ = third.write_all(b"x");
        if third.read(&mut [0]).is_ok_and(|len| len == 1) {
            return;
        }
        assert!(Instant::now() < deadline, "the place is never free");
    }
}

#[test]
fn silence_ends_a_read() {
    let limits = Limits {
        idle_timeout: SHORT,
        ..Limits::default()
    };
    let server = Running::with(limits, echo);
    let mut peer = server.connect();
    ask(&mut peer, "hello");
    let start = Instant::now();
    assert_eq!(rest(&mut peer), b"");
    assert!(start.elapsed() >= SHORT);
    assert_eq!(server.end(), Err(ErrorKind::TimedOut));
}

#[test]
fn a_message_can_be_given_a_deadline() {
    let server = Running::with(Limits::default(), |stream| {
        stream.set_deadline(Some(Instant::now() + SHORT));
        stream.read_exact(&mut [0; 1000])
    });
    let mut peer = server.connect();
    // It trickles, and never rests for long.
    while peer.write_all(b"x").is_ok() {
        thread::sleep(SHORT / 20);
    }
    assert_eq!(server.end(), Err(ErrorKind::TimedOut));
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let limits = Limits {
        idle_timeout: SHORT,
        ..Limits::default()
    };
    let server = Running::with(limits, |stream| {
        loop {
            stream.write_all(&[0; 16 * 1024])?;
        }
    });
    let peer = server.connect();
    SockRef::from(&peer)
        .set_recv_buffer_size(4096)
        .expect("a size");
    assert_eq!(server.end(), Err(ErrorKind::TimedOut));
}

#[test]
fn a_peer_that_reads_slowly_gets_everything() {
    let limits = Limits {
        idle_timeout: SHORT,
        ..Limits::default()
    };
    const LEN: usize = 8 * 1024 * 1024;
    let server = Running::with(limits, |stream| stream.write_all(&vec![7; LEN]));
    let mut peer = server.connect();
    let (mut octets, mut total) = (vec![0; 1024 * 1024], 0);
    while let Ok(len @ 1..) = peer.read(&mut octets) {
        total += len;
        thread::sleep(SHORT / 10);
    }
    assert_eq!(total, LEN);
    assert_eq!(server.end(), Ok(()));
}

#[test]
fn a_handler_that_panics_ends_its_own_connection_alone() {
    let server = Running::with(Limits::default(), |stream| {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        assert_ne!(octet, *b"!", "as it was told");
        stream.write_all(&octet)?;
        echo(stream)
    });
    let mut other = server.connect();
    ask(&mut other, "a");
    let mut peer = server.connect();
    peer.write_all(b"!").expect("room");
    assert_eq!(rest(&mut peer), b"");
    assert_eq!(server.end(), Err(ErrorKind::Other));
    ask(&mut other, "b");
    ask(&mut server.connect(), "c");
}

#[test]
fn shutdown_ends_what_rests_and_lets_finish_what_does_not() {
    let mut server = Running::with(Limits::default(), |stream| {
        // A message of four octets.
        let mut message = [0; 4];
        loop {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        }
    });
    let (mut at_rest, mut in_flight) = (server.connect(), server.connect());
    ask(&mut at_rest, "full");
    ask(&mut in_flight, "full");
    in_flight.write_all(b"ha").expect("room");
    // What was sent has to arrive before the shutdown: loopback is quick, but it is another thread that reads.
    thread::sleep(SHORT);
    server.shutdown.request();
    assert_eq!(rest(&mut at_rest), b"");
    assert_eq!(server.end(), Err(ErrorKind::ConnectionAborted));
    in_flight.write_all(b"lf").expect("room");
    assert_eq!(rest(&mut in_flight), b"half");
    assert_eq!(server.end(), Err(ErrorKind::ConnectionAborted));
    server.stop();
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    let limits = Limits {
        grace: SHORT,
        ..Limits::default()
    };
    let mut server = Running::with(limits, |stream| stream.read_exact(&mut [0; 4]));
    let mut peer = server.connect();
    peer.write_all(b"ha").expect("room");
    thread::sleep(SHORT);
    let start = Instant::now();
    server.shutdown.request();
    assert_eq!(server.end(), Err(ErrorKind::ConnectionAborted));
    assert!(start.elapsed() >= SHORT);
    drop(peer);
    server.stop();
}

/// Waits for a wake that never comes.
fn wait_in_vain(stream: &mut Stream<'_>) -> io::Result<()> {
    stream.read_exact(&mut [0])?;
    stream.wait_for(&mut WakePipe::new()?)
}

#[test]
fn a_handler_that_waits_for_something_else_learns_that_its_peer_is_gone() {
    let server = Running::with(Limits::default(), wait_in_vain);
    let mut peer = server.connect();
    peer.write_all(b"x").expect("room");
    let start = Instant::now();
    peer.shutdown(Direction::Write).expect("connected");
    assert_eq!(server.end(), Err(ErrorKind::ConnectionAborted));
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "a half-closed peer is given time"
    );

    let mut peer = server.connect();
    // What is unread makes a reset of the end.
    peer.write_all(b"xyz").expect("room");
    thread::sleep(SHORT);
    drop(peer);
    let end = server.end();
    let gone = [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
    assert!(end.is_err_and(|kind| gone.contains(&kind)), "{end:?}");
}

#[test]
fn a_wake_is_taken_while_the_peer_is_there() {
    let server = Running::with(Limits::default(), |stream| {
        let mut wake = WakePipe::new()?;
        let waker = wake.waker();
        thread::spawn(move || waker.wake());
        stream.wait_for(&mut wake)?;
        stream.check()?;
        stream.write_all(b"woken")
    });
    assert_eq!(rest(&mut server.connect()), b"woken");
    assert_eq!(server.end(), Ok(()));
}

#[test]
fn a_handler_that_works_learns_that_its_peer_is_gone() {
    let server = Running::with(Limits::default(), |stream| {
        loop {
            stream.check()?;
            thread::sleep(Duration::from_millis(1));
        }
    });
    drop(server.connect());
    assert_eq!(server.end(), Err(ErrorKind::ConnectionAborted));
}

/// Runs `test` as the peer of a UDP server, who must not wait for ever.
fn datagrams<H: DatagramHandler>(
    limits: Limits,
    factory: impl Fn(SocketAddr) -> H + Sync + Send,
    test: impl FnOnce(&UdpSocket),
) {
    let server = UdpServer::bind("127.0.0.1:0", limits).expect("a port");
    let shutdown = Shutdown::new().expect("descriptors");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a port");
    peer.connect(server.local_addr().expect("its address"))
        .expect("a route");
    peer.set_read_timeout(Some(SOON)).expect("a timeout");
    thread::scope(|scope| {
        let served = scope.spawn(|| server.serve_forever(&shutdown, factory));
        let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&peer)));
        shutdown.request();
        served.join().expect("no panic").expect("no error");
        tested.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn receive(peer: &UdpSocket) -> Vec<u8> {
    let mut datagram = vec![0; 65_536];
    let len = peer.recv(&mut datagram).expect("a datagram");
    datagram.truncate(len);
    datagram
}

#[test]
fn a_datagram_has_at_most_one_answer() {
    let upper = |_| {
        |datagram: &[u8], _: SocketAddr| match datagram {
            b"silence" => None,
            b"panic" => panic!("as it was told"),
            datagram => Some(datagram.to_ascii_uppercase()),
        }
    };
    datagrams(Limits::default(), upper, |peer| {
        let long = vec![b'a'; 65_507];
        for datagram in [
            b"hello".as_slice(),
            b"silence",
            b"panic",
            b"",
            &long,
            b"end",
        ] {
            peer.send(datagram).expect("sent");
            if !matches!(datagram, b"silence" | b"panic") {
                assert_eq!(receive(peer), datagram.to_ascii_uppercase());
            }
        }
    });
}

#[test]
fn with_one_place_datagrams_are_handled_one_after_the_other() {
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let slowly = |_| {
        |datagram: &[u8], _: SocketAddr| {
            // The later ones are quicker, and would overtake.
            thread::sleep(Duration::from_millis(u64::from(20 - 2 * datagram[0])));
            Some(datagram.to_vec())
        }
    };
    datagrams(limits, slowly, |peer| {
        for number in 0..10 {
            peer.send(&[number]).expect("sent");
        }
        for number in 0..10 {
            assert_eq!(receive(peer), [number]);
        }
    });
}

#[test]
fn one_slow_datagram_does_not_hold_up_the_others() {
    let quick_is_here = AtomicBool::new(false);
    let handler = |_| {
        |datagram: &[u8], _: SocketAddr| {
            let deadline = Instant::now() + SOON;
            quick_is_here.fetch_or(datagram == b"quick", Ordering::SeqCst);
            while !quick_is_here.load(Ordering::SeqCst) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            Some(datagram.to_vec())
        }
    };
    datagrams(Limits::default(), handler, |peer| {
        peer.send(b"slow").expect("sent");
        peer.send(b"quick").expect("sent");
        let mut replies = [receive(peer), receive(peer)];
        replies.sort();
        assert_eq!(replies, [b"quick".to_vec(), b"slow".to_vec()]);
    });
    assert!(quick_is_here.into_inner());
}

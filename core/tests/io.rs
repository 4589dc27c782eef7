//! Frames over byte streams: an in-memory pipe, a pseudo-terminal in a UART's place, a TCP socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use proptest::prelude::*;
use unstick_core::io::blocking::{self, serve};
use unstick_core::io::{Error, nonblocking};
use unstick_core::services::Echo;
use unstick_core::{
    Code, Connection, DecodeError, EncodeError, Event, Fault, Refusal, Reply, Request, Wants,
};

const CASES: u32 = if cfg!(miri) { 4 } else { 128 };

/// One direction of an in-memory pipe: `room` octets of buffer, and every now and then an interruption.
struct Pipe {
    octets: VecDeque<u8>,
    room: usize,
    closed: bool,
    calls: u32,
    interrupt_every: u32,
}

#[derive(Clone)]
struct End {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
}

fn pipe(room: usize, interrupt_every: u32) -> (End, End) {
    let pipe = || {
        Rc::new(RefCell::new(Pipe {
            octets: VecDeque::new(),
            room,
            closed: false,
            calls: 0,
            interrupt_every,
        }))
    };
    let (there, back) = (pipe(), pipe());
    let near = End {
        incoming: back.clone(),
        outgoing: there.clone(),
    };
    let far = End {
        incoming: there,
        outgoing: back,
    };
    (near, far)
}

impl Pipe {
    fn interrupted(&mut self) -> Result<(), ErrorKind> {
        self.calls += 1;
        match self.interrupt_every {
            0 => Ok(()),
            n if self.calls.is_multiple_of(n) => Err(ErrorKind::Interrupted),
            _ => Ok(()),
        }
    }
}

impl ErrorType for End {
    type Error = ErrorKind;
}

impl Read for End {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut pipe = self.incoming.borrow_mut();
        pipe.interrupted()?;
        assert!(
            pipe.closed || !pipe.octets.is_empty(),
            "read without being ready"
        );
        let len = out.len().min(pipe.octets.len());
        for octet in &mut out[..len] {
            *octet = pipe.octets.pop_front().unwrap();
        }
        Ok(len)
    }
}

impl ReadReady for End {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        let pipe = self.incoming.borrow();
        Ok(pipe.closed || !pipe.octets.is_empty())
    }
}

impl Write for End {
    fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
        let mut pipe = self.outgoing.borrow_mut();
        pipe.interrupted()?;
        if pipe.closed {
            return Err(ErrorKind::BrokenPipe);
        }
        let len = octets.len().min(pipe.room - pipe.octets.len());
        assert!(len > 0, "written without being ready");
        pipe.octets.extend(&octets[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl WriteReady for End {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        let pipe = self.outgoing.borrow();
        Ok(pipe.closed || pipe.octets.len() < pipe.room)
    }
}

fn would_block<T, E>(result: nb::Result<T, E>) -> Result<Option<T>, E> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(nb::Error::WouldBlock) => Ok(None),
        Err(nb::Error::Other(error)) => Err(error),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// The nb twins on both ends of a pipe, a step of each at a time: every echo comes back, in order.
    #[test]
    fn nonblocking_ends_talk_over_any_pipe(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        room in 1_usize..200,
        interrupt_every in prop_oneof![Just(0_u32), 2_u32..7],
        by_events in any::<bool>(),
    ) {
        let (near, far) = pipe(room, interrupt_every);
        let mut writer = nonblocking::FrameWriter::<_, 64>::new(near.clone());
        let mut reader = nonblocking::FrameReader::<_, Reply, 128, 16>::new(near.clone());
        let mut server = nonblocking::Server::<_, _, 128, 8, 96>::new(far, Connection::new(Echo::<7>::new()));
        let mut cx = Context::from_waker(Waker::noop());

        let (mut begun, mut sent, mut flushed) = (0, 0, false);
        let (mut ids, mut received) = (Vec::new(), vec![Vec::new(); bodies.len()]);
        for step in 0.. {
            prop_assert!(step < 100_000, "no end in sight");
            // The client writes: begin, body, and at last flush and close.
            if begun == bodies.len() && sent == bodies[begun - 1].len() {
                if !flushed && would_block(writer.flush()).unwrap().is_some() {
                    flushed = true;
                    near.outgoing.borrow_mut().closed = true;
                }
            } else if begun == 0 || sent == bodies[begun - 1].len() {
                let mut request = Request::new("echo", bodies[begun].len() as u64);
                request.id = Some(begun as u32);
                if would_block(writer.begin(&request)).unwrap().is_some() {
                    (begun, sent) = (begun + 1, 0);
                }
            } else if let Some(octets) = would_block(writer.write_body(&bodies[begun - 1][sent..])).unwrap() {
                sent += octets;
            }
            // The server does what it does.
            let _ = would_block(server.poll(&mut cx)).unwrap();
            if server.is_closed() {
                near.incoming.borrow_mut().closed = true;
            }
            // The client reads.
            if reader.body_left() > 0 && !by_events {
                let mut out = [0; 5];
                if let Some(octets) = would_block(reader.read_body(&mut out)).unwrap() {
                    received[ids.len() - 1].extend_from_slice(&out[..octets]);
                }
                continue;
            }
            match would_block(reader.poll()).unwrap() {
                Some(Some(Event::Header(reply))) => ids.push(reply.id.unwrap()),
                Some(Some(Event::Body(octets))) => received[ids.len() - 1].extend_from_slice(octets),
                Some(Some(Event::End)) | None => {}
                Some(None) => break,
            }
        }
        prop_assert_eq!(ids, (0..bodies.len() as u32).collect::<Vec<_>>());
        prop_assert_eq!(received, bodies);
    }

    /// What the blocking writer writes the blocking reader reads, however much of each body is looked at.
    #[test]
    fn blocking_reader_reads_what_the_writer_wrote(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        looked_at in prop::collection::vec(0_usize..400, 6),
        interrupt_every in prop_oneof![Just(0_u32), 2_u32..7],
    ) {
        let (near, far) = pipe(usize::MAX, interrupt_every);
        let mut writer = blocking::FrameWriter::<_, 64>::new(near);
        for body in &bodies {
            writer.write_frame(&Request::new("echo", body.len() as u64), body).unwrap();
        }
        writer.sink_mut().outgoing.borrow_mut().closed = true;
        let mut reader = blocking::FrameReader::<_, Request, 128, 16>::new(far);
        for (body, looked_at) in bodies.iter().zip(looked_at) {
            let mut frame = reader.next_frame().unwrap().unwrap();
            prop_assert_eq!(frame.header.total_size, body.len() as u64);
            prop_assert_eq!(frame.body.left(), body.len() as u64);
            let mut read = Vec::new();
            let mut out = [0; 11];
            while read.len() < looked_at {
                let octets = frame.body.read(&mut out).unwrap();
                if octets == 0 {
                    prop_assert_eq!(&read, body);
                    break;
                }
                read.extend_from_slice(&out[..octets]);
            }
            prop_assert!(body.starts_with(&read));
        }
        prop_assert!(reader.next_frame().unwrap().is_none());
    }
}

/// A stream that reads from a slice and writes to a vector, in which something goes wrong.
struct Broken<'a> {
    input: &'a [u8],
    output: Vec<u8>,
    on_read: Option<ErrorKind>,
    /// What a write does once `output` is this long: take nothing, or fail.
    full_at: usize,
    on_full: Option<ErrorKind>,
}

impl<'a> Broken<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            output: Vec::new(),
            on_read: None,
            full_at: usize::MAX,
            on_full: None,
        }
    }
}

impl ErrorType for Broken<'_> {
    type Error = ErrorKind;
}

impl Read for Broken<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        match self.on_read {
            Some(error) if self.input.is_empty() => Err(error),
            _ => Ok(self.input.read(out).unwrap()),
        }
    }
}

impl Write for Broken<'_> {
    fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
        let len = octets.len().min(self.full_at - self.output.len());
        if let (0, Some(error)) = (len, self.on_full) {
            return Err(error);
        }
        self.output.extend_from_slice(&octets[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

const ECHO: &[u8] = b"\x1c\0\0\0{\"op\":\"echo\",\"total_size\":5}hello";

fn served(stream: &mut Broken<'_>) -> Result<(), Error<ErrorKind>> {
    struct Borrowed<'a, 'b>(&'a mut Broken<'b>);
    impl ErrorType for Borrowed<'_, '_> {
        type Error = ErrorKind;
    }
    impl Read for Borrowed<'_, '_> {
        fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
            self.0.read(out)
        }
    }
    impl Write for Borrowed<'_, '_> {
        fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
            self.0.write(octets)
        }
        fn flush(&mut self) -> Result<(), ErrorKind> {
            self.0.flush()
        }
    }
    let connection = Connection::<_, 128>::new(Echo::<16>::new());
    serve::<_, _, 128, 16, 128>(Borrowed(stream), connection, || {
        panic!("an echo never waits")
    })
}

#[test]
fn serve_answers_and_ends_with_its_stream() {
    let mut stream = Broken::new(ECHO);
    assert_eq!(served(&mut stream), Ok(()));
    assert_eq!(stream.output, b"\x10\0\0\0{\"total_size\":5}hello");
}

#[test]
fn serve_sends_the_error_frame_before_it_reports_the_fault() {
    let mut stream = Broken::new(b"\0\0\0\0 and more");
    let error = served(&mut stream).unwrap_err();
    assert_eq!(
        error,
        Error::Connection(Fault::Peer(DecodeError::PrefixNotPositive(0)))
    );
    let mut reader = blocking::FrameReader::<_, Reply, 256, 64>::new(&stream.output[..]);
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(frame.header.error, Some(Code::BadHeader));
    assert!(reader.next_frame().unwrap().is_none());
}

#[test]
fn a_stream_that_fails_is_reported_as_it_failed() {
    let mut stream = Broken::new(ECHO);
    stream.on_read = Some(ErrorKind::ConnectionReset);
    assert_eq!(
        served(&mut stream),
        Err(Error::Transport(ErrorKind::ConnectionReset))
    );

    let mut stream = Broken::new(ECHO);
    stream.full_at = 3;
    assert_eq!(
        served(&mut stream),
        Err(Error::WriteZero),
        "embedded-io's own write_all panics here"
    );

    let mut stream = Broken::new(ECHO);
    (stream.full_at, stream.on_full) = (3, Some(ErrorKind::BrokenPipe));
    assert_eq!(
        served(&mut stream),
        Err(Error::Transport(ErrorKind::BrokenPipe))
    );
}

#[test]
fn serve_waits_for_a_service_that_waits() {
    /// Answers when it has been waited for three times.
    struct Slow<'a>(&'a std::cell::Cell<u32>);
    impl unstick_core::Service for Slow<'_> {
        fn begin(&mut self, _: &Request) -> Result<(), Refusal> {
            Ok(())
        }
        fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
            Ok(octets.len())
        }
        fn end(&mut self) -> Result<(), Refusal> {
            Ok(())
        }
        fn reply(&mut self, _: &mut Context<'_>) -> std::task::Poll<Result<Reply, Refusal>> {
            match self.0.get() {
                3 => std::task::Poll::Ready(Ok(Reply::new(0))),
                _ => std::task::Poll::Pending,
            }
        }
        fn fill(
            &mut self,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> std::task::Poll<Result<usize, Refusal>> {
            unreachable!("the reply has no body")
        }
    }
    let waits = std::cell::Cell::new(0);
    let stream = Broken::new(b"\x10\0\0\0{\"total_size\":0}");
    let connection = Connection::<_, 128>::new(Slow(&waits));
    serve::<_, _, 128, 16, 128>(stream, connection, || waits.set(waits.get() + 1)).unwrap();
    assert_eq!(waits.get(), 3);
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_the_peers_fault() {
    let truncated = Some(Error::Peer(DecodeError::Truncated));
    for len in 1..ECHO.len() {
        let mut reader =
            blocking::FrameReader::<_, Request, 128, 16>::new(Broken::new(&ECHO[..len]));
        let error = match reader.next_frame() {
            Ok(Some(mut frame)) => {
                let mut body = Vec::new();
                loop {
                    let mut out = [0; 2];
                    match frame.body.read(&mut out) {
                        Ok(octets) => body.extend_from_slice(&out[..octets]),
                        Err(error) => break Some(error),
                    }
                }
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        assert_eq!(error, truncated, "{len} octets");
        assert_eq!(reader.source_mut().input.len(), 0);
        assert_eq!(
            reader.next_frame().err(),
            truncated,
            "also when asked for the next"
        );
    }
    let mut reader = blocking::FrameReader::<_, Request, 128, 16>::new(&b"\xff\xff\xff\xff"[..]);
    let error = reader.next_frame().err();
    assert_eq!(
        error.unwrap().to_string(),
        "the prefix is -1: a header's length is at least 1"
    );
}

#[test]
fn a_body_is_as_long_as_its_header_says() {
    let mut writer = blocking::FrameWriter::<_, 64>::new(Broken::new(b""));
    let request = Request::new("echo", 3);
    assert_eq!(
        writer.write_frame(&request, b"four"),
        Err(Error::BodyLength)
    );
    writer.begin(&request).unwrap();
    assert_eq!(writer.write(b"four"), Err(Error::BodyLength));
    assert_eq!(writer.write(b"tw"), Ok(2));
    assert_eq!(writer.begin(&request), Err(Error::BodyLength));
    assert_eq!(writer.write(b""), Ok(0));
    assert_eq!(writer.write(b"o"), Ok(1));
    writer.flush().unwrap();
    assert!(writer.sink_mut().output.ends_with(b"}two"));
    let mut small = blocking::FrameWriter::<_, 16>::new(Broken::new(b""));
    assert_eq!(
        small.begin(&request),
        Err(Error::Encode(EncodeError::BufferTooSmall))
    );
}

#[test]
fn errors_tell_whose_fault_it_is() {
    use embedded_io::Error as _;
    let errors = [
        (
            Error::Transport(ErrorKind::TimedOut),
            ErrorKind::TimedOut,
            "TimedOut",
        ),
        (
            Error::WriteZero,
            ErrorKind::WriteZero,
            "the stream takes no more octets",
        ),
        (
            Error::Peer(DecodeError::Truncated),
            ErrorKind::InvalidData,
            "the stream ended inside a frame",
        ),
        (
            Error::Connection(Fault::ReplyCut),
            ErrorKind::InvalidData,
            "the service broke off inside a reply",
        ),
        (
            Error::Encode(EncodeError::BufferTooSmall),
            ErrorKind::InvalidInput,
            "the buffer is too small for the frame's prefix and header",
        ),
        (
            Error::BodyLength,
            ErrorKind::InvalidInput,
            "the body is not as long as its header says",
        ),
    ];
    for (error, kind, text) in errors {
        assert_eq!(error.kind(), kind);
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn the_connection_of_a_server_can_be_reached() {
    let (near, far) = pipe(64, 0);
    let mut server =
        nonblocking::Server::<_, _, 128, 8, 256>::new(far, Connection::new(Echo::<7>::new()));
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(server.poll(&mut cx), Err(nb::Error::WouldBlock));
    server.connection_mut().abort(Refusal::busy("later", 5));
    while !server.is_closed() {
        let _ = would_block(server.poll(&mut cx)).unwrap();
        near.incoming.borrow_mut().octets.clear();
    }
    assert_eq!(server.connection_mut().wants(), Wants::Close);
    let fault = Error::Connection(Fault::Aborted(Code::Busy));
    assert_eq!(server.poll(&mut cx), Err(nb::Error::Other(fault)));
}

/// What needs an operating system.
#[cfg(not(miri))]
mod on_the_desktop {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::thread;

    use embedded_io_adapters::std::FromStd;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

    use super::*;

    /// A descriptor that says whether it is ready.
    struct Ready<T>(FromStd<T>);

    impl<T> ErrorType for Ready<T> {
        type Error = std::io::Error;
    }

    fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> Result<bool, std::io::Error> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        Ok(poll(&mut [PollFd::from_borrowed_fd(fd, events)], Some(&now))? > 0)
    }

    impl<T: std::io::Read> Read for Ready<T> {
        fn read(&mut self, out: &mut [u8]) -> Result<usize, std::io::Error> {
            self.0.read(out)
        }
    }

    impl<T: std::io::Read + AsFd> ReadReady for Ready<T> {
        fn read_ready(&mut self) -> Result<bool, std::io::Error> {
            is_ready(self.0.inner().as_fd(), PollFlags::IN)
        }
    }

    impl<T: std::io::Write> Write for Ready<T> {
        fn write(&mut self, octets: &[u8]) -> Result<usize, std::io::Error> {
            self.0.write(octets)
        }
        fn flush(&mut self) -> Result<(), std::io::Error> {
            self.0.flush()
        }
    }

    impl<T: std::io::Write + AsFd> WriteReady for Ready<T> {
        fn write_ready(&mut self) -> Result<bool, std::io::Error> {
            is_ready(self.0.inner().as_fd(), PollFlags::OUT)
        }
    }

    /// Both ends of a pseudo-terminal in raw mode: octets pass as over a UART.
    fn uart() -> (File, File) {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&near).unwrap();
        unlockpt(&near).unwrap();
        let name = ptsname(&near, Vec::new()).unwrap();
        let far = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let mut settings = tcgetattr(&far).unwrap();
        settings.make_raw();
        tcsetattr(&far, OptionalActions::Now, &settings).unwrap();
        (File::from(near), far)
    }

    /// Asks for a hundred echoes of all octet values, one after the other.
    fn ask(reads: impl std::io::Read, writes: impl std::io::Write) {
        let mut writer = blocking::FrameWriter::<_, 512>::new(FromStd::new(writes));
        let mut reader = blocking::FrameReader::<_, Reply, 128, 64>::new(FromStd::new(reads));
        let body: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for id in 0..100 {
            let mut request = Request::new("echo", body.len() as u64);
            request.id = Some(id);
            writer.write_frame(&request, &body).unwrap();
            let mut frame = reader.next_frame().unwrap().unwrap();
            assert_eq!(frame.header.id, Some(id));
            let mut echo = vec![0; body.len()];
            frame.body.read_exact(&mut echo).unwrap();
            assert_eq!(echo, body);
        }
    }

    fn connection() -> Connection<Echo<64>, 128> {
        Connection::new(Echo::new())
    }

    /// The nb server, polled in a loop as on a board, until its stream ends.
    fn poll_to_the_end<T>(stream: T)
    where
        T: Read + ReadReady + Write + WriteReady,
    {
        let mut server = nonblocking::Server::<_, _, 128, 64, 128>::new(stream, connection());
        let mut cx = Context::from_waker(Waker::noop());
        while !server.is_closed() {
            match server.poll(&mut cx) {
                Ok(()) => {}
                Err(nb::Error::WouldBlock) => thread::yield_now(),
                // What a pseudo-terminal does when its other end is closed.
                Err(nb::Error::Other(Error::Transport(_))) => return,
                Err(nb::Error::Other(error)) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn serve_over_a_uart() {
        let (near, far) = uart();
        let server = thread::spawn(move || {
            serve::<_, _, 128, 64, 128>(FromStd::new(far), connection(), thread::yield_now)
        });
        ask(&near, &near);
        drop(near);
        // A pseudo-terminal whose other end is closed fails to be read instead of ending.
        let _ = server.join().unwrap();
    }

    #[test]
    fn poll_over_a_uart() {
        let (near, far) = uart();
        let server = thread::spawn(move || poll_to_the_end(Ready(FromStd::new(far))));
        ask(&near, &near);
        drop(near);
        server.join().unwrap();
    }

    #[test]
    fn serve_and_poll_over_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            serve::<_, _, 128, 64, 128>(FromStd::new(stream), connection(), thread::yield_now)
                .unwrap();
            let (stream, _) = listener.accept().unwrap();
            poll_to_the_end(Ready(FromStd::new(stream)));
        });
        for _ in 0..2 {
            let stream = TcpStream::connect(addr).unwrap();
            ask(&stream, &stream);
        }
        server.join().unwrap();
    }
}

//! A client over TCP: exact, and bounded in time.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, bail, ensure};
use serde_json::{Value, json};
use socket2::SockRef;

use crate::frame::{self, Frame, Octets, request};
use crate::target::Target;

/// The server has no place for the connection, and says so. [`Target::patiently`] tries again.
#[derive(Debug)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server is busy")
    }
}

impl std::error::Error for Busy {}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    patience: Duration,
}

impl Peer {
    /// Connects.
    pub fn connect(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&target.tcp, target.patience)
            .with_context(|| format!("{} does not accept", target.tcp))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(target.patience))?;
        Ok(Self {
            stream,
            patience: target.patience,
        })
    }

    /// Another handle, to send with from another thread.
    pub fn handle(&self) -> Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone()?,
            patience: self.patience,
        })
    }

    /// The same with so much patience.
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sends all of it.
    pub fn send(&mut self, octets: &[u8]) -> Result<()> {
        let sent = self.stream.write_all(octets);
        sent.with_context(|| format!("not sent: {}", Octets(octets)))
    }

    /// Sends what the server takes: it may close at any moment.
    pub fn offer(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    /// Sends each piece by itself while `read` reads.
    pub fn exchange<T>(
        &mut self,
        pieces: &[&[u8]],
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let mut sender = self.handle()?;
        thread::scope(|scope| {
            let sent = scope.spawn(move || pieces.iter().try_for_each(|piece| sender.send(piece)));
            let result = read(self);
            if result.is_err() {
                // Nobody reads any more: the sender would wait for room.
                self.close();
            }
            let sent = sent.join().map_err(|_| Error::msg("the sender panicked"))?;
            result.and_then(|value| sent.map(|()| value))
        })
    }

    /// Reads up to a buffer's length; 0 at the end of the stream.
    fn some(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "nothing came within {:?}", self.patience);
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(buffer) {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                read => return Ok(read?),
            }
        }
    }

    /// Reads exactly so many octets.
    pub fn exactly(&mut self, len: usize) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.patience;
        let mut octets = vec![0; len];
        let mut filled = 0;
        while filled < len {
            let read = self.some(&mut octets[filled..], deadline);
            let read = read.with_context(|| at(&octets[..filled], len))?;
            ensure!(read > 0, "the stream ended {}", at(&octets[..filled], len));
            filled += read;
        }
        Ok(octets)
    }

    /// Reads one frame, whatever it says.
    pub fn frame(&mut self) -> Result<Frame> {
        let prefix = self.exactly(4).context("in a prefix")?;
        let len = frame::header_len([prefix[0], prefix[1], prefix[2], prefix[3]])?;
        let header = frame::header(&self.exactly(len).context("in a header")?)?;
        let len = frame::body_len(&header)?;
        let body = self.exactly(len);
        let body = body.with_context(|| format!("in the body of {header:?}"))?;
        Ok(Frame { header, body })
    }

    /// Reads one frame of a connection that is served.
    pub fn answer(&mut self) -> Result<Frame> {
        let frame = self.frame()?;
        if frame.error() == Some("busy") {
            return Err(Busy.into());
        }
        Ok(frame)
    }

    /// Reads the end of the stream.
    pub fn end(&mut self) -> Result<()> {
        let rest = self.rest()?;
        ensure!(
            rest.is_empty(),
            "the end was expected, not {}",
            Octets(&rest)
        );
        Ok(())
    }

    /// Reads what there is up to the end of the stream.
    pub fn rest(&mut self) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.patience;
        let mut rest = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = self.some(&mut buffer, deadline);
            match read.with_context(|| format!("the end was expected behind {}", Octets(&rest)))? {
                0 => return Ok(rest),
                read => rest.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Sends a request and reads its reply, of one frame.
    pub fn ask(&mut self, header: &Value, body: &[u8]) -> Result<Frame> {
        self.send(&request(header, body))?;
        let frame = self.answer();
        let frame = frame.with_context(|| format!("asked {header} {}", Octets(body)))?;
        ensure!(
            frame.id() == header.get("id").and_then(Value::as_u64) && !frame.more(),
            "asked {header}: {frame:?}"
        );
        Ok(frame)
    }

    /// Sends an `echo`, and sees its body come back.
    pub fn echo(&mut self, body: &[u8]) -> Result<()> {
        let id = crate::datagrams::next_id();
        let frame = self.ask(&json!({"op": "echo", "id": id}), body)?;
        ensure!(
            frame.error().is_none() && frame.body == body,
            "the echo of {} is {frame:?}",
            Octets(body)
        );
        Ok(())
    }

    /// Reads an error frame.
    pub fn error(&mut self, code: &str, id: Option<u64>) -> Result<()> {
        let frame = self.answer()?;
        if frame.error() == Some(code) && frame.id() == id && frame.body.is_empty() {
            return Ok(());
        }
        bail!("`{code}` with the id {id:?} was expected, not {frame:?}")
    }

    /// Ends the sending side.
    pub fn half_close(&self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Ends both directions, for all handles.
    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Breaks the connection: the server sees a reset.
    pub fn reset(self) -> Result<()> {
        self.set_reset()
    }

    /// Closing the last handle will break the connection.
    pub fn set_reset(&self) -> Result<()> {
        Ok(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?)
    }
}

fn at(octets: &[u8], len: usize) -> String {
    format!("{} octets of {len}: {}", octets.len(), Octets(octets))
}

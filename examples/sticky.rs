//! What TCP makes of messages, on real sockets: `cargo run --example sticky`.
//!
//! One will see two sends arrive stuck together, one send arrive in pieces, and what a read returns when octets are left,
//! when none are, and after the peer has closed. Then the same two messages in frames, which none of this harms.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use unstick_core::{Decoder, Event, Reply, encode};

/// The two ends of a new connection.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let sender = TcpStream::connect(listener.local_addr()?)?;
    let (reader, _) = listener.accept()?;
    // Every send leaves at once: what sticks together below does so in spite of it.
    sender.set_nodelay(true)?;
    Ok((sender, reader))
}

fn send(mut sender: &TcpStream, text: &str) -> io::Result<()> {
    println!("  send {text:?}");
    sender.write_all(text.as_bytes())
}

/// Reads once, into `room` octets.
fn recv(mut reader: &TcpStream, room: usize) -> io::Result<()> {
    let mut octets = vec![0; room];
    match reader.read(&mut octets) {
        Ok(0) => println!("  recv({room}) returns 0"),
        Ok(len) => {
            let text = String::from_utf8_lossy(&octets[..len]);
            println!("  recv({room}) returns {len}: {text:?}");
        }
        // On Unix a read whose time is up says the same as one that does not wait.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            println!("  recv({room}) fails: would block");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Returns once `len` octets wait to be read: the reader has been busy with something else.
fn arrive(reader: &TcpStream, len: usize) -> io::Result<()> {
    while reader.peek(&mut vec![0; len])? < len {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn frame(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut frame = vec![0; 64];
    // The prefix and the header `{"total_size":…}`; then the body.
    let head_len = encode(&Reply::new(text.len() as u64), &mut frame)?;
    frame.truncate(head_len);
    frame.extend_from_slice(text.as_bytes());
    Ok(frame)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("Stuck together: two sends, one recv.");
    let (sender, reader) = connection()?;
    send(&sender, "hello")?;
    send(&sender, "world")?;
    arrive(&reader, 10)?;
    recv(&reader, 1024)?;

    println!("\nIn pieces: one send, three recvs, here because they have little room.");
    send(&sender, "hello world")?;
    arrive(&reader, 11)?;
    for _ in 0..3 {
        recv(&reader, 4)?;
    }

    println!("\nAnd of 8 MiB in one send, to recvs with room for all of it:");
    let long = vec![0; 8 << 20];
    let mut room = vec![0; long.len()];
    thread::scope(|scope| {
        scope.spawn(|| (&sender).write_all(&long));
        let (mut arrived, mut recvs, mut longest) = (0, 0, 0);
        while arrived < long.len() {
            let len = (&reader).read(&mut room)?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (arrived, recvs, longest) = (arrived + len, recvs + 1, longest.max(len));
        }
        println!("  {recvs} recvs, the longest of {longest} octets");
        Ok::<(), io::Error>(())
    })?;

    println!("\nNothing left, and the peer is there: recv waits, unless it is told otherwise.");
    println!("  set_nonblocking(true)");
    reader.set_nonblocking(true)?;
    recv(&reader, 1024)?;
    reader.set_nonblocking(false)?;
    println!("  set_read_timeout(50 ms)");
    reader.set_read_timeout(Some(Duration::from_millis(50)))?;
    recv(&reader, 1024)?;
    reader.set_read_timeout(None)?;

    println!("\nThe peer has closed: what it had sent is still there, then 0: the end.");
    send(&sender, "bye")?;
    drop(sender);
    for _ in 0..3 {
        recv(&reader, 1024)?;
    }

    println!("\nIn frames: the same two messages, in whatever pieces they are read.");
    for text in ["hello", "world"] {
        println!("  {}", frame(text)?.escape_ascii());
    }
    for room in [1, 4, 1024] {
        let (mut sender, mut reader) = connection()?;
        let frames = [frame("hello")?, frame("world")?].concat();
        sender.write_all(&frames)?;
        drop(sender);
        arrive(&reader, frames.len())?;

        let mut decoder = Decoder::<Reply, 64>::new();
        let (mut piece, mut recvs) = (vec![0; room], 0);
        let (mut message, mut messages) = (Vec::new(), Vec::new());
        loop {
            let len = reader.read(&mut piece)?;
            if len == 0 {
                break;
            }
            recvs += 1;
            let mut input = &piece[..len];
            while let Some(event) = decoder.decode(&mut input)? {
                match event {
                    Event::Header(_) => {}
                    Event::Body(octets) => message.extend_from_slice(octets),
                    Event::End => messages.push(String::from_utf8(std::mem::take(&mut message))?),
                }
            }
        }
        // An end inside a frame would be an error.
        decoder.finish()?;
        println!("  recv({room}), as often as it takes: {recvs}; messages {messages:?}");
    }
    Ok(())
}

//! Messages behind nothing but their length, for protocols that have no header: `cargo run --example length`.
//!
//! One will see the same messages in two formats, the octets of each prefix, and a length that is not allowed refused
//! before there is memory for it.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use unstick_core::Event;
use unstick_core::length::{Counts, Decoder, Endian, Format, Width};

/// The two ends of a new connection.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let sender = TcpStream::connect(listener.local_addr()?)?;
    Ok((sender, listener.accept()?.0))
}

fn send(mut stream: &TcpStream, format: Format, message: &str) -> Result<(), Box<dyn Error>> {
    let mut frame = vec![0; format.prefix_len()];
    format.encode(message.len() as u64, &mut frame)?;
    println!("  sent     {frame:02x?} {message:?}");
    frame.extend_from_slice(message.as_bytes());
    stream.write_all(&frame)?;
    Ok(())
}

/// Reads until the peer has closed.
fn receive(mut stream: TcpStream, format: Format) -> Result<(), Box<dyn Error>> {
    let mut decoder = Decoder::new(format);
    let mut message = Vec::new();
    // So few octets that prefixes and bodies are cut.
    let mut piece = [0; 3];
    loop {
        let len = stream.read(&mut piece)?;
        if len == 0 {
            // Between two messages is a good place to end; anywhere else is an error.
            return Ok(decoder.finish()?);
        }
        let mut input = &piece[..len];
        while let Some(event) = decoder.decode(&mut input)? {
            match event {
                Event::Header(_len) => message.clear(),
                Event::Body(octets) => message.extend_from_slice(octets),
                Event::End => println!("  received {:?}", String::from_utf8_lossy(&message)),
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let network = Format::new(Width::U16, Endian::Big, Counts::Body).with_max_len(1000)?;
    let inclusive = Format::new(Width::U32, Endian::Little, Counts::Frame);
    for (name, format) in [
        ("2 octets, big endian, at most 1000 octets of body", network),
        ("4 octets, little endian, which count themselves", inclusive),
    ] {
        println!("{name}:");
        let (sender, receiver) = connection()?;
        for message in ["hello", "", "世界"] {
            send(&sender, format, message)?;
        }
        drop(sender);
        receive(receiver, format)?;
        println!();
    }

    println!("A peer that announces 65535 octets where 1000 are allowed:");
    let (mut sender, receiver) = connection()?;
    sender.write_all(&[0xff, 0xff])?;
    match receive(receiver, network) {
        Err(error) => println!("  refused: {error}"),
        Ok(()) => return Err("it was taken".into()),
    }
    Ok(())
}

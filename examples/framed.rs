//! Frames with a header of one's own, without a server: `cargo run --example framed`.
//!
//! One will see two frames go out in one send, and come in again whole however little is read at a time. A frame is a
//! prefix, a JSON header and a body; the header is any type that says how long the body is.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde::{Deserialize, Serialize};
use unstick_core::{Decoder, EncodeError, Event, Header, HeaderError, encode, json};

/// What a sensor says of the samples that follow.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Samples {
    total_size: u64,
    sensor: heapless::String<16>,
    hertz: u32,
}

impl Header for Samples {
    fn body_len(&self) -> u64 {
        self.total_size
    }
    fn decode(text: &mut [u8], scratch: &mut [u8]) -> Result<Self, HeaderError> {
        json::decode(text, scratch)
    }
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        json::encode(self, out)
    }
}

/// Both frames, one behind the other.
fn frames() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut frames = Vec::new();
    for (sensor, body) in [("温度", &[21, 22, 22][..]), ("noise 🔊", &[3, 1, 4, 1, 5])] {
        let samples = Samples {
            total_size: body.len() as u64,
            sensor: heapless::String::try_from(sensor)?,
            hertz: 10,
        };
        let mut head = [0; 128];
        let len = encode(&samples, &mut head)?;
        println!("  prefix {:02x?}", &head[..4]);
        println!("  header {}", str::from_utf8(&head[4..len])?);
        println!("  body   {body:?}");
        frames.extend_from_slice(&head[..len]);
        frames.extend_from_slice(body);
    }
    Ok(frames)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("two frames:");
    let frames = frames()?;
    println!("{} octets, sent at once", frames.len());

    let listener = TcpListener::bind("127.0.0.1:0")?;
    for piece_len in [1, 7, 4096] {
        let mut sender = TcpStream::connect(listener.local_addr()?)?;
        sender.write_all(&frames)?;
        drop(sender);

        println!("\nread at most {piece_len} at a time:");
        let (mut stream, _) = listener.accept()?;
        // It holds one header, never a body, so that a body may be longer than memory.
        let mut decoder = Decoder::<Samples, 128>::new();
        let mut body = Vec::new();
        let mut piece = vec![0; piece_len];
        loop {
            let len = stream.read(&mut piece)?;
            if len == 0 {
                break;
            }
            let mut input = &piece[..len];
            while let Some(event) = decoder.decode(&mut input)? {
                match event {
                    Event::Header(samples) => println!("  {samples:?}"),
                    Event::Body(octets) => body.extend_from_slice(octets),
                    Event::End => println!("  {:?}", std::mem::take(&mut body)),
                }
            }
        }
        decoder.finish()?;
    }
    Ok(())
}

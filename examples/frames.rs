//! Frames without a server, with a header of one's own: `cargo run --example frames`.
//!
//! Two frames go into one stream of octets; they come out again however that stream is cut.

use std::error::Error;

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

fn main() -> Result<(), Box<dyn Error>> {
    let mut stream = Vec::new();
    for (sensor, body) in [("温度", &[21, 22, 22][..]), ("noise 🔊", &[3, 1, 4, 1, 5])] {
        let samples = Samples {
            total_size: body.len() as u64,
            sensor: heapless::String::try_from(sensor)?,
            hertz: 10,
        };
        let mut head = [0; 128];
        let len = encode(&samples, &mut head)?;
        stream.extend_from_slice(&head[..len]);
        stream.extend_from_slice(body);
    }
    println!("{} octets, two frames stuck together", stream.len());

    for piece_len in [1, 7, stream.len()] {
        println!("\nin pieces of {piece_len}:");
        let mut decoder = Decoder::<Samples, 128>::new();
        let mut body = Vec::new();
        for mut piece in stream.chunks(piece_len) {
            while let Some(event) = decoder.decode(&mut piece)? {
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

//! A chat in frames, as `unstick chat` speaks it: `cargo run --example chat`.
//!
//! One will see an operator and two guests, one after the other. Either side speaks when it likes, and nothing is a reply. A `q`
//! alone says goodbye; an empty message says nothing; whose connection ends without a `q` has vanished.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use unstick_core::{Decoder, Event, Request, encode};

/// One end of a connection.
struct Side {
    stream: TcpStream,
    decoder: Decoder<Request, 256>,
    /// What has arrived and is not decoded yet: the next message may come along with one.
    arrived: Vec<u8>,
}

impl Side {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            decoder: Decoder::new(),
            arrived: Vec::new(),
        }
    }

    /// The header has an `op`, which tells who listens that this is a chat.
    fn say(&mut self, text: &str) -> Result<(), Box<dyn Error>> {
        let mut head = [0; 64];
        let len = encode(&Request::new("chat", text.len() as u64), &mut head)?;
        // In one write: nobody is to see half a message for long.
        let frame = [&head[..len], text.as_bytes()].concat();
        Ok(self.stream.write_all(&frame)?)
    }

    /// The next message; nothing if the connection has ended.
    fn hear(&mut self) -> Result<Option<String>, Box<dyn Error>> {
        let mut body = Vec::new();
        loop {
            let mut input = self.arrived.as_slice();
            let mut whole = false;
            while !whole && let Some(event) = self.decoder.decode(&mut input)? {
                match event {
                    Event::Header(_) => {}
                    Event::Body(octets) => body.extend_from_slice(octets),
                    Event::End => whole = true,
                }
            }
            self.arrived = input.to_vec();
            if whole {
                return Ok(Some(String::from_utf8_lossy(&body).into_owned()));
            }
            let mut piece = [0; 1024];
            match self.stream.read(&mut piece)? {
                0 => return Ok(None),
                len => self.arrived.extend_from_slice(&piece[..len]),
            }
        }
    }
}

/// Talks to a guest until it is not there any more.
fn serve(mut guest: Side) -> Result<(), Box<dyn Error>> {
    loop {
        match guest.hear()?.as_deref() {
            None => break println!("  operator: it has vanished, without a word"),
            Some("q" | "Q") => break println!("  operator: it leaves"),
            Some("") => println!("  operator: an empty message, of which nothing is shown"),
            Some(text) => {
                println!("  operator: it says {text:?}");
                guest.say(&format!("{} characters, I see", text.chars().count()))?;
                guest.say("go on")?;
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    for last_words in ["q", ""] {
        let mut guest = Side::new(TcpStream::connect(listener.local_addr()?)?);
        let operator = Side::new(listener.accept()?.0);
        println!("A guest comes:");
        thread::scope(|scope| {
            let serving = scope.spawn(|| serve(operator).map_err(|error| error.to_string()));
            guest.say("hello 世界")?;
            for _ in 0..2 {
                println!(
                    "  guest: the operator says {:?}",
                    guest.hear()?.unwrap_or_default()
                );
            }
            guest.say(last_words)?;
            // Whether that was a `q` or nothing, the connection ends here.
            drop(guest);
            serving.join().expect("it does not panic")?;
            Ok::<(), Box<dyn Error>>(())
        })?;
    }
    Ok(())
}

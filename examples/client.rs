//! Asks a server: `cargo run --example client -- 127.0.0.1:8896 'hello'`, or `… ADDR exec 'ls -l'`.

use std::error::Error;
use std::io::{self, Write};

use unstick_core::{Request, Stream};
use unstick_std::Client;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (addr, op, body) = match &arguments[..] {
        [addr, body] => (addr, "echo", body),
        [addr, op, body] => (addr, &op[..], body),
        _ => return Err("usage: client ADDR [OP] BODY".into()),
    };

    let mut client = Client::connect(addr)?;
    let mut replies = client.request(Request::new(op, body.len() as u64), body.as_bytes())?;
    while let Some(mut frame) = replies.next_frame()? {
        // A refusal is a frame like any other, until it is made an error.
        frame.accepted()?;
        match frame.header.stream {
            Some(Stream::Stderr) => io::copy(&mut frame.body, &mut io::stderr())?,
            _ => io::copy(&mut frame.body, &mut io::stdout())?,
        };
        if let Some(status) = frame.header.exit {
            println!("[exit status {status}]");
        }
    }
    io::stdout().flush()?;
    Ok(())
}

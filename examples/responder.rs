//! A server with an operation of its own, beside `echo`, and a client: `cargo run --example responder`.
//!
//! One will see what is asked and what is answered: twice the reply, once a refusal, which is a frame too, and after
//! which the connection goes on.

use std::error::Error;
use std::io::Read;
use std::thread;

use unstick_core::services::{Echo, Output, Responder};
use unstick_core::{Code, Refusal, Request, Route};
use unstick_std::{Client, Limits, Shutdown, tcp};

/// `count`: how many words the body has, which is at most 4096 octets of UTF-8.
fn count() -> impl Route {
    Responder::<_, 4096, 64>::new("count", |body: &[u8], out: &mut Output<'_>| {
        let Ok(text) = std::str::from_utf8(body) else {
            return Err(Refusal::new(Code::Internal, "I count words of UTF-8 only"));
        };
        write!(out, "{} words", text.split_whitespace().count());
        Ok(())
    })
}

fn ask(client: &mut Client, op: &str, body: &[u8]) -> Result<(), Box<dyn Error>> {
    println!("{op} {:?}", String::from_utf8_lossy(body));
    let mut replies = client.request(Request::new(op, body.len() as u64), body)?;
    while let Some(mut frame) = replies.next_frame()? {
        // A refusal is a frame like any other, until it is made an error.
        if let Err(refused) = frame.accepted() {
            println!("  {refused}");
        }
        let mut reply = String::new();
        frame.body.read_to_string(&mut reply)?;
        if !reply.is_empty() {
            println!("  {reply}");
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = tcp::Server::bind("127.0.0.1:0", Limits::default())?;
    let (address, shutdown) = (server.local_addr()?, Shutdown::new()?);
    println!("listening tcp {address}");
    thread::scope(|scope| {
        // Each peer has services of its own, made when it connects.
        scope.spawn(|| server.serve_forever(&shutdown, |_peer| Echo::<4096>::new().or(count())));

        let asked = Client::connect(address)
            .map_err(Box::from)
            .and_then(|mut client| {
                ask(&mut client, "echo", "hello 世界".as_bytes())?;
                ask(&mut client, "count", b"\xff\xfe")?;
                ask(&mut client, "count", b"how many words?")
            });
        // Whatever became of it: the server is waited for.
        shutdown.request();
        asked
    })
}

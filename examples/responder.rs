//! A server with an operation of its own, beside `echo`: `cargo run --example responder [-- ADDR]`.
//!
//! Ask it with `cargo run --example client -- 127.0.0.1:8896 count 'how many words?'`.

use std::io::{self, Write};

use unstick_core::services::{Echo, Output, Responder};
use unstick_core::{Code, Refusal, Route};
use unstick_std::{Limits, Shutdown, tcp};

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

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8896".into());
    let server = tcp::Server::bind(addr, Limits::default())?;
    println!("listening tcp {}", server.local_addr()?);
    io::stdout().flush()?;
    // Each peer has services of its own, made when it connects.
    server.serve_forever(&Shutdown::new()?, |_peer| Echo::<4096>::new().or(count()))
}

//! The same service on embedded-nal, which microcontrollers have, and on threads: `cargo run --example nal_echo`.
//!
//! One will see both answer the same. What differs is around the service: here all memory is there from the start, no
//! call waits, and one loop moves every connection a step at a time. On a board only the stack and the clock are others.

use std::error::Error;
use std::io::Read;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use unstick_core::services::{Echo, Output, Responder};
use unstick_core::{Request, Route};
use unstick_nal::{Slot, TcpServer, std_stack};
use unstick_std::{Client, Limits, Shutdown, tcp};

/// The logic: no socket, no heap, no clock.
fn service() -> impl Route {
    let upper = |body: &[u8], out: &mut Output<'_>| {
        body.iter()
            .for_each(|octet| out.write(&[octet.to_ascii_uppercase()]));
        Ok(())
    };
    Echo::<64>::new().or(Responder::<_, 64, 64>::new("upper", upper))
}

fn ask(address: SocketAddr) -> Result<Vec<String>, unstick_std::Error> {
    let mut client = Client::connect(address)?;
    let mut answers = Vec::new();
    for op in ["echo", "upper"] {
        let mut replies = client.request(Request::new(op, 5), &b"hello"[..])?;
        while let Some(mut frame) = replies.next_frame()? {
            frame.accepted()?;
            let mut answer = String::new();
            frame.body.read_to_string(&mut answer)?;
            answers.push(format!("{op}: {answer}"));
        }
    }
    Ok(answers)
}

fn on_threads() -> Result<Vec<String>, Box<dyn Error>> {
    let server = tcp::Server::bind("127.0.0.1:0", Limits::default())?;
    let (address, shutdown) = (server.local_addr()?, Shutdown::new()?);
    thread::scope(|scope| {
        scope.spawn(|| server.serve_forever(&shutdown, |_peer| service()));
        let answers = ask(address);
        shutdown.request();
        Ok(answers?)
    })
}

fn on_nal() -> Result<Vec<String>, Box<dyn Error>> {
    let mut stack = std_embedded_nal::Stack;
    // embedded-nal can only listen on every address.
    let policy = std_stack::Policy {
        loopback_only: true,
    };
    // Two peers at once; headers of 256 octets; 128 octets of input and 256 of output for each.
    let mut slots: [Slot<_, _, 256, 128, 256>; 2] = [const { Slot::FREE }; 2];
    println!("  memory for two peers: {} octets", size_of_val(&slots));
    let limits = unstick_nal::Limits::default();
    let mut server =
        TcpServer::bind(&mut stack, 0, policy, limits, &mut slots).map_err(|error| error.0)?;
    let address = ([127, 0, 0, 1], std_stack::local_port(server.listener())?).into();

    let client = thread::spawn(move || ask(address));
    let start = Instant::now();
    // A board would go on for ever.
    while !client.is_finished() {
        match server.poll(&mut stack, start.elapsed(), |_peer| service()) {
            Ok(()) => {}
            // It would sleep until its network or its timer interrupts.
            Err(nb::Error::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            Err(nb::Error::Other(error)) => return Err(error.0.into()),
        }
    }
    server.close(&mut stack);
    Ok(client.join().map_err(|_| "the client panicked")??)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("on embedded-nal:");
    let nal = on_nal()?;
    nal.iter().for_each(|answer| println!("  {answer}"));
    println!("on threads:");
    let threads = on_threads()?;
    threads.iter().for_each(|answer| println!("  {answer}"));
    println!("the same: {}", nal == threads);
    Ok(())
}

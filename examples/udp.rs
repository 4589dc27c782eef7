//! Requests over UDP, where datagrams get lost and come twice: `cargo run --example udp`.
//!
//! One will see a request and its reply; then one datagram sent three times, which is answered three times and carried
//! out once, as the counter shows. That is why a client may send again when it hears nothing.

use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use unstick_core::services::{Output, Responder};
use unstick_core::{Request, encode};
use unstick_std::{Limits, Shutdown, udp};

const SOON: Duration = Duration::from_secs(5);

/// With the client: it chooses the `id`, and sends again until the reply is complete or the time is up.
fn ask(server: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut client = udp::Client::connect(server)?;
    client.request(Request::new("pay", 0), b"1 coin", SOON, |header, body| {
        let text = String::from_utf8_lossy(body);
        println!("  id {}: {text:?}", header.id.unwrap_or_default());
    })?;
    Ok(())
}

/// By hand, as if every reply but the last were lost.
fn repeat(server: SocketAddr) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(SOON))?;
    let body = b"2 coins";
    let mut request = Request::new("pay", body.len() as u64);
    // What makes it the same request when it comes again from the same address.
    request.id = Some(7);
    let mut datagram = vec![0; 256];
    let head_len = encode(&request, &mut datagram)?;
    datagram.truncate(head_len);
    datagram.extend_from_slice(body);
    for _ in 0..3 {
        socket.send(&datagram)?;
        let mut reply = [0; 256];
        let len = socket.recv(&mut reply)?;
        // One datagram, one frame: prefix, header, body.
        let text = String::from_utf8_lossy(&reply[4..len]);
        println!("  sent {} octets; the reply: {text}", datagram.len());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = udp::Server::bind("127.0.0.1:0", Limits::default())?;
    let (address, shutdown) = (server.local_addr()?, Shutdown::new()?);
    let carried_out = AtomicU32::new(0);
    let pay = |_peer| {
        Responder::<_, 64, 64>::new("pay", |body: &[u8], out: &mut Output<'_>| {
            let number = carried_out.fetch_add(1, Ordering::Relaxed) + 1;
            write!(out, "payment {number}: ");
            out.write(body);
            Ok(())
        })
    };
    thread::scope(|scope| {
        scope.spawn(|| server.serve_forever(&shutdown, pay));
        println!("A request and its reply:");
        let asked = ask(address).and_then(|()| {
            println!("The same datagram three times:");
            repeat(address)
        });
        shutdown.request();
        asked
    })?;
    println!("Four datagrams, {} payments.", carried_out.into_inner());
    Ok(())
}

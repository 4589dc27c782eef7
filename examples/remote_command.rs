//! A command on another machine, its output as it comes: `cargo run --example remote_command`.
//!
//! One will see when each piece of output arrives, which stream it was written to, and the exit status. A frame says all
//! of that in its header: what a bare stream of output cannot.

use std::error::Error;
use std::io::Read;
use std::thread;
use std::time::Instant;

use unstick_core::{Request, Stream};
use unstick_std::{Client, Limits, Shell, Shutdown, tcp};

fn run(client: &mut Client, command: &str) -> Result<(), Box<dyn Error>> {
    println!("$ {command}");
    let begun = Instant::now();
    let request = Request::new("exec", command.len() as u64);
    let mut replies = client.request(request, command.as_bytes())?;
    // One frame for each piece of output, sent when it is written; the last one has the exit status.
    while let Some(mut frame) = replies.next_frame()? {
        frame.accepted()?;
        let mut text = String::new();
        frame.body.read_to_string(&mut text)?;
        let seconds = begun.elapsed().as_secs_f32();
        let stream = match frame.header.stream {
            Some(Stream::Stderr) => "stderr",
            _ => "stdout",
        };
        for line in text.lines() {
            println!("  {seconds:.1} s  {stream}  {line}");
        }
        if let Some(status) = frame.header.exit {
            println!("  {seconds:.1} s  exit status {status}");
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    // Whoever reaches this address can do what its user can. There is no authentication: loopback only.
    let server = tcp::Server::bind("127.0.0.1:0", Limits::default())?;
    let (address, shutdown) = (server.local_addr()?, Shutdown::new()?);
    thread::scope(|scope| {
        scope.spawn(|| server.serve_forever(&shutdown, |_peer| Shell::new()));
        let ran = Client::connect(address)
            .map_err(Box::from)
            .and_then(|mut client| {
                run(&mut client, "for i in 1 2 3; do echo $i; sleep 0.2; done")?;
                // The same connection: a command ends where its last frame does.
                run(&mut client, "echo fine; echo 'not so fine' >&2; exit 7")
            });
        shutdown.request();
        ran
    })
}

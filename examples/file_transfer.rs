//! Files to a server and back: `cargo run --example file_transfer`.
//!
//! One will see a file put, and got again, and compared; then one whose connection breaks half way: nothing has its name,
//! and the next attempt goes on where that one ended.

use std::error::Error;
use std::fs::{self, File};
use std::net::{Shutdown as Direction, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;

use unstick_core::services::{Files, Name};
use unstick_std::directory::Place;
use unstick_std::transfer::{Options, Outcome, Phase, get, put};
use unstick_std::{Client, Directory, Limits, Shutdown, tcp};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Has a server for as long as `ask` takes.
fn with_server(root: &Path, ask: impl FnOnce(SocketAddr) -> Result<()>) -> Result<()> {
    let directory = Directory::open(root)?.writable(true);
    let server = tcp::Server::bind("127.0.0.1:0", Limits::default())?;
    let (address, shutdown) = (server.local_addr()?, Shutdown::new()?);
    thread::scope(|scope| {
        scope.spawn(|| {
            server.serve_forever(&shutdown, |_peer| Files::<_, 4096>::new(directory.clone()))
        });
        let asked = ask(address);
        shutdown.request();
        asked
    })
}

fn tell(what: &str, outcome: &Outcome) {
    let Outcome { len, kept, sha256 } = outcome;
    println!("{what}: {len} octets, {kept} of them there before; sha256 {sha256}");
}

/// Puts a file over a connection that breaks when half of it was read.
fn put_half(address: SocketAddr, file: &File, name: Name<'_>) -> Result<()> {
    let stream = TcpStream::connect(address)?;
    let other = stream.try_clone()?;
    let mut client = Client::from_stream(stream)?;
    let broken = put(&mut client, file, name, Options::default(), |progress| {
        if progress.phase == Phase::Move && progress.done >= progress.total / 2 {
            let _ = other.shutdown(Direction::Write);
        }
    });
    match broken {
        Err(error) => println!("put, interrupted: {error}"),
        Ok(_) => return Err("the connection did not break".into()),
    }
    Ok(())
}

fn main() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let (here, there) = (
        temporary.path().join("here"),
        temporary.path().join("there"),
    );
    fs::create_dir(&here)?;
    fs::create_dir(&there)?;
    let content: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_be_bytes).collect();
    fs::write(here.join("numbers"), &content)?;
    let file = File::open(here.join("numbers"))?;
    let name = |name| Name::new(name).map_err(|refusal| refusal.message.to_string());
    let (whole, broken) = (name("docs/whole")?, name("docs/broken")?);
    let fresh = Options::default();

    with_server(&there, |address| {
        let mut client = Client::connect(address)?;
        tell("put", &put(&mut client, &file, whole, fresh, |_| ())?);
        let to = Place::new(&here.join("copy"))?;
        tell("get", &get(&mut client, whole, to, fresh, |_| ())?);
        println!("the same: {}", fs::read(here.join("copy"))? == content);

        // Nothing that is there is replaced, unless that is asked for.
        let to = Place::new(&here.join("copy"))?;
        if let Err(error) = get(&mut client, whole, to, fresh, |_| ()) {
            println!("get once more: {error}");
        }

        println!("\nA connection that breaks half way:");
        put_half(address, &file, broken)
    })?;
    println!(
        "is there such a file: {}",
        there.join("docs/broken").exists()
    );

    println!("\nOnce more, to a server that was started again:");
    with_server(&there, |address| {
        let mut client = Client::connect(address)?;
        let resume = Options {
            resume: true,
            ..fresh
        };
        tell("put", &put(&mut client, &file, broken, resume, |_| ())?);
        Ok(())
    })?;
    let same = fs::read(there.join("docs/broken"))? == content;
    println!("the same: {same}");
    Ok(())
}

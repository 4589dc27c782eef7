//! Transfers whose ends are killed: what has its name is whole, and what is not is gone on from.

mod common;
mod files_common;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use common::{Running, SOON};
use files_common::{Place, Random, noise, passes};
use rustix::process::Signal;
use serde_json::Value;

const ROUNDS: usize = 20;
/// Longer than what a connection holds of it when its sender is killed, in octets.
const LEN: usize = 16 << 20;

#[derive(Clone, Copy, Debug)]
enum Direction {
    Get,
    Put,
}

/// What goes where, and what was there before.
struct Round {
    direction: Direction,
    new: Vec<u8>,
    old: Option<Vec<u8>>,
    to: PathBuf,
}

impl Round {
    fn new(place: &Place, direction: Direction, number: usize) -> Self {
        // Nothing is left of the round before.
        for path in [place.root(""), place.local("")] {
            fs::remove_dir_all(&path).expect("a directory");
            fs::create_dir(path).expect("room");
        }
        let new = noise(LEN);
        let (from, to) = match direction {
            Direction::Get => (place.root("file"), place.local("file")),
            Direction::Put => (place.local("file"), place.root("file")),
        };
        fs::write(from, &new).expect("room");
        let old = number.is_multiple_of(4).then(|| noise(1000));
        if let Some(old) = &old {
            fs::write(&to, old).expect("room");
        }
        Self {
            direction,
            new,
            old,
            to,
        }
    }

    fn arguments<'a>(&self, address: &'a str) -> Vec<&'a str> {
        match self.direction {
            Direction::Get => vec!["get", "--json", "--resume", "--force", address, "file"],
            Direction::Put => vec!["put", "--json", "--resume", "--force", address, "file"],
        }
    }

    /// Returns once so many octets have arrived, or all.
    fn wait(&self, len: u64) {
        let deadline = Instant::now() + SOON;
        let partial = self.to.with_file_name("file:part");
        let has = |path: &Path, len| fs::metadata(path).is_ok_and(|file| file.len() >= len);
        while !has(&partial, len) && !has(&self.to, LEN as u64) {
            assert!(Instant::now() < deadline, "nothing arrives");
            // All of it takes some milliseconds.
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// Fails if what has the name is neither what was there before nor the whole of what is to be.
    fn assert_nothing_torn(&self) {
        let found = fs::read(&self.to).ok();
        assert!(
            found == self.old || found.as_ref() == Some(&self.new),
            "torn"
        );
    }
}

/// [`ROUNDS`] times kills the server, or the client, at a random moment, and then goes on.
fn kill(test: &str, direction: Direction, kills_server: bool) {
    let place = Place::new(test);
    let mut random = Random::new();
    let mut gone_on = 0;
    let mut whole = Duration::from_millis(100);
    for number in 0..ROUNDS {
        let round = Round::new(&place, direction, number);
        // The directory is a new one.
        let mut server = place.server(&["--writable"]);
        let begun = Instant::now();
        let mut client = Running::start(place.command(round.arguments(&server.tcp)));
        if number % 2 == 0 {
            // When so much of it has arrived.
            let len = random.below(LEN as u64 / 2);
            round.wait(len);
        } else {
            // Whatever it is at: it digests, it stores, it renames.
            let end = whole.as_micros() as u64;
            thread::sleep(Duration::from_micros(random.below(end)));
        }
        if kills_server {
            server.signal(Signal::KILL);
            server.exit();
            client.exit();
            round.assert_nothing_torn();
            server = place.server(&["--writable"]);
        } else {
            client.signal(Signal::KILL);
            client.exit();
            round.assert_nothing_torn();
        }
        let spent = begun.elapsed();
        let begun = Instant::now();
        let line = passes(place.command(round.arguments(&server.tcp)));
        // Of the time that it takes in all, some went before the kill.
        whole = (begun.elapsed() + spent).min(Duration::from_secs(2));
        let line: Value = serde_json::from_str(&line).expect("JSON");
        let kept = line["kept"].as_u64().expect("a number");
        gone_on += usize::from((1..LEN as u64).contains(&kept));
        assert!(
            fs::read(&round.to).expect("the file") == round.new,
            "round {number}"
        );
        assert_eq!(place.leftovers(), [""; 0]);
    }
    println!("{gone_on} of {ROUNDS} were gone on with");
    assert!(gone_on > 0, "none was killed in the middle");
}

#[test]
fn get_goes_on_when_its_client_was_killed() {
    kill("get-client", Direction::Get, false);
}

#[test]
fn get_goes_on_when_its_server_was_killed() {
    kill("get-server", Direction::Get, true);
}

#[test]
fn put_goes_on_when_its_client_was_killed() {
    kill("put-client", Direction::Put, false);
}

#[test]
fn put_goes_on_when_its_server_was_killed() {
    kill("put-server", Direction::Put, true);
}

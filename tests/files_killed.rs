//! Transfers whose ends are killed again and again: what has its name is whole all the time, and what has arrived is never
//! sent twice.

mod common;
mod files_common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Running, SOON, Server, eventually, peak_memory};
use files_common::{MEMORY, Place, Random, noise, sha256};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::Value;
use unstick_core::Hasher;

const KILLS: u64 = 20;
const MIB: u64 = 1 << 20;
/// How many octets are read and written at a time.
const PIECE: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
enum Direction {
    Get,
    Put,
}

/// A transfer that goes on until it is done, over the bodies of its ends.
struct Transfer<'p> {
    place: &'p Place,
    direction: Direction,
    len: u64,
    from: PathBuf,
    to: PathBuf,
    /// The digests of what was there before, and of what is to be there.
    old: String,
    new: String,
    /// The most memory that either end has had, in octets.
    memory: AtomicU64,
}

impl<'p> Transfer<'p> {
    fn new(place: &'p Place, direction: Direction, len: u64) -> Self {
        let (from, to) = match direction {
            Direction::Get => (place.root("file"), place.local("file")),
            Direction::Put => (place.local("file"), place.root("file")),
        };
        let new = write_noise(&from, len);
        let old = noise(1000);
        fs::write(&to, &old).expect("room");
        Self {
            place,
            direction,
            len,
            from,
            to,
            old: sha256(&old),
            new,
            memory: AtomicU64::new(0),
        }
    }

    fn client(&self, server: &Server) -> Running {
        let operation = match self.direction {
            Direction::Get => "get",
            Direction::Put => "put",
        };
        let arguments = ["--json", "--resume", "--force", &server.tcp, "file"];
        let mut command = self.place.command([operation]);
        command.args(arguments);
        Running::start(command)
    }

    /// How many octets have arrived.
    fn partial(&self) -> u64 {
        let partial = self.to.with_file_name("file:part");
        fs::metadata(partial).map_or(0, |file| file.len())
    }

    fn is_done(&self) -> bool {
        fs::metadata(&self.to).expect("always there").len() == self.len
    }

    /// Lets it run until `is_over`; says how far it is. It may never be less far than it was.
    fn run(&self, server: &Server, client: &Running, mut is_over: impl FnMut(u64) -> bool) -> u64 {
        let before = self.partial();
        let deadline = Instant::now() + self.patience();
        loop {
            let pids = [server.pid(), client.pid()];
            for memory in pids.into_iter().filter_map(peak_memory) {
                self.memory.fetch_max(memory, Ordering::Relaxed);
            }
            let partial = self.partial();
            let done = self.is_done();
            assert!(done || partial >= before, "{partial} octets of {before}");
            if done || is_over(partial) {
                return partial;
            }
            assert!(Instant::now() < deadline, "nothing arrives any more");
            thread::sleep(Duration::from_micros(300));
        }
    }

    /// How long each part of it may take.
    fn patience(&self) -> Duration {
        SOON + Duration::from_secs(self.len / (20 * MIB))
    }

    /// Puts the old content back, without a moment without any.
    fn begin_anew(&self, old: &[u8]) {
        let beside = self.to.with_file_name("beside");
        fs::write(&beside, old).expect("room");
        fs::rename(beside, &self.to).expect("ours");
    }

    /// Fails if there is anything under the final name that is neither the whole old content nor the whole new one.
    fn watch(&self, over: &AtomicBool) -> u64 {
        let (mut looks, mut known) = (0, None);
        while !over.load(Ordering::Relaxed) {
            let mut file = File::open(&self.to).expect("there is always one");
            let metadata = file.metadata().expect("it is open");
            let this = (metadata.ino(), metadata.len(), metadata.modified().ok());
            if known.as_ref() != Some(&this) {
                let found = digest(&mut file);
                let is_whole = found == self.old || found == self.new;
                assert!(is_whole, "torn: {} octets", metadata.len());
                known = Some(this);
            }
            looks += 1;
            thread::sleep(Duration::from_micros(300));
        }
        looks
    }
}

/// Ends what watches, however the test ends.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes so many octets that nothing else has; their digest.
fn write_noise(path: &Path, len: u64) -> String {
    let mut file = File::create(path).expect("room");
    let mut hasher = Hasher::new();
    for _ in 0..len / PIECE as u64 {
        let piece = noise(PIECE);
        hasher.update(&piece);
        file.write_all(&piece).expect("room");
    }
    hasher.digest().to_string()
}

fn digest(file: &mut File) -> String {
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).expect("it is there") {
            0 => return hasher.digest().to_string(),
            len => hasher.update(&piece[..len]),
        }
    }
}

/// Nobody writes the partial any more, whoever was killed.
fn released(partial: &Path) {
    eventually("the partial is let go of", || {
        let Ok(file) = File::open(partial) else {
            return Some(());
        };
        flock(&file, FlockOperation::NonBlockingLockShared).ok()
    });
}

/// Moves a file; [`KILLS`] times one of the ends is killed at a random moment, and the transfer gone on with.
fn survives(test: &str, direction: Direction, len: u64) {
    let place = Place::new(test);
    let transfer = Transfer::new(&place, direction, len);
    let old = fs::read(&transfer.to).expect("the file");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| transfer.watch(&over));
        let end = End(&over);
        let mut random = Random::new();
        let (mut inside, mut begun_anew) = (0, 0);
        let mut server = place.server(&["--writable"]);
        for number in 0..KILLS {
            let before = transfer.partial();
            let mut client = transfer.client(&server);
            let since = Instant::now();
            if number % 4 == 3 {
                // Whatever it is at: it connects, digests, stores, renames.
                let most = len / 500;
                let pause = Duration::from_micros(random.below(most));
                transfer.run(&server, &client, |_| since.elapsed() >= pause);
            } else {
                // When so much more has arrived.
                let at = before + random.below(len / KILLS);
                transfer.run(&server, &client, |partial| partial > at);
            }
            if random.below(2) == 0 {
                server.signal(Signal::KILL);
                server.exit();
                client.exit();
                server = place.server(&["--writable"]);
            } else {
                client.signal(Signal::KILL);
                client.exit();
            }
            released(&transfer.to.with_file_name("file:part"));
            if transfer.is_done() {
                begun_anew += 1;
                transfer.begin_anew(&old);
                continue;
            }
            let after = transfer.partial();
            assert!(after >= before, "{after} octets of {before}");
            inside += u64::from(after > before);
        }
        assert!(
            inside >= KILLS / 3,
            "only {inside} were killed in the middle"
        );

        let before = transfer.partial();
        let mut client = transfer.client(&server);
        let lines = client.stdout();
        transfer.run(&server, &client, |_| false);
        let line: Value = serde_json::from_str(&lines.next()).expect("JSON");
        assert!(client.exit().success());
        assert_eq!(line["kept"], before, "it went on from elsewhere");
        assert_eq!(line["sha256"], transfer.new);
        assert_eq!(
            digest(&mut File::open(&transfer.to).expect("the file")),
            transfer.new
        );
        assert_eq!(
            digest(&mut File::open(&transfer.from).expect("the file")),
            transfer.new
        );
        assert_eq!(place.leftovers(), [""; 0]);
        drop(end);
        let looks = watcher.join().expect("nothing torn");
        let memory = transfer.memory.load(Ordering::Relaxed);
        println!(
            "{direction:?}: {len} octets, {KILLS} kills, {inside} of them while octets moved, {begun_anew} times done before; \
             looked at {looks} times; {memory} octets of memory at most"
        );
        assert!(looks > KILLS && (1..MEMORY).contains(&memory), "{memory}");
    });
}

#[test]
fn a_get_survives_its_ends() {
    survives("killed-get", Direction::Get, 48 * MIB);
}

#[test]
fn a_put_survives_its_ends() {
    survives("killed-put", Direction::Put, 48 * MIB);
}

/// `cargo xtask soak`
#[test]
#[ignore = "takes 4 GiB of disk and some minutes: cargo xtask soak"]
fn a_get_of_2_gib_survives_its_ends() {
    survives("soak-get", Direction::Get, 2048 * MIB);
}

/// `cargo xtask soak`
#[test]
#[ignore = "takes 4 GiB of disk and some minutes: cargo xtask soak"]
fn a_put_of_2_gib_survives_its_ends() {
    survives("soak-put", Direction::Put, 2048 * MIB);
}

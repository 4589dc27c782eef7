//! A directory that is served, and one to work in.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use unstick_core::{Hasher, Request, encode};

use crate::common::{Server, connect, eventually, run, text, unstick};

/// What a transfer may take of memory at each end, in octets, however long the file.
pub const MEMORY: u64 = 32 << 20;

/// Three directories beside each other: the root that is served, what nobody is to reach, and where commands run; removed
/// when dropped.
pub struct Place(PathBuf);

impl Place {
    /// Empty, for this test.
    pub fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("files.{test}"));
        let _ = fs::remove_dir_all(&path);
        for name in ["root", "outside", "local"] {
            fs::create_dir_all(path.join(name)).expect("room");
        }
        Self(path)
    }

    /// What is beneath the root.
    pub fn root(&self, name: &str) -> PathBuf {
        self.0.join("root").join(name)
    }

    /// What is beneath the directory that nobody is to reach.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.0.join("outside").join(name)
    }

    /// What is beneath the directory that commands run in.
    pub fn local(&self, name: &str) -> PathBuf {
        self.0.join("local").join(name)
    }

    /// Writes a file there.
    pub fn write(&self, name: &str, octets: &[u8]) {
        let path = self.local(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("room");
        fs::write(path, octets).expect("room");
    }

    /// Reads a file there.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.local(name)).expect("the file")
    }

    /// A server of the root.
    pub fn server(&self, arguments: &[&str]) -> Server {
        let root = self.root("");
        let mut all = vec!["--root", root.to_str().expect("UTF-8")];
        all.extend(arguments);
        Server::start(&all)
    }

    /// The command, in its directory.
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = unstick(arguments);
        command.current_dir(self.local(""));
        command
    }

    /// Begins to put so many octets, with what `add` adds to the request.
    pub fn begin_put(
        &self,
        server: &Server,
        name: &str,
        len: usize,
        add: impl FnOnce(&mut Request),
    ) -> TcpStream {
        let mut request = Request::new("put", len as u64);
        request.filename = name.try_into().ok();
        add(&mut request);
        let mut header = [0; 512];
        let header_len = encode(&request, &mut header).expect("room");
        let mut stream = connect(&server.tcp);
        stream.write_all(&header[..header_len]).expect("a server");
        stream
    }

    /// Begins to put these octets, and leaves it at the first `len`, once the server has them.
    pub fn half_put(&self, server: &Server, name: &str, octets: &[u8], len: usize) -> TcpStream {
        let mut stream = self.begin_put(server, name, octets.len(), |_| {});
        stream.write_all(&octets[..len]).expect("a server");
        let partial = self.root(&format!("{name}:part"));
        eventually("the octets arrive", || {
            let metadata = fs::metadata(&partial).ok()?;
            (metadata.len() == len as u64).then_some(())
        });
        stream
    }

    /// The partials in the root and where commands run.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut waiting = vec![self.root(""), self.local("")];
        while let Some(path) = waiting.pop() {
            for entry in fs::read_dir(path).expect("a directory") {
                let entry = entry.expect("an entry");
                if entry.file_type().expect("its kind").is_dir() {
                    waiting.push(entry.path());
                }
                let name = entry.file_name().to_string_lossy().into_owned();
                found.extend(Some(name).filter(|name| name.ends_with(":part")));
            }
        }
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the command prints, which succeeds.
pub fn passes(command: Command) -> String {
    let shown = format!("{command:?}");
    let output = run(command);
    assert!(output.status.success(), "{shown}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// What the command says, which does not.
pub fn fails(command: Command) -> String {
    failure(&run(command)).to_owned()
}

/// What it said when it failed.
pub fn failure(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    text(&output.stderr)
}

/// The digest of these octets.
pub fn sha256(octets: &[u8]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(octets);
    hasher.digest().to_string()
}

/// Numbers that differ from run to run.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time");
        Self(time.as_nanos() as u64 | 1)
    }

    /// The next: xorshift64.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }
}

/// So many octets that nothing else has.
pub fn noise(len: usize) -> Vec<u8> {
    let mut random = Random::new();
    let mut octets = vec![0; len];
    let (words, rest) = octets.as_chunks_mut();
    words
        .iter_mut()
        .for_each(|word| *word = random.next().to_le_bytes());
    rest.copy_from_slice(&random.next().to_le_bytes()[..rest.len()]);
    octets
}

//! Real processes: the command under test, started, watched and ended, with a bound on every wait.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod dumps;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a wait may take that should end at once.
pub const SOON: Duration = Duration::from_secs(30);

/// The command.
pub fn unstick<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unstick"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// A python3 with nothing but its standard library, running a file of tests/peers.
pub fn python(script: &str) -> Command {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let mut command = Command::new("python3");
    // Nothing that users have set up takes part, and nothing is written next to the script.
    command.args(["-s", "-B"]).arg(path.join(script));
    command
}

/// `unstick serve` on ports of its own; killed when dropped.
pub struct Server {
    child: Child,
    /// The address printed for TCP.
    pub tcp: String,
    /// The address printed for UDP.
    pub udp: String,
    /// What else it prints.
    pub stdout: Lines,
    /// What it logs, if it was started for that.
    pub log: Option<Lines>,
}

impl Server {
    /// Starts it with these arguments besides the addresses.
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(true, arguments, Stdio::inherit())
    }

    /// The same over TCP alone.
    pub fn start_tcp(arguments: &[&str]) -> Self {
        Self::spawn(false, arguments, Stdio::inherit())
    }

    /// The same with its log to read.
    pub fn start_logging(arguments: &[&str]) -> Self {
        Self::spawn(true, arguments, Stdio::piped())
    }

    /// Starts it in a shell that has done this before.
    pub fn start_under(before: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("/bin/sh");
        let script = format!("{before}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_unstick")]);
        Self::run(command, true, arguments, Stdio::inherit())
    }

    fn spawn(udp: bool, arguments: &[&str], log: Stdio) -> Self {
        Self::run(unstick([""; 0]), udp, arguments, log)
    }

    fn run(mut command: Command, udp: bool, arguments: &[&str], log: Stdio) -> Self {
        let udp: &[&str] = if udp { &["--udp", "127.0.0.1:0"] } else { &[] };
        let mut child = command
            .args(["serve", "--tcp", "127.0.0.1:0"])
            .args(udp)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let lines = Lines::of(child.stdout.take().expect("piped"));
        let log = child.stderr.take().map(Lines::of);
        let mut server = Self {
            child,
            tcp: String::new(),
            udp: String::new(),
            stdout: lines,
            log,
        };
        let address = |server: &Self, transport: &str| {
            let line = server.stdout.next();
            let address = line.strip_prefix(&format!("listening {transport} "));
            address.unwrap_or_else(|| panic!("`{line}`")).to_owned()
        };
        server.tcp = address(&server, "tcp");
        if !udp.is_empty() {
            server.udp = address(&server, "udp");
        }
        server
    }

    /// The options and address that reach it.
    pub fn address(&self, udp: bool) -> Vec<&str> {
        if udp {
            vec!["--udp", &self.udp]
        } else {
            vec![&self.tcp]
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Its exit status, soon.
    pub fn exit(&mut self) -> ExitStatus {
        exit_of(&mut self.child)
    }

    /// Fails if it does not answer, or died.
    pub fn assert_alive(&mut self) {
        assert_eq!(self.child.try_wait().expect("its state"), None, "it died");
        let output = run(unstick(["echo", &self.tcp, "alive"]));
        assert_eq!(text(&output.stdout), "alive");
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it ever had, in octets.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.pid()).expect("it runs")
    }
}

/// The most memory that this process ever had, in octets, if it still has any.
#[cfg(target_os = "linux")]
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to a server, with a bound on every read and write.
pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.set_write_timeout(Some(SOON)).expect("a timeout");
    stream
}

/// A process that is killed when dropped.
pub struct Running(pub Child);

impl Running {
    /// Starts it with its output to read.
    pub fn start(mut command: Command) -> Self {
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(command.spawn().expect("the command starts"))
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The lines of its standard output.
    pub fn stdout(&mut self) -> Lines {
        Lines::of(self.0.stdout.take().expect("not taken yet"))
    }

    /// The lines of its standard error.
    pub fn stderr(&mut self) -> Lines {
        Lines::of(self.0.stderr.take().expect("not taken yet"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }

    /// Its exit status, soon.
    pub fn exit(&mut self) -> ExitStatus {
        exit_of(&mut self.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lines that another thread reads, so that waiting for one has a bound.
pub struct Lines(Receiver<String>);

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next line, soon.
    pub fn next(&self) -> String {
        self.0.recv_timeout(SOON).expect("a line")
    }

    /// What is left, soon.
    pub fn rest(&self) -> Vec<String> {
        let deadline = Instant::now() + SOON;
        let mut rest = Vec::new();
        while let Ok(line) = self
            .0
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            rest.push(line);
        }
        assert!(Instant::now() < deadline, "the stream goes on");
        rest
    }
}

/// Runs a command to its end, soon, without input.
pub fn run(command: Command) -> Output {
    run_with(command, b"")
}

/// Runs a command to its end, soon, with this on its standard input through a pipe.
pub fn run_with(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{:?} is needed: {error}", command.get_program()));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It need not read all of it.
    thread::spawn(move || stdin.write_all(&input));
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let mut child = Running(child);
    let status = exit_of(&mut child.0);
    let output = |octets: Receiver<Vec<u8>>| octets.recv_timeout(SOON).expect("its end");
    Output {
        status,
        stdout: output(stdout),
        stderr: output(stderr),
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut octets = Vec::new();
        let _ = stream.read_to_end(&mut octets);
        sender.send(octets)
    });
    receiver
}

fn exit_of(child: &mut Child) -> ExitStatus {
    eventually("it exits", || child.try_wait().expect("its state"))
}

/// Asks until there is an answer, soon.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Octets as text.
pub fn text(octets: &[u8]) -> &str {
    str::from_utf8(octets).expect("UTF-8")
}

/// A named pipe that a remote command waits at; removed when dropped.
pub struct Gate {
    path: PathBuf,
    pipe: fs::File,
}

impl Gate {
    /// Closed.
    pub fn new(name: &str) -> Self {
        let name = format!("{name}.{}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&path);
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo").success());
        // For reading too: then opening does not wait, and what is written stays until it is read.
        let pipe = fs::File::options().read(true).write(true).open(&path);
        Self {
            path,
            pipe: pipe.expect("a pipe"),
        }
    }

    /// What a shell waits with.
    pub fn wait(&self) -> String {
        format!("read -r x < '{}'", self.path.display())
    }

    /// Lets one through.
    pub fn open(&mut self) {
        self.pipe.write_all(b"\n").expect("room for an octet");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a process of this group still runs. One that was killed, and that nobody has asked about, does not.
#[cfg(target_os = "linux")]
pub fn is_running(group: Pid) -> bool {
    let processes = fs::read_dir("/proc").expect("proc");
    let stats = processes.filter_map(|process| {
        let path = process.ok()?.path().join("stat");
        fs::read_to_string(path).ok()
    });
    let mut states = stats.filter_map(|stat| {
        // Behind the name, which may have anything in it: the state, the parent, the group.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.to_owned();
        let of_group = fields.nth(1)?.parse() == Ok(group.as_raw_nonzero().get());
        of_group.then_some(state)
    });
    states.any(|state| !matches!(state.as_str(), "Z" | "X"))
}

/// Whether there is a process of this group.
#[cfg(not(target_os = "linux"))]
pub fn is_running(group: Pid) -> bool {
    rustix::process::test_kill_process_group(group).is_ok()
}

//! `exec` with a real `/bin/sh`: what comes out and in which order, and that nothing is left behind.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process, setrlimit,
    waitid,
};
use unstick_core::{
    Code, Connection, Decoder, Event, Refusal, Reply, Request, Route, Stream, Wants, encode,
};
use unstick_std::shell::{CHUNK_LEN, LINE_LEN, Shell};

/// Far more than anything here takes: a test that waits this long has failed.
const LONG: Duration = Duration::from_secs(15);

/// Runs a test that may hang.
fn bounded(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = is_done.recv_timeout(LONG) {
        panic!("hangs");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Waits until `condition` holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[derive(Debug)]
struct Frame {
    head: Reply,
    body: Vec<u8>,
}

/// A server's connection with the client's side of the wire in the same thread.
struct Client {
    connection: Connection<Shell, 512>,
    decoder: Decoder<Reply, 512>,
    waker: Waker,
    input: Vec<u8>,
    frames: VecDeque<Frame>,
    partial: Option<Frame>,
}

impl Client {
    fn new() -> Self {
        Self::with(Shell::new())
    }

    fn with(shell: Shell) -> Self {
        Self {
            connection: Connection::new(shell),
            decoder: Decoder::new(),
            waker: Waker::from(Arc::new(Unpark(thread::current()))),
            input: Vec::new(),
            frames: VecDeque::new(),
            partial: None,
        }
    }

    fn send(&mut self, line: impl AsRef<[u8]>) {
        let line = line.as_ref();
        let mut head = [0; 512];
        let len = encode(&Request::new("exec", line.len() as u64), &mut head).unwrap();
        self.input.extend_from_slice(&head[..len]);
        self.input.extend_from_slice(line);
    }

    /// One step; false if there was nothing to do.
    fn step(&mut self) -> bool {
        match self.connection.wants() {
            Wants::Input if self.input.is_empty() => return false,
            Wants::Input => {
                let mut rest = &self.input[..];
                self.connection.receive(&mut rest);
                self.input = rest.to_vec();
            }
            Wants::Output | Wants::Pending => {
                let mut out = [0; 5000];
                let len = self
                    .connection
                    .transmit(&mut Context::from_waker(&self.waker), &mut out);
                self.take(&out[..len]);
            }
            Wants::Close => return false,
        }
        self.connection.wants() != Wants::Pending
    }

    fn take(&mut self, mut octets: &[u8]) {
        while let Some(event) = self.decoder.decode(&mut octets).unwrap() {
            match event {
                Event::Header(head) => {
                    let body = Vec::new();
                    self.partial = Some(Frame { head, body });
                }
                Event::Body(octets) => {
                    let frame = self.partial.as_mut().unwrap();
                    frame.body.extend_from_slice(octets);
                }
                Event::End => self.frames.extend(self.partial.take()),
            }
        }
    }

    /// The next frame of the reply, as soon as there is one.
    fn next(&mut self) -> Frame {
        let start = Instant::now();
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            if !self.step() && self.frames.is_empty() {
                assert_eq!(self.connection.wants(), Wants::Pending, "no reply");
                // Not a poll in disguise: a wake that is lost makes the test hang.
                thread::park_timeout(LONG);
                assert!(start.elapsed() < LONG, "not woken");
            }
        }
    }

    /// The rest of the reply: all of stdout, all of stderr, and the last frame.
    fn rest(&mut self) -> (Vec<u8>, Vec<u8>, Reply) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let Frame { head, body } = self.next();
            assert_eq!(head.total_size, body.len() as u64);
            if !head.more {
                assert!(body.is_empty() && head.stream.is_none());
                return (stdout, stderr, head);
            }
            assert!(head.exit.is_none() && head.error.is_none());
            assert!((1..=CHUNK_LEN).contains(&body.len()));
            match head.stream.unwrap() {
                Stream::Stdout => stdout.extend(body),
                Stream::Stderr => stderr.extend(body),
            }
        }
    }

    fn run(&mut self, line: impl AsRef<[u8]>) -> (Vec<u8>, Vec<u8>, i32) {
        self.send(line);
        let (stdout, stderr, last) = self.rest();
        (stdout, stderr, last.exit.expect("an exit status"))
    }

    fn refused(&mut self, line: impl AsRef<[u8]>) -> Code {
        self.send(line);
        let frame = self.next();
        assert!(!frame.head.more && frame.head.exit.is_none() && frame.body.is_empty());
        let message = frame.head.message.unwrap();
        assert!(message.len() > 20, "{message}");
        assert!(
            message.len() < unstick_core::MESSAGE_LEN,
            "perhaps cut: {message}"
        );
        frame.head.error.unwrap()
    }

    /// What an engine does when time is up.
    fn give_up(&mut self) {
        self.connection
            .abort(Refusal::new(Code::Deadline, "time is up"));
    }
}

fn stdout_of(line: impl AsRef<[u8]>) -> String {
    let (stdout, stderr, exit) = Client::new().run(line);
    assert_eq!((String::from_utf8_lossy(&stderr).as_ref(), exit), ("", 0));
    String::from_utf8(stdout).unwrap()
}

/// A directory of its own for a test, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("shell-{}-{count}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A line that runs in this directory.
    fn line(&self, line: &str) -> String {
        format!("cd '{}' || exit 99; {line}", self.0.display())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The number in the file `name`, once it is there.
    fn number(&self, name: &str) -> Option<u32> {
        let text = fs::read_to_string(self.path(name)).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    }

    /// The process whose number the file `name` has or will have.
    fn process(&self, name: &str) -> u32 {
        until(name, || self.number(name).is_some());
        self.number(name).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether the process runs: it is there, and not just waiting to be reaped.
fn runs(process: u32) -> bool {
    let stat = fs::read(format!("/proc/{process}/stat")).unwrap_or_default();
    let name_end = stat.iter().rposition(|&octet| octet == b')');
    name_end.is_some_and(|end| !b"ZX".contains(&stat[end + 2]))
}

fn is_killed(process: u32) {
    until("killed", || !runs(process));
}

fn kill(process: u32) {
    kill_process(Pid::from_raw(process as i32).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn the_streams_are_apart_and_in_order() {
    bounded(|| {
        let mut client = Client::new();
        for _ in 0..3 {
            let line = "for i in 1 2 3 4; do echo out $i; echo err $i >&2; done";
            let (stdout, stderr, exit) = client.run(line);
            assert_eq!(stdout, b"out 1\nout 2\nout 3\nout 4\n");
            assert_eq!(stderr, b"err 1\nerr 2\nerr 3\nerr 4\n");
            assert_eq!(exit, 0);
        }
    });
}

#[test]
fn exit_statuses_are_the_shell_s() {
    bounded(|| {
        let mut client = Client::new();
        for (line, expected) in [
            ("", 0),
            ("true", 0),
            ("exit 3", 3),
            ("exit 255", 255),
            ("kill -9 $$", 128 + 9),
            ("kill -TERM $$", 128 + 15),
            ("exec 2>&1; exec >&-; exit 7", 7),
            ("exec >&- 2>&-; sleep 0.1; exit 8", 8),
        ] {
            assert_eq!(client.run(line), (vec![], vec![], expected), "{line}");
        }
        let (_, stderr, exit) = client.run("there-is-no-such-command");
        assert_eq!(exit, 127);
        assert!(!stderr.is_empty());
    });
}

#[test]
fn the_command_has_nothing_to_read_and_none_of_the_server_s_descriptors() {
    bounded(|| {
        assert_eq!(stdout_of("cat; echo end"), "end\n");
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let socket = fs::read_link(link).unwrap();
        let descriptors = stdout_of("ls -l /proc/self/fd");
        for not_its in [socket.to_str().unwrap(), "pidfd"] {
            assert!(!descriptors.contains(not_its), "{descriptors}");
        }
        // A pipe that breaks ends a command, although a Rust program ignores SIGPIPE.
        assert_eq!(stdout_of("yes | head -n 1"), "y\n");
    });
}

#[test]
fn the_environment_and_the_directory_are_the_server_s() {
    bounded(|| {
        let directory = std::env::current_dir().unwrap();
        assert_eq!(stdout_of("pwd -P"), format!("{}\n", directory.display()));
        let path = std::env::var("PATH").unwrap();
        assert_eq!(stdout_of("echo \"$PATH\""), format!("{path}\n"));
    });
}

#[test]
fn a_line_is_octets() {
    bounded(|| {
        let (stdout, _, exit) = Client::new().run(b"printf %s '\xff\xd6\xd0\r\n'");
        assert_eq!((&stdout[..], exit), (&b"\xff\xd6\xd0\r\n"[..], 0));
        assert!(std::str::from_utf8(OsStr::from_bytes(&stdout).as_bytes()).is_err());
    });
}

#[test]
fn long_output_is_exact() {
    bounded(|| {
        let numbers: String = (1..=300_000).map(|i| format!("{i}\n")).collect();
        assert!(stdout_of("seq 300000") == numbers);

        let dir = Dir::new();
        let both = dir.line(
            "head -c 3000001 /dev/urandom | tee 1 & head -c 2000003 /dev/urandom | tee 2 >&2; wait",
        );
        let (stdout, stderr, exit) = Client::new().run(both);
        assert_eq!(
            (stdout.len(), stderr.len(), exit),
            (3_000_001, 2_000_003, 0)
        );
        assert!(stdout == fs::read(dir.path("1")).unwrap());
        assert!(stderr == fs::read(dir.path("2")).unwrap());
    });
}

#[test]
fn output_comes_while_the_command_runs() {
    bounded(|| {
        let dir = Dir::new();
        let mut client = Client::new();
        client.send(dir.line("mkfifo fifo; printf ready; read answer <fifo; echo got $answer"));
        let frame = client.next();
        assert_eq!((&frame.body[..], frame.head.more), (&b"ready"[..], true));
        fs::write(dir.path("fifo"), "it\n").unwrap();
        let (stdout, _, last) = client.rest();
        assert_eq!((&stdout[..], last.exit), (&b"got it\n"[..], Some(0)));
    });
}

#[test]
fn a_client_that_does_not_read_stops_the_command() {
    bounded(|| {
        let dir = Dir::new();
        let mut client = Client::new();
        client.send(dir.line(
            "echo $$ >shell; i=0; \
             while i=$((i+1)); do printf '%01024d' $i || exit; echo $i >new; mv new progress; done",
        ));
        client.next();
        let shell = dir.process("shell");
        let mut before = None;
        loop {
            let progress = dir.number("progress");
            if progress.is_some() && progress == before {
                break;
            }
            before = progress;
            thread::sleep(Duration::from_millis(300));
        }
        // The pipe, the queue, and what is in the hands of either side.
        assert!(before.unwrap() * 1024 < 300_000, "{before:?}");
        assert!(runs(shell));
        client.give_up();
        is_killed(shell);
        let last = client.rest().2;
        assert_eq!((last.error, last.exit), (Some(Code::Deadline), None));
    });
}

/// A line whose processes are named in the files `1`, `2` and `3`.
const FAMILY: &str = "sleep 1000 & echo $! >1; (sh -c 'sleep 1000 & echo $! >2; wait') & \
                      echo $$ >3; echo ready; wait";

#[test]
fn cancel_kills_the_whole_family() {
    bounded(|| {
        let dir = Dir::new();
        let mut client = Client::new();
        client.send(dir.line(FAMILY));
        assert_eq!(client.next().body, b"ready\n");
        let family = ["1", "2", "3"].map(|name| dir.process(name));
        assert!(family.into_iter().all(runs));
        client.give_up();
        family.into_iter().for_each(is_killed);
        assert_eq!(client.next().head.error, Some(Code::Deadline));
    });
}

#[test]
fn drop_kills_the_whole_family() {
    bounded(|| {
        let dir = Dir::new();
        let mut client = Client::new();
        client.send(dir.line(FAMILY));
        assert_eq!(client.next().body, b"ready\n");
        let family = ["1", "2", "3"].map(|name| dir.process(name));
        drop(client);
        family.into_iter().for_each(is_killed);
    });
}

#[test]
fn a_shell_that_changes_its_group_is_killed_too() {
    bounded(|| {
        let dir = Dir::new();
        let mut client = Client::new();
        client.send(dir.line(
            "echo $$ >shell; exec python3 -uc 'import os, time; theirs = os.getpgid(os.getppid()); \
             os.setpgid(0, theirs); print(os.getpgid(0) == theirs, end=\"\"); time.sleep(1000)'",
        ));
        let frame = client.next();
        assert_eq!(frame.body, b"True");
        drop(client);
        is_killed(dir.process("shell"));
    });
}

#[test]
fn a_background_job_neither_holds_up_the_exit_nor_outlives_it() {
    bounded(|| {
        let dir = Dir::new();
        let mut client = Client::new();
        let (stdout, _, exit) = client.run(dir.line("sleep 1000 & echo $! >job; echo done"));
        assert_eq!((&stdout[..], exit), (&b"done\n"[..], 0));
        is_killed(dir.process("job"));
        // One that writes all the time.
        let (stdout, _, exit) = client.run(dir.line("yes & echo $! >job; sleep 0.1; exit 4"));
        assert!(
            stdout
                .chunks(2)
                .all(|line| line == b"y\n"[..line.len()].as_ref())
        );
        assert_eq!(exit, 4);
        is_killed(dir.process("job"));
    });
}

#[test]
fn a_job_of_its_own_session_holds_up_nothing_and_lives_on() {
    bounded(|| {
        let dir = Dir::new();
        let wait = "until test -s job; do sleep 0.01; done";
        let silent = format!("setsid sh -c 'echo $$ >new; mv new job; exec sleep 100' & {wait}");
        let flood = format!("setsid sh -c 'echo $$ >new; mv new job; exec yes' & {wait}");

        let (stdout, _, exit) = Client::new().run(dir.line(&format!("{silent}; echo done")));
        assert_eq!((&stdout[..], exit), (&b"done\n"[..], 0));
        let job = dir.process("job");
        assert!(runs(job));
        kill(job);

        fs::remove_file(dir.path("job")).unwrap();
        let mut client = Client::new();
        client.send(dir.line(&format!("{flood}; sleep 0.2; exit 5")));
        let mut frame = client.next();
        while frame.head.more {
            // Slower than the flood: the pipe is never found empty.
            thread::sleep(Duration::from_millis(2));
            frame = client.next();
        }
        assert_eq!(frame.head.exit, Some(5));
        // Its pipe is closed.
        is_killed(dir.process("job"));

        fs::remove_file(dir.path("job")).unwrap();
        let mut client = Client::new();
        client.send(dir.line(&format!("{silent}; echo $$; sleep 1000")));
        let shell = String::from_utf8(client.next().body).unwrap();
        drop(client);
        is_killed(shell.trim().parse().unwrap());
        let job = dir.process("job");
        assert!(runs(job));
        kill(job);
    });
}

#[test]
fn fifty_at_once_do_not_mix() {
    bounded(|| {
        let threads: Vec<_> = (0..50)
            .map(|i| {
                thread::spawn(move || {
                    let line = format!("yes out{i} | head -n 20000; echo err{i} >&2; exit {i}");
                    let (stdout, stderr, exit) = Client::new().run(line);
                    assert!(stdout == format!("out{i}\n").repeat(20_000).as_bytes());
                    assert_eq!(stderr, format!("err{i}\n").as_bytes());
                    assert_eq!(exit, i);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn what_cannot_be_run_is_refused() {
    bounded(|| {
        assert_eq!(
            Client::with(Shell::disabled()).refused("true"),
            Code::Denied
        );
        assert!(Shell::disabled().serves("exec") && !Shell::new().serves("echo"));

        let mut client = Client::new();
        assert_eq!(client.refused(b"echo 1\0echo 2"), Code::Denied);
        let mut long = b"echo 1 #".to_vec();
        long.resize(LINE_LEN, b'x');
        assert_eq!(client.run(&long), (b"1\n".to_vec(), vec![], 0));
        long.push(b'x');
        assert_eq!(client.refused(&long), Code::TooLarge);
        // And the connection goes on.
        assert_eq!(client.run("echo 2"), (b"2\n".to_vec(), vec![], 0));
    });
}

/// How many threads and descriptors this process has.
fn holdings() -> (usize, usize) {
    let count = |path| fs::read_dir(path).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

fn has_children() -> bool {
    let now = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    waitid(WaitId::All, now).is_ok()
}

#[test]
fn nothing_is_left_behind() {
    const ALONE: &str = "UNSTICK_TEST_ALONE";
    // Counts what belongs to the process, which it therefore has to itself.
    if std::env::var_os(ALONE).is_none() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "nothing_is_left_behind", "--test-threads=1"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    bounded(|| {
        let dir = Dir::new();
        assert!(!has_children());
        let before = holdings();
        for _ in 0..20 {
            let mut client = Client::new();
            client.run("echo 1; echo 2 >&2; sleep 1000 &");
            // Given up before there is any output, and dropped likewise.
            client.send("sleep 1000");
            while client.step() {}
            client.give_up();
            drop(client);
            let mut client = Client::new();
            client.send("sleep 1000");
            while client.step() {}
            drop(client);
            // Dropped midway, the queue full and not.
            for line in [
                "yes",
                "echo 1; exec sleep 1000",
                "exec >&- 2>&-; exec sleep 1000",
            ] {
                let mut client = Client::new();
                client.send(line);
                while client.step() && client.frames.is_empty() {}
                drop(client);
            }
            // Dropped with the exit not fetched.
            let mut client = Client::new();
            client.send(dir.line("echo $$ >shell"));
            while client.step() {}
            is_killed(dir.process("shell"));
            drop(client);
            fs::remove_file(dir.path("shell")).unwrap();
            // Refused.
            Client::with(Shell::disabled()).refused("true");
            Client::new().refused("\0");
        }

        // Too few descriptors for the pipes, for all of them, for the one that tells of the exit; enough.
        let limit = getrlimit(Resource::Nofile);
        for few in 0..48 {
            let mut client = Client::new();
            let current = Some(few);
            setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
            client.send("echo 1");
            while client.frames.back().is_none_or(|frame| frame.head.more) {
                if !client.step() {
                    thread::park_timeout(LONG);
                }
            }
            setrlimit(Resource::Nofile, limit).unwrap();
            let (stdout, _, last) = client.rest();
            match last.error {
                Some(error) => assert!(error == Code::Internal && few < 40, "{few}: {last:?}"),
                None => assert!(stdout == b"1\n" && last.exit == Some(0) && few > 3),
            }
        }

        until("no children", || !has_children());
        until("as many threads and descriptors as before", || {
            holdings() == before
        });
    });
}

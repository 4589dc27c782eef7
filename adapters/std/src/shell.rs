//! `exec`: a command line in, its output live, its exit status last.
//!
//! The connection never waits for a command: one thread per running command, its supervisor, reads the
//! output and hands it over a short queue. Whoever gives a command up kills it on the spot; the supervisor,
//! which nobody waits for, then reaps it and ends.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio, ioctl_fionread, read, retry_on_intr};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use unstick_core::{Code, Refusal, Reply, Request, Route, Service, Stream};

/// The longest command line, in octets.
pub const LINE_LEN: usize = 64 * 1024;
/// The longest body of a frame of output, in octets.
pub const CHUNK_LEN: usize = 16 * 1024;
/// How many frames of output wait at most for a client that reads slowly; then the command waits.
const QUEUE_LEN: usize = 4;
/// How long an exit can go unnoticed where the system has no descriptor that tells of it.
const EXIT_CHECK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// The operation `exec`: runs the body as `/bin/sh -c BODY`, in the server's environment and directory.
///
/// Every piece of output is one frame with `stream` and `more`, sent when it is written; the last frame is
/// empty and has `exit`: the status, or 128 + N after signal N, as shells have it. Standard input is empty.
///
/// The command is over when its shell has exited. What was written until then is sent; what still runs in
/// the background is killed, as it is when the request is given up. A job that is to outlive its command
/// leaves the process group: `setsid job &`.
#[derive(Debug)]
pub struct Shell {
    allowed: bool,
    line: Vec<u8>,
    running: Option<Running>,
    chunk: Vec<u8>,
    sent: usize,
}

impl Shell {
    /// The service. Whoever reaches it can do what the server's user can.
    pub const fn new() -> Self {
        Self {
            allowed: true,
            line: Vec::new(),
            running: None,
            chunk: Vec::new(),
            sent: 0,
        }
    }

    /// The service that refuses every command with [`Code::Denied`] and says how to allow them.
    pub const fn disabled() -> Self {
        let mut shell = Self::new();
        shell.allowed = false;
        shell
    }
}

impl Shell {
    /// The header of the frame that carries `output`.
    fn frame(&mut self, output: Output) -> Result<Reply, Refusal> {
        match output {
            Output::Chunk(stream, chunk) => {
                let mut head = Reply::new(chunk.len() as u64);
                head.stream = Some(stream);
                head.more = true;
                (self.chunk, self.sent) = (chunk, 0);
                Ok(head)
            }
            Output::Exit(status) => {
                self.cancel();
                let status = status.map_err(|error| {
                    let message = format_args!("lost sight of the command: {error}");
                    Refusal::new(Code::Internal, message)
                })?;
                let by_signal = status.signal().map(|signal| 128 + signal);
                let mut head = Reply::new(0);
                head.exit = status.code().or(by_signal);
                Ok(head)
            }
        }
    }
}

impl Default for Shell {
    fn default() -> Self {
        Self::new()
    }
}

impl Service for Shell {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        self.cancel();
        if !self.allowed {
            return Err(Refusal::new(
                Code::Denied,
                "exec is off on this server; start it with --allow-exec",
            ));
        }
        if request.total_size > LINE_LEN as u64 {
            return Err(Refusal::new(
                Code::TooLarge,
                format_args!(
                    "a command line of {} octets: the limit is {LINE_LEN}",
                    request.total_size
                ),
            ));
        }
        Ok(())
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        if octets.contains(&0) {
            return Err(Refusal::new(
                Code::Denied,
                "a command line has no NUL octet: a shell would see only what is before it",
            ));
        }
        self.line.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        let line = OsString::from_vec(std::mem::take(&mut self.line));
        self.running = Some(Running::start(line).map_err(|error| {
            Refusal::new(
                Code::Internal,
                format_args!("the shell did not start: {error}"),
            )
        })?);
        Ok(())
    }

    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        let Some(running) = &self.running else {
            return Poll::Pending;
        };
        let output = ready!(running.next(cx));
        Poll::Ready(self.frame(output))
    }

    fn fill(&mut self, _: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        let rest = &self.chunk[self.sent..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.sent += len;
        Poll::Ready(Ok(len))
    }

    fn cancel(&mut self) {
        self.running = None;
        (self.line, self.chunk, self.sent) = (Vec::new(), Vec::new(), 0);
    }
}

impl Route for Shell {
    fn serves(&self, op: &str) -> bool {
        op == "exec"
    }
}

/// What the supervisor hands to the connection.
enum Output {
    Chunk(Stream, Vec<u8>),
    Exit(io::Result<ExitStatus>),
}

/// The connection's end of a running command; dropping it kills the command.
#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    output: Receiver<Output>,
}

impl Running {
    fn start(line: OsString) -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        let pipes = [
            (Stream::Stdout, child.stdout.take().map(OwnedFd::from)),
            (Stream::Stderr, child.stderr.take().map(OwnedFd::from)),
        ];
        let shared = Arc::new(Shared {
            child: Mutex::new(Some(child)),
            waker: Mutex::new(None),
        });
        let mut commands = lock(&COMMANDS);
        commands.retain(|command| command.strong_count() > 0);
        commands.push(Arc::downgrade(&shared));
        drop(commands);
        let (sender, output) = sync_channel(QUEUE_LEN);
        let supervisor = Supervisor {
            pid,
            shared: Arc::clone(&shared),
            output: sender,
        };
        let thread = thread::Builder::new().name("exec".into());
        match thread.spawn(move || supervisor.run(pipes)) {
            Ok(_) => Ok(Self { shared, output }),
            Err(error) => {
                shared.kill();
                let _ = shared.reap(pid);
                Err(error)
            }
        }
    }

    /// The next of the output, or the waker is woken when there is some.
    fn next(&self, cx: &mut Context<'_>) -> Poll<Output> {
        if let Ok(output) = self.output.try_recv() {
            return Poll::Ready(output);
        }
        *lock(&self.shared.waker) = Some(cx.waker().clone());
        // Again: what came in between has woken nobody.
        match self.output.try_recv() {
            Ok(output) => Poll::Ready(output),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Disconnected) => {
                Poll::Ready(Output::Exit(Err(io::ErrorKind::BrokenPipe.into())))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Before the queue goes: the supervisor takes its end for the end of the command.
        self.shared.kill();
    }
}

/// What the connection and the supervisor of a command both have their hands on.
#[derive(Debug)]
struct Shared {
    /// The shell, which leads its process group, until it is reaped: from then on its number, and with it
    /// the group's, may be another's.
    child: Mutex<Option<Child>>,
    waker: Mutex<Option<Waker>>,
}

impl Shared {
    /// Kills the command, unless it is reaped already.
    fn kill(&self) {
        if let Some(child) = &mut *lock(&self.child) {
            kill(child);
        }
    }

    /// Waits for the shell's exit, kills what is left of its group, and only then lets go of its number.
    fn reap(&self, pid: Pid) -> io::Result<ExitStatus> {
        // Without the lock, so that `kill` never waits.
        let exit = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let exited = retry_on_intr(|| waitid(WaitId::Pid(pid), exit));
        let mut slot = lock(&self.child);
        let child = slot.take();
        // If the server ignores SIGCHLD, the number is let go of already.
        exited?;
        let mut child = child.ok_or(Errno::CHILD)?;
        kill(&mut child);
        child.wait()
    }
}

/// The commands of this process that may still run.
static COMMANDS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Kills every command that runs in this process: for a server that exits without ending its connections.
pub fn kill_all() {
    let commands = std::mem::take(&mut *lock(&COMMANDS));
    commands
        .iter()
        .filter_map(Weak::upgrade)
        .for_each(|command| command.kill());
}

/// Kills a command whose shell is not reaped yet.
fn kill(child: &mut Child) {
    // Fails if nobody of the group is left, or none of them is ours to kill.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    // A shell can change to another group than the one it leads.
    let _ = child.kill();
}

/// The thread that sees a command through.
struct Supervisor {
    pid: Pid,
    shared: Arc<Shared>,
    output: SyncSender<Output>,
}

impl Supervisor {
    fn run(self, pipes: [(Stream, Option<OwnedFd>); 2]) {
        let relayed = self.relay(pipes);
        if relayed.is_err() {
            self.shared.kill();
        }
        let status = self.shared.reap(self.pid);
        let _ = self.send(Output::Exit(relayed.map_err(io::Error::from).and(status)));
    }

    /// Hands on what the command writes, until its shell has exited or nobody listens any more.
    fn relay(&self, mut pipes: [(Stream, Option<OwnedFd>); 2]) -> Result<(), Errno> {
        // A command may open its own pipe for reading and take what `poll` has promised: never block.
        for pipe in pipes.iter().filter_map(|(_, pipe)| pipe.as_ref()) {
            ioctl_fionbio(pipe, true)?;
        }
        let exit = exit_descriptor(self.pid);
        let timeout = exit.is_none().then_some(&EXIT_CHECK);
        let mut buffer = vec![0; CHUNK_LEN];
        loop {
            let open = pipes.iter().filter_map(|(_, pipe)| pipe.as_ref());
            let mut events: Vec<_> = (exit.iter().chain(open))
                .map(|descriptor| PollFd::new(descriptor, PollFlags::IN))
                .collect();
            retry_on_intr(|| poll(&mut events, timeout))?;
            // Known before the pipes are read: what the shell has written is in them by now.
            let exited = match exit {
                Some(_) => !events[0].revents().is_empty(),
                None => has_exited(self.pid),
            };
            for (stream, pipe) in &mut pipes {
                // After the exit exactly what is there: others may hold the pipe, and write for ever.
                let mut left = match pipe {
                    Some(pipe) if exited => ioctl_fionread(pipe)?,
                    _ => CHUNK_LEN as u64,
                };
                while let Some(open) = pipe.as_ref().filter(|_| left > 0) {
                    let most = left.min(CHUNK_LEN as u64) as usize;
                    match read(open, &mut buffer[..most]) {
                        Ok(0) => *pipe = None,
                        Ok(len) => {
                            left -= len as u64;
                            if !self.send(Output::Chunk(*stream, buffer[..len].to_vec())) {
                                return Ok(());
                            }
                        }
                        Err(Errno::AGAIN) => break,
                        Err(Errno::INTR) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            if exited {
                return Ok(());
            }
        }
    }

    /// Waits for room in the queue; false if the command was given up.
    fn send(&self, output: Output) -> bool {
        let sent = self.output.send(output).is_ok();
        // The lock is released before a waker runs code that is not ours.
        let waker = lock(&self.shared.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
        sent
    }
}

/// A descriptor that becomes readable when the process exits, where the system has one.
fn exit_descriptor(pid: Pid) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    return rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok();
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// Whether the process has exited; also if the system will not say, which `Shared::reap` then reports.
fn has_exited(pid: Pid) -> bool {
    let now = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::Pid(pid), now), Ok(None))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here is left half done by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

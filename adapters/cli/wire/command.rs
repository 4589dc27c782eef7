//! A command line that is run here, with the service that runs those in frames too.

use std::io;
use std::task::{Context, Poll};

use unstick_core::{Refusal, Request, Service, Stream};
use unstick_std::{Shell, WakePipe};

use super::BUFFER_LEN;

/// Who wants the output.
pub trait Asker {
    /// Fails when nobody does any more.
    fn check(&self) -> io::Result<()>;
    /// Waits for the wake; fails when nobody wants the output any more.
    fn wait_for(&self, wake: &mut WakePipe) -> io::Result<()>;
}

/// Runs a command line to its end and hands on its output as it is written; or says what kept it from running.
///
/// If this fails, because `asker` or `on_output` does, the command is killed with all that it has started.
pub fn run(
    line: &[u8],
    asker: &impl Asker,
    mut on_output: impl FnMut(Stream, &[u8]) -> io::Result<()>,
) -> io::Result<Result<(), Refusal>> {
    let mut shell = Shell::new();
    let mut wake = WakePipe::new()?;
    let waker = wake.waker();
    let mut cx = Context::from_waker(&waker);
    let request = Request::new("exec", line.len() as u64);
    let begun = shell
        .begin(&request)
        // A shell takes all of its line at once.
        .and_then(|()| shell.body(line))
        .and_then(|_| shell.end());
    if let Err(refusal) = begun {
        return Ok(Err(refusal));
    }
    let mut octets = vec![0; BUFFER_LEN];
    loop {
        let head = match shell.reply(&mut cx) {
            Poll::Pending => {
                asker.wait_for(&mut wake)?;
                continue;
            }
            Poll::Ready(Ok(head)) => head,
            Poll::Ready(Err(refusal)) => return Ok(Err(refusal)),
        };
        // A command that never pauses never waits.
        asker.check()?;
        let mut left = head.total_size;
        while left > 0 {
            let most = octets
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            match shell.fill(&mut cx, &mut octets[..most]) {
                Poll::Pending => asker.wait_for(&mut wake)?,
                Poll::Ready(Ok(len)) => {
                    on_output(head.stream.unwrap_or(Stream::Stdout), &octets[..len])?;
                    left -= len as u64;
                }
                Poll::Ready(Err(refusal)) => return Ok(Err(refusal)),
            }
        }
        if !head.more {
            return Ok(Ok(()));
        }
    }
}

//! `unstick ping`

use std::io::{self, Write};
use std::process::{ExitCode, exit};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use unstick_core::Request;

use crate::args::{Ping, Server};
use crate::failure::Failure;
use crate::peer::Peer;
use crate::printable::Printable;

/// After which an answer counts as lost.
const DEADLINE: Duration = Duration::from_secs(10);

/// Asks for empty echoes, and prints how long each takes.
pub fn run(args: &Ping) -> Result<ExitCode, Failure> {
    let mut peer = Some(Peer::connect(&args.server)?);
    let tally = Arc::new(Mutex::new(Tally::default()));
    summarize_when_interrupted(args, &tally)?;

    let mut next = Instant::now();
    for seq in 1..=args.count.unwrap_or(u64::MAX) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next = Instant::now() + args.interval;
        match ask(&mut peer, &args.server) {
            Ok((octets, time)) => {
                let mut tally = lock(&tally);
                tally.count(Some(time));
                if args.json {
                    print_json(&json!({"seq": seq, "octets": octets, "time_ms": in_ms(time)}))?;
                } else {
                    let (address, time) = (&args.server.address, ms(time));
                    print(format_args!(
                        "{octets} octets from {address}: seq={seq} time={time} ms\n"
                    ))?;
                }
            }
            Err(Failure::Unread) => return Err(Failure::Unread),
            Err(failure) => {
                lock(&tally).count(None);
                failure.report();
                if args.json {
                    print_json(&json!({"seq": seq, "error": failure.sentence()}))?;
                }
            }
        }
    }
    let tally = lock(&tally);
    tally.print(args)?;
    Ok(tally.exit_code())
}

/// Asks once: how many octets came back, and after what time. Connects again if there is no connection.
fn ask(peer: &mut Option<Peer>, server: &Server) -> Result<(u64, Duration), Failure> {
    let mut connected = match peer.take() {
        Some(peer) => peer,
        None => Peer::connect(server)?,
    };
    let mut octets = 0;
    let start = Instant::now();
    connected.request(Request::new("echo", 0), b"", Some(DEADLINE), |_, piece| {
        octets += piece.len() as u64;
        Ok(())
    })?;
    let time = start.elapsed();
    // Only a connection that has answered is asked again.
    *peer = Some(connected);
    Ok((octets, time))
}

/// What was asked, and what came back.
#[derive(Debug, Default)]
struct Tally {
    asked: u64,
    answered: u64,
    total: Duration,
    shortest: Option<Duration>,
    longest: Duration,
}

impl Tally {
    fn count(&mut self, time: Option<Duration>) {
        self.asked += 1;
        if let Some(time) = time {
            self.answered += 1;
            self.total += time;
            self.shortest = Some(self.shortest.map_or(time, |shortest| shortest.min(time)));
            self.longest = self.longest.max(time);
        }
    }

    fn print(&self, args: &Ping) -> Result<(), Failure> {
        let Self {
            asked, answered, ..
        } = self;
        let server = &args.server;
        if args.json {
            let mut line = json!({"asked": asked, "answered": answered});
            if let Some(shortest) = self.shortest {
                line["min_ms"] = in_ms(shortest).into();
                line["avg_ms"] = in_ms(self.total.div_f64(*answered as f64)).into();
                line["max_ms"] = in_ms(self.longest).into();
            }
            return print_json(&line);
        }
        let lost = (asked - answered) as f64 * 100.0 / (*asked).max(1) as f64;
        let transport = if server.udp { "udp" } else { "tcp" };
        print(format_args!(
            "--- {} {transport} ---\n{asked} asked, {answered} answered, {lost:.0}% lost\n",
            server.address
        ))?;
        match self.shortest {
            Some(shortest) => print(format_args!(
                "min/avg/max = {}/{}/{} ms\n",
                ms(shortest),
                ms(self.total.div_f64(*answered as f64)),
                ms(self.longest)
            )),
            None => Ok(()),
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    fn status(&self) -> u8 {
        u8::from(self.answered == 0)
    }
}

/// Prints the summary on Ctrl-C, whatever is going on then, and exits.
fn summarize_when_interrupted(args: &Ping, tally: &Arc<Mutex<Tally>>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::io("cannot catch signals", &error))?;
    let (args, tally) = (args.clone(), Arc::clone(tally));
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            let tally = lock(&tally);
            let _ = tally.print(&args);
            exit(tally.status().into());
        }
    });
    Ok(())
}

fn print(text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_fmt(text).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))
}

fn print_json(line: &Value) -> Result<(), Failure> {
    print(format_args!("{}\n", Printable(&line.to_string())))
}

fn ms(time: Duration) -> String {
    format!("{:.3}", in_ms(time))
}

fn in_ms(time: Duration) -> f64 {
    // Whole nanoseconds have a short notation.
    time.as_nanos() as f64 / 1e6
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

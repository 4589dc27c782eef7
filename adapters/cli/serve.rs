//! `unstick serve`

use std::fs;
use std::io;
use std::panic::resume_unwind;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::thread;

use rustix::process::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tracing::{info, warn};
use unstick_std::{Limits, Shutdown, shell};

use crate::args::{Engine, LogFormat, Serve};
use crate::failure::Failure;
use crate::listen::{Places, notify};
use crate::metrics::{Metrics, Page};
use crate::services::{OPS, Services};
use crate::{log, nal, threads, wire};

/// What every engine needs.
pub struct Setting {
    /// Where to listen.
    pub places: Places,
    /// What is taken, and for how long.
    pub limits: Limits,
    /// When to stop.
    pub shutdown: Shutdown,
    /// The page of metrics, if there is to be one.
    pub page: Option<Page>,
}

/// Serves until a signal says to stop.
pub fn run(args: Serve) -> Result<ExitCode, Failure> {
    log::start(args.verbose, args.log_format);
    let (format, config) = (args.log_format, args.config.clone());
    let served = serve(args).map_err(|failure| match config {
        Some(config) => failure.map(|sentence| format!("{sentence} (with {})", config.display())),
        None => failure,
    });
    match served {
        Ok(()) => {
            info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        // Who reads the log as JSON reads this too.
        Err(failure) if format == LogFormat::Json => Ok(failure.log()),
        Err(failure) => Err(failure),
    }
}

fn serve(args: Serve) -> Result<(), Failure> {
    let places = Places::find(&args)?;
    args.dialect.check(places.udp.is_some())?;
    if args.dialect.is_older() && args.engine == Engine::Nal {
        let sentence = "--engine nal speaks frames only: leave --wire out, or --engine";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    if args.dialect.is_older() && args.root.is_some() {
        let sentence = "files go in frames only: leave --wire out, or --root";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    raise_descriptor_limit();

    // Before anything is printed: who reads the addresses may send a signal at once.
    let shutdown = Shutdown::new().map_err(|error| cannot_start(&error))?;
    stop_when_signalled(shutdown.clone()).map_err(|error| cannot_start(&error))?;

    let page = args.metrics.as_ref().map(|address| {
        let metrics = Metrics::new(&OPS);
        let metrics = metrics.map_err(|error| cannot_start(&io::Error::other(error)))?;
        Page::bind(address, metrics)
    });
    let page = page.transpose()?;
    let requests = page.as_ref().map(|page| page.metrics().requests().clone());
    let services = Services::new(&args, places.udp.as_ref(), requests)?;
    let setting = Setting {
        places,
        limits: limits(&args),
        shutdown,
        page,
    };
    if args.dialect.is_older() {
        wire::serve(args.dialect, args.allow_exec, setting)
    } else if args.engine == Engine::Nal {
        nal::serve(setting, &services)
    } else {
        threads::serve(setting, &services)
    }
}

/// One of the servers that are there side by side.
pub type Serving<'s> = Box<dyn FnOnce() -> io::Result<()> + Send + 's>;

/// Serves until one of the servers ends, or all do.
pub fn side_by_side<'s>(
    shutdown: &Shutdown,
    servers: impl IntoIterator<Item = Serving<'s>>,
) -> Result<(), Failure> {
    let served = thread::scope(|scope| {
        let servers: Vec<_> = servers
            .into_iter()
            .map(|serve| scope.spawn(|| ending_all(shutdown, serve)))
            .collect();
        let mut ends = servers
            .into_iter()
            .map(|server| server.join().unwrap_or_else(|panic| resume_unwind(panic)));
        ends.try_for_each(|end| end)
    });
    served.map_err(|error| Failure::io("the server stopped", &error))
}

/// One server's end is the others' too, so none is waited for in vain.
fn ending_all(shutdown: &Shutdown, serve: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let served = serve();
    shutdown.request();
    served
}

fn cannot_start(error: &io::Error) -> Failure {
    Failure::io("cannot start the server", error)
}

fn limits(args: &Serve) -> Limits {
    Limits {
        max_connections: args.max_connections,
        max_header: args.max_header,
        max_body: args.max_body,
        header_timeout: args.header_timeout,
        idle_timeout: args.idle_timeout,
        ..Limits::default()
    }
}

/// A connection is a descriptor, and a command some more.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the number of open files");
    }
}

/// On the first signal finishes what is in flight, on the second exits at once.
pub fn stop_when_signalled(shutdown: Shutdown) -> io::Result<()> {
    // Writing more than a file may have is an error, and no reason to die.
    flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    // A terminal that is closed: whatever runs would go on by itself.
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    thread::spawn(move || {
        for signal in signals.forever() {
            if shutdown.is_requested() {
                shell::kill_all();
                process::exit(128 + signal);
            }
            info!(signal, "finishing what is in flight");
            notify(NotifyState::Stopping);
            shutdown.request();
        }
    });
    Ok(())
}

/// Whether who has started this wants it to go on in spite of the signal, as nohup does; also where that cannot be told.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut masks = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigIgn:"));
    let mask = masks
        .next()
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask >> (signal - 1) & 1 == 1)
}

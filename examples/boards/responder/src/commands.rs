//! What `exec` carries out.

use unstick_core::services::{Command, Output};

use crate::shared::Shared;

/// The exit status of a command that was called wrongly.
const USAGE: i32 = 2;

/// The commands; `help` is there by itself.
pub const COMMANDS: &[Command<&Shared>] = &[
    Command {
        name: "uptime",
        help: "the seconds since the start",
        run: uptime,
    },
    Command {
        name: "stats",
        help: "what is counted, and what the call stack has needed",
        run: stats,
    },
    Command {
        name: "led",
        help: "on|off|status: the light",
        run: led,
    },
    Command {
        name: "reboot",
        help: "start anew, once all replies are on their way",
        run: reboot,
    },
];

fn uptime(shared: &mut &Shared, _: &str, out: &mut Output<'_>) -> i32 {
    let uptime = shared.uptime();
    writeln!(out, "{}.{:03} s", uptime.as_secs(), uptime.subsec_millis());
    0
}

fn stats(shared: &mut &Shared, _: &str, out: &mut Output<'_>) -> i32 {
    write!(out, "{}", shared.stats());
    0
}

fn led(shared: &mut &Shared, arguments: &str, out: &mut Output<'_>) -> i32 {
    match arguments {
        "on" => shared.set_led(true),
        "off" => shared.set_led(false),
        "status" => {
            writeln!(out, "{}", if shared.led() { "on" } else { "off" });
        }
        _ => {
            writeln!(out, "usage: led on|off|status");
            return USAGE;
        }
    }
    0
}

fn reboot(shared: &mut &Shared, _: &str, out: &mut Output<'_>) -> i32 {
    shared.reboot();
    writeln!(out, "starting anew");
    0
}

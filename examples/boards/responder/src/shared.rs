//! What all connections see of the board.

use core::cell::RefCell;
use core::fmt;
use core::time::Duration;

use critical_section::Mutex;
use unstick_nal::{TcpStats, UdpStats};

use crate::disk::Disk;
use crate::stack::StackUse;

/// What all connections see of the board, and may ask of it. The board does it once they have had their answers.
#[derive(Debug)]
pub struct Shared {
    name: &'static str,
    stack: fn() -> StackUse,
    state: Mutex<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    load: Load,
    led: bool,
    reboot: bool,
    disk: Disk,
}

/// What the servers have done so far, and are doing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Since the start.
    pub uptime: Duration,
    /// Peers that can be served at once over TCP.
    pub slots: usize,
    /// Of those, the ones that are in use.
    pub taken: usize,
    /// What a slot takes, with the stack's part, in octets.
    pub slot_len: usize,
    /// Over TCP.
    pub tcp: TcpStats,
    /// Over UDP.
    pub udp: UdpStats,
}

impl Shared {
    /// For a board of this name, whose call stack is asked about with `stack`.
    pub fn new(name: &'static str, stack: fn() -> StackUse) -> Self {
        Self {
            name,
            stack,
            state: Mutex::new(RefCell::new(State {
                load: Load::default(),
                led: false,
                reboot: false,
                disk: Disk::new(),
            })),
        }
    }

    /// The board's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Takes note of what the servers do.
    pub fn report(&self, load: Load) {
        self.with(|state| state.load = load);
    }

    /// Since the start.
    pub fn uptime(&self) -> Duration {
        self.with(|state| state.load.uptime)
    }

    /// Everything that is counted.
    pub fn stats(&self) -> Stats {
        Stats {
            name: self.name,
            load: self.with(|state| state.load),
            stack: (self.stack)(),
        }
    }

    /// Whether the light is on.
    pub fn led(&self) -> bool {
        self.with(|state| state.led)
    }

    /// Has the light switched.
    pub fn set_led(&self, on: bool) {
        self.with(|state| state.led = on);
    }

    /// Whether the board is to start anew.
    pub fn is_rebooting(&self) -> bool {
        self.with(|state| state.reboot)
    }

    /// Has the board start anew.
    pub fn reboot(&self) {
        self.with(|state| state.reboot = true);
    }

    /// Looks at the files in memory.
    pub(crate) fn disk<R>(&self, look: impl FnOnce(&mut Disk) -> R) -> R {
        self.with(|state| look(&mut state.disk))
    }

    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        critical_section::with(|cs| look(&mut self.state.borrow_ref_mut(cs)))
    }
}

/// Everything that is counted; its text is one `name value` a line.
#[derive(Debug, Clone, Copy)]
pub struct Stats {
    name: &'static str,
    load: Load,
    stack: StackUse,
}

impl Stats {
    /// What is counted, each with its name.
    fn counts(&self) -> [(&'static str, u64); 17] {
        let Load {
            uptime,
            slots,
            taken,
            slot_len,
            tcp,
            udp,
        } = self.load;
        [
            ("uptime_ms", uptime.as_millis() as u64),
            ("slots", slots as u64),
            ("taken", taken as u64),
            ("slot_len", slot_len as u64),
            ("stack_len", self.stack.len as u64),
            ("stack_peak", self.stack.peak as u64),
            ("tcp_accepted", tcp.accepted.into()),
            ("tcp_refused", tcp.refused.into()),
            ("tcp_turned", tcp.turned.into()),
            ("tcp_requests", tcp.requests.into()),
            ("tcp_faults", tcp.faults.into()),
            ("tcp_lost", tcp.lost.into()),
            ("udp_received", udp.received.into()),
            ("udp_requests", udp.requests.into()),
            ("udp_repeats", udp.repeats.into()),
            ("udp_refused", udp.refused.into()),
            ("udp_lost", udp.lost.into()),
        ]
    }

    /// As one JSON object.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut impl fmt::Write) -> fmt::Result {
        // The names are plain words: nothing is to be escaped.
        write!(out, "{{\"board\":\"{}\"", self.name)?;
        for (name, count) in self.counts() {
            write!(out, ",\"{name}\":{count}")?;
        }
        out.write_char('}')
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "board {}", self.name)?;
        for (name, count) in self.counts() {
            writeln!(f, "{name} {count}")?;
        }
        Ok(())
    }
}

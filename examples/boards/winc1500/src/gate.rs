//! The way to the module, which can be shut.
//!
//! wincwifi takes an event from the module before it looks at what has arrived, in every call. While the gate is shut there
//! are no events and nothing is sent, so that a call does nothing but look.

use core::cell::Cell;

use wincwifi::{CommError, Transfer};

/// The SPI command that asks for an event: read the register 0x1070, which is WIFI_HOST_RCV_CTRL_0.
const ASK: [u8; 4] = [0xca, 0x00, 0x10, 0x70];
/// The answer that there is none: the command, a zero, the start of the data, and zeros from there on.
const NO_EVENT: [u8; 3] = [0xca, 0x00, 0xf0];
/// How long the module has for an answer to what it was asked.
const PATIENCE_US: u32 = 50_000;

/// What may pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything.
    #[default]
    Open,
    /// Everything, but the module is given time before it is asked for an event.
    Patient,
    /// Nothing.
    Shut,
}

/// Whether the way to the module is open. The memory is the caller's: the [`Stack`](crate::Stack) and its way to the module
/// share it.
#[derive(Debug, Default)]
pub struct Lock(Cell<Mode>);

impl Lock {
    /// An open one.
    pub const fn new() -> Self {
        Self(Cell::new(Mode::Open))
    }

    /// Does this in that mode.
    pub(crate) fn with<R>(&self, mode: Mode, act: impl FnOnce() -> R) -> R {
        self.0.set(mode);
        let result = act();
        self.0.set(Mode::Open);
        result
    }
}

/// The transfer `X`, as far as the lock lets through.
#[derive(Debug)]
pub struct Gate<'l, X> {
    transfer: X,
    lock: &'l Lock,
    /// Octets of the answer that were read.
    answered: usize,
}

impl<'l, X> Gate<'l, X> {
    pub(crate) const fn new(transfer: X, lock: &'l Lock) -> Self {
        Self {
            transfer,
            lock,
            answered: 0,
        }
    }
}

impl<X: Transfer> Transfer for Gate<'_, X> {
    fn recv(&mut self, dest: &mut [u8]) -> Result<(), CommError> {
        if self.lock.0.get() != Mode::Shut {
            return self.transfer.recv(dest);
        }
        for octet in dest {
            *octet = NO_EVENT.get(self.answered).copied().unwrap_or_default();
            self.answered += 1;
        }
        Ok(())
    }

    fn send(&mut self, src: &[u8]) -> Result<(), CommError> {
        let asks = src.starts_with(&ASK);
        match self.lock.0.get() {
            Mode::Shut => {
                self.answered = 0;
                return match asks {
                    true => Ok(()),
                    false => Err(CommError::WriteError),
                };
            }
            Mode::Patient if asks => self.transfer.delay_us(PATIENCE_US),
            Mode::Patient | Mode::Open => {}
        }
        self.transfer.send(src)
    }

    fn switch_to_high_speed(&mut self) {
        self.transfer.switch_to_high_speed();
    }

    fn delay_us(&mut self, delay: u32) {
        self.transfer.delay_us(delay);
    }
}

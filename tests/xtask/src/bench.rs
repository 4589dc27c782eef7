//! What the responder costs beside an echo on smoltcp alone, on the same emulated board, in the same run.

use anyhow::Result;

use crate::boards::{Board, Firmware};
use crate::process::{command, run};
use crate::qemu::{PORT, Qemu};
use crate::tools::{self, Need};

/// The port of the bare echo (RFC 862).
const ECHO_PORT: u16 = 7;

/// Boots both, and has a stock Python ask them in turns.
pub fn board(name: &str, mib: u32) -> Result<()> {
    let board = Board::named(name)?;
    tools::provide(board.needs().iter().chain([&Need::PYTHON]))?;
    board.build()?;
    // One sleeps while the other is asked.
    let responder = Qemu::boot(board, Firmware::Responder, PORT, 0)?;
    let bare = Qemu::boot(board, Firmware::Bare, ECHO_PORT, 0)?;
    let addresses = [&responder, &bare].map(|qemu| qemu.address.to_string());
    run(command("python3")
        .args(["-s", "-B", "tests/bench/board.py"])
        .args(addresses)
        .arg(mib.to_string()))
}

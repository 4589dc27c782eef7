//! A stack that overflows: it has to be said, before anything else is harmed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::boards::{BOARDS, Board, Firmware};
use crate::elf::Elf;
use crate::qemu::{PORT, Qemu};
use crate::tools;

/// How long the firmware may take to fall.
const SOON: Duration = Duration::from_secs(20);
/// How far below the stack's end the stack pointer may be at the first access there, in octets: no frame of the firmware that overflows
/// is as long.
const NEAR: u64 = 512;

/// Runs the firmware that overflows its stack on every board that is emulated.
pub fn gate() -> Result<()> {
    for board in BOARDS.iter().filter(|board| board.emulator.is_some()) {
        tools::provide(&board.needs())?;
        board.build()?;
        overflow(board).context(board.name)?;
    }
    Ok(())
}

/// It has to say so, and where, and to be able to do it again once it has started anew.
fn overflow(board: &Board) -> Result<()> {
    let elf = Elf::read(&board.firmware(Firmware::Overflow))?;
    let end = elf.address("_stack_end")?;
    let (qemu, mut begins) = begun(board)?;
    let deadline = Instant::now() + SOON;
    for round in 0..2 {
        let line = || qemu.line_until(deadline).context("it says nothing more");
        if round > 0 {
            begins = line()?;
        }
        ensure!(begins == "overflowing", "it says: {begins}");
        let said = line()?;
        let pointer = stack_pointer(&said).with_context(|| format!("it says: {said}"))?;
        if !(end - NEAR..end).contains(&pointer) {
            bail!("the stack ends at {end:#x}, and this was noticed at {pointer:#x} only");
        }
        println!("{}: {said}", board.name);
    }
    Ok(())
}

/// The board, and its first words. Without any, QEMU may have found its port taken meanwhile, and is tried once more.
fn begun(board: &Board) -> Result<(Qemu, String)> {
    for _ in 0..2 {
        let qemu = Qemu::spawn(board, Firmware::Overflow, PORT, 0)?;
        if let Some(line) = qemu.line_until(Instant::now() + SOON) {
            return Ok((qemu, line));
        }
    }
    bail!("it says nothing")
}

/// Where the stack pointer was, according to the report of an overflow.
fn stack_pointer(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("stack overflow: the stack pointer is 0x")?;
    u64::from_str_radix(rest.split(',').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let said = "stack overflow: the stack pointer is 0x1fffffe0, the stack ends at 0x20000000; starting anew";
        assert_eq!(stack_pointer(said), Some(0x1fff_ffe0));
        assert_eq!(stack_pointer("fault at 0x100"), None);
    }
}

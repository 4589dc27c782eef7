//! The boards of `examples/boards`: what each is built for, and what emulates it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{cargo, run, target_dir};
use crate::tools::Need;

/// The workspace of the firmware.
pub const MANIFEST: &str = "examples/boards/Cargo.toml";
/// What cargo finds by itself when it is called there.
pub const CONFIG: &str = "examples/boards/.cargo/config.toml";

/// A board for which there is firmware.
#[derive(Debug)]
pub struct Board {
    /// Its package, and what the commands call it.
    pub name: &'static str,
    /// What it is built for.
    pub target: &'static str,
    /// What it runs on here; none for one that has to be bought.
    pub emulator: Option<Emulator>,
}

/// QEMU's idea of a board.
#[derive(Debug)]
pub struct Emulator {
    /// QEMU for this processor.
    pub program: &'static str,
    /// The machine, as arguments; `FORWARD` stands for the ports that are forwarded.
    pub machine: &'static str,
    /// That it is installed.
    pub need: Need,
}

/// What emulates boards with an Arm processor.
pub const ARM: Need = Need::Program {
    check: &["qemu-system-arm", "--version"],
    advice: "qemu-system-arm is missing: install it (Debian: apt-get install qemu-system-arm)",
};

/// What emulates boards with a RISC-V processor.
pub const RISCV: Need = Need::Program {
    check: &["qemu-system-riscv32", "--version"],
    advice: "qemu-system-riscv32 is missing: install it (Debian: apt-get install qemu-system-misc)",
};

/// All of them. A new board is a new entry here.
pub static BOARDS: &[Board] = &[
    Board {
        name: "lm3s6965",
        target: "thumbv7m-none-eabi",
        emulator: Some(Emulator {
            program: "qemu-system-arm",
            machine: "-machine lm3s6965evb -nic user,model=stellaris,FORWARD",
            need: ARM,
        }),
    },
    Board {
        name: "mps2-an385",
        target: "thumbv7m-none-eabi",
        emulator: Some(Emulator {
            program: "qemu-system-arm",
            machine: "-machine mps2-an385 -nic user,model=lan9118,FORWARD",
            need: ARM,
        }),
    },
    Board {
        name: "riscv-virt",
        target: "riscv32imac-unknown-none-elf",
        emulator: Some(Emulator {
            program: "qemu-system-riscv32",
            machine: "-machine virt -bios none -device virtio-net-device,netdev=net -netdev user,id=net,FORWARD",
            need: RISCV,
        }),
    },
    Board {
        name: "feather-m0-wifi",
        target: "thumbv6m-none-eabi",
        emulator: None,
    },
];

/// The programs of a board's package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// The responder.
    Responder,
    /// An echo on smoltcp alone.
    Bare,
    /// One that overflows its stack.
    Overflow,
}

impl Board {
    /// The board of this name.
    pub fn named(name: &str) -> Result<&'static Self> {
        BOARDS
            .iter()
            .find(|board| board.name == name)
            .with_context(|| {
                let names: Vec<&str> = BOARDS.iter().map(|board| board.name).collect();
                format!("there is no board {name}, only {}", names.join(", "))
            })
    }

    /// What building it needs, and running it if it can be run here.
    pub fn needs(&'static self) -> Vec<Need> {
        let emulator = self.emulator.as_ref().map(|emulator| emulator.need);
        [Need::Target(self.target)]
            .into_iter()
            .chain(emulator)
            .collect()
    }

    /// Builds the board's programs.
    pub fn build(&self) -> Result<()> {
        run(&mut self.cargo("build"))
    }

    /// A command of cargo for the board's package.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = cargo([subcommand, "--release", "--config", CONFIG]);
        command
            .args(["--manifest-path", MANIFEST, "--package", self.name])
            .args(["--target", self.target, "--target-dir"])
            .arg(directory());
        command
    }

    /// Where one of them is, once it is built.
    pub fn firmware(&self, firmware: Firmware) -> PathBuf {
        let suffix = match firmware {
            Firmware::Responder => "",
            Firmware::Bare => "-bare",
            Firmware::Overflow => "-overflow",
        };
        let name = format!("{}{suffix}", self.name);
        directory().join(self.target).join("release").join(name)
    }
}

/// Where the firmware is built.
pub fn directory() -> PathBuf {
    target_dir().join("boards")
}

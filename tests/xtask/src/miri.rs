//! Core's tests under Miri, which sees what the compiler only assumes.

use anyhow::Result;

use crate::process::{self, nightly, target_dir};
use crate::tools::Need;

/// What [`run`] needs.
pub const NEEDS: &[Need] = &[Need::Nightly("miri"), Need::Nightly("rust-src")];

/// How many cases a property test tries: Miri is some hundred times slower than the processor.
const CASES: &str = "8";

/// `cargo miri test`, for core alone: all else does input and output.
pub fn run() -> Result<()> {
    process::run(
        nightly(["cargo", "miri", "test", "-p", "unstick-core"])
            // Property tests keep what they found in files.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .env("PROPTEST_CASES", CASES)
            .env("CARGO_TARGET_DIR", target_dir().join("miri")),
    )
}

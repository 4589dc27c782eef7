//! Permissions and times of files and directories.

use std::os::fd::AsFd;

use rustix::fs::{
    Mode as RawMode, RawMode as Bits, Stat, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens,
};
use rustix::io::Errno;
use unstick_core::Mode;
use unstick_core::services::Attributes;

const NANOS: u64 = 1_000_000_000;

/// Those of what was looked at. A time before 1970 is none.
pub(crate) fn attributes_of(found: &Stat) -> Attributes {
    let seconds = u64::try_from(found.st_mtime).ok();
    #[allow(clippy::useless_conversion, reason = "signed on other systems")]
    let nanos = u64::try_from(found.st_mtime_nsec).ok();
    Attributes {
        // Without the bits that let a program run as somebody else.
        mode: Mode::new((found.st_mode & 0o777) as u16),
        mtime_ns: seconds.zip(nanos).and_then(|(seconds, nanos)| {
            let whole = seconds.checked_mul(NANOS)?;
            whole.checked_add(nanos)
        }),
    }
}

/// Sets those that there are.
pub(super) fn set_attributes(file: impl AsFd, attributes: Attributes) -> Result<(), Errno> {
    if let Some(mode) = attributes.mode {
        set_mode(&file, mode, 0)?;
    }
    if let Some(mtime_ns) = attributes.mtime_ns {
        let omit = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        // Both fit: 2^64 nanoseconds are 585 years.
        let modified = Timespec {
            tv_sec: (mtime_ns / NANOS) as _,
            tv_nsec: (mtime_ns % NANOS) as _,
        };
        let times = Timestamps {
            last_access: omit,
            last_modification: modified,
        };
        futimens(file, &times)?;
    }
    Ok(())
}

/// Sets these permissions, and besides them those of `more`.
pub(super) fn set_mode(file: impl AsFd, mode: Mode, more: Bits) -> Result<(), Errno> {
    fchmod(file, RawMode::from_raw_mode(Bits::from(mode.bits()) | more))
}

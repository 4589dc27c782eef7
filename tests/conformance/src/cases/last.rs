//! What is left when all is over.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Case;
use super::connections::all_served;
use super::operations::{figure, output};
use crate::peer::Busy;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[Case {
    name: "last: no slot is lost",
    section: "Errors",
    run: no_slot_lost,
}];

fn no_slot_lost(target: &Target) -> Result<()> {
    all_served(target)?;
    // The connections of a moment ago end in their own time.
    target.patiently(|| {
        let mut peer = target.served()?;
        match figure(&output(&mut peer, "stats")?, "taken")? {
            1 => Ok(()),
            _ => Err(Busy.into()),
        }
    })?;
    let stats = output(&mut target.served()?, "stats")?;
    let uptime = Duration::from_millis(figure(&stats, "uptime_ms")?);
    let since = target.since.elapsed();
    // A board's clock need not be exact.
    ensure!(
        uptime > since / 2,
        "up for {uptime:?}, and not for {since:?}: it has started anew"
    );
    Ok(())
}

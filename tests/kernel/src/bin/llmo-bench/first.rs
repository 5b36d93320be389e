//! First calls through libraries that nobody used before, and what a library costs.

use anyhow::Result;
use kernel_tests::first;
use kernel_tests::rig::Rig;
use kernel_tests::watch::cpu;

use crate::table::Table;

const TRIES: usize = 20;

/// How many are not seen from their first byte, and the daemon's processor time for each.
pub(crate) fn run(table: &mut Table) -> Result<()> {
    let rig = Rig::new()?;
    let before = cpu(rig.daemon.pid())?;
    let late = first::late(&rig, TRIES)?;
    let taken = cpu(rig.daemon.pid())?.saturating_sub(before);
    table.at_most(
        "first calls of 20, 20 ms after the mapping of a new library, joined late",
        late.len() as f64,
        "calls",
        1.0,
    );
    table.show(
        "... daemon CPU for each (library, process, call, inspect)",
        taken.as_secs_f64() * 1e3 / TRIES as f64,
        "ms",
    );
    Ok(())
}

//! Whether every call is accounted for when an application makes them as fast as it can.

use std::time::Duration;

use anyhow::Result;
use kernel_tests::clients::Clients;
use kernel_tests::daemon::Daemon;
use kernel_tests::wait_for;

use crate::pairs::Pairs;
use crate::table::Table;

const SECONDS: u32 = 10;

/// Calls as the daemon counts them, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    captured: f64,
    ignored: f64,
    lost: f64,
}

/// The loop at full speed for ten seconds. The host must be quiet: other programs' TLS calls would be counted too.
pub(crate) fn run(table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    provider::make_authority(dir.path())?;
    let clients = Clients::set_up()?;
    let daemon = Daemon::start()?;
    let before = Counted::of(&daemon)?;
    let mut pairs = Pairs::start(&clients, dir.path(), "llm", SECONDS)?;
    let measured = pairs.go()?;
    let counted = settled(&daemon)?;
    let produced = (measured.reads + measured.writes) as f64;
    let captured = counted.captured - before.captured;
    let ignored = counted.ignored - before.ignored;
    let lost = counted.lost - before.lost;
    table.show("TLS calls produced in 10 s of a CPython loop", produced, "calls");
    table.show("... captured", captured, "calls");
    table.show("... of the loop's server side, let pass unread", ignored, "calls");
    table.at_most("... lost (counted by cause)", lost, "calls", 0.0);
    table.at_most("... unaccounted for", (produced - captured - ignored - lost).abs(), "calls", 0.0);
    table.show("rate", produced / f64::from(SECONDS), "calls/s");
    Ok(())
}

/// The counts once they stand still.
fn settled(daemon: &Daemon) -> Result<Counted> {
    let mut last = Counted::default();
    wait_for("the daemon to catch up", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(500));
        let now = Counted::of(daemon).ok()?;
        let still = now == last;
        last = now;
        still.then_some(now)
    })
}

impl Counted {
    fn of(daemon: &Daemon) -> Result<Self> {
        let metrics = daemon.metrics()?;
        let sum = |name: &str, wanted: fn(&str) -> bool| {
            let lines = metrics.lines().filter(|line| line.starts_with(name) && wanted(line));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Ok(Self {
            captured: sum("llm_observer_events_total{", |line| {
                line.contains("kind=\"read\"") || line.contains("kind=\"write\"")
            }),
            ignored: sum("llm_observer_ignored_calls_total", |_| true),
            lost: sum("llm_observer_events_lost_total{", |_| true),
        })
    }
}

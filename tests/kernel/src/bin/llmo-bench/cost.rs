//! What being observed costs an application, and what it costs those that are not.

use anyhow::{Context, Result, bail};
use kernel_tests::clients::Clients;
use kernel_tests::daemon::{Daemon, another_runs};
use kernel_tests::helper::Helper;

use crate::pairs::Pairs;
use crate::table::Table;

/// Each configuration is measured this often, in turn, so that a noisy minute hits all alike.
const ROUNDS: usize = 4;
const SECONDS: u32 = 2;

/// Who is watching.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    Nobody,
    /// A program that does nothing, at the two packet hooks: what the kernel itself takes for calling one.
    Empty,
    /// Probes at the public symbols, where everybody else puts them.
    Symbols,
    /// Where our placement puts them.
    Placed,
}

/// A captured TLS write + read pair, three ways side by side.
pub(crate) fn tls(table: &mut Table) -> Result<()> {
    let [none, symbols, placed] = medians("llm", [Watch::Nobody, Watch::Symbols, Watch::Placed])?;
    table.show("CPython TLS write + read pair of 256 bytes, no daemon", none / 1e3, "µs");
    table.show("... with probes at the public symbols", symbols / 1e3, "µs");
    table.show("... with probes where placement puts them", placed / 1e3, "µs");
    table.show("added by probes at the public symbols", (symbols - none) / 1e3, "µs a pair");
    table.at_most("added by probes where placement puts them", (placed - none) / 1e3, "µs a pair", 4.0);
    Ok(())
}

/// A captured TCP segment, and one that is none of ours.
pub(crate) fn segments(table: &mut Table) -> Result<()> {
    let [none, watched] = medians("segment", [Watch::Nobody, Watch::Placed])?;
    table.show("loopback TCP ping-pong of 256 bytes each way, no daemon", none / 1e3, "µs");
    let added = (watched - none) / 1e3 / 2.0;
    table.at_most("added per captured segment on that ping-pong (plain HTTP model call)", added, "µs", 1.0);
    let [none, empty, watched] = medians("pingpong", [Watch::Nobody, Watch::Empty, Watch::Placed])?;
    let added = |with: f64| (with - none) / 1e3 / 2.0;
    table.show("added per segment on the ping-pong of a socket that is not tracked", added(watched), "µs");
    table.show("... relative", (watched / none - 1.0) * 100.0, "%");
    table.show("... added by programs at the same hooks that do nothing", added(empty), "µs");
    Ok(())
}

/// Programs that make no model calls.
pub(crate) fn others(table: &mut Table) -> Result<()> {
    let [none, ignored] = medians("ignored", [Watch::Nobody, Watch::Placed])?;
    table.show("added to a pair of a TLS program that is ignored", (ignored - none) / 1e3, "µs a pair");
    let [none, watched] = medians("tcp", [Watch::Nobody, Watch::Placed])?;
    table.show("added to a loopback TCP send + receive of a program without TLS", (watched - none) / 1e3, "µs a pair");
    table.show("... relative", (watched / none - 1.0) * 100.0, "%");
    let [none, watched] = medians("cpu", [Watch::Nobody, Watch::Placed])?;
    table.show("slow-down of a program that only computes", (watched / none - 1.0) * 100.0, "%");
    Ok(())
}

/// Nanoseconds a pair for each way of being watched: the median of the rounds.
fn medians<const N: usize>(mode: &str, ways: [Watch; N]) -> Result<[f64; N]> {
    if another_runs(None) {
        bail!("another daemon observes this host: its probes would be counted as nobody's");
    }
    let dir = tempfile::tempdir()?;
    provider::make_authority(dir.path())?;
    let clients = Clients::set_up()?;
    let mut rounds: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (way, times) in ways.iter().zip(&mut rounds) {
            let watcher = watch(*way, &clients)?;
            times.push(Pairs::start(&clients, dir.path(), mode, SECONDS)?.go()?.pair_ns);
            drop(watcher);
        }
    }
    let mut medians = [0.0; N];
    for (median, times) in medians.iter_mut().zip(&mut rounds) {
        times.sort_by(f64::total_cmp);
        *median = *times.get(times.len() / 2).context("no round")?;
    }
    Ok(medians)
}

/// Watches until it is dropped.
#[expect(dead_code, reason = "held for what dropping it does")]
enum Watcher {
    Nobody,
    Other(Helper),
    Ours(Daemon),
}

fn watch(way: Watch, clients: &Clients) -> Result<Watcher> {
    Ok(match way {
        Watch::Nobody => Watcher::Nobody,
        Watch::Empty => Watcher::Other(Helper::other_programs(clients, "multi")?),
        Watch::Symbols => Watcher::Ours(Daemon::start_with(&[], &[("LLM_OBSERVER_PLACEMENT", "symbol")])?),
        Watch::Placed => Watcher::Ours(Daemon::start()?),
    })
}

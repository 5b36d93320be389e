//! Metrics of the observer itself: its process, its kernel side, its coverage. Filled at each scrape.

use std::collections::BTreeMap;

use procfs::process::{LimitValue, Process};

use crate::coverage::{Edge, KernelCounters, ProbeRow, ProbeState, ProcessRow, Visibility};
use crate::detect::{DETECTORS, Severity};
use crate::export::catalogue::Id;
use crate::export::store::Store;
use crate::pipeline::Counters;
use crate::units::LossCause;

/// The commit this was built from, where the build knew it.
pub const REVISION: &str = match option_env!("LLM_OBSERVER_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The compiler, where the build knew it.
pub const RUSTC: &str = match option_env!("LLM_OBSERVER_RUSTC") {
    Some(rustc) => rustc,
    None => "unknown",
};

/// Starts the series whose label values are known beforehand at 0.
pub fn start(store: &mut Store) {
    store.set_to(Id::BuildInfo, &[env!("CARGO_PKG_VERSION"), REVISION, RUSTC], 1.0);
    for row in DETECTORS {
        store.series(Id::DetectorEvaluated, &[row.name]);
        for severity in Severity::ALL {
            store.series(Id::Findings, &[row.name, severity.name()]);
        }
    }
    for cause in LossCause::ALL {
        store.series(Id::EventsLost, &[cause.name()]);
        store.series(Id::LostBytes, &[cause.name()]);
    }
}

/// The kernel side's account.
pub fn edge(store: &mut Store, edge: &dyn Edge) {
    counters(store, &edge.counters());
    probes(store, &edge.probes());
    processes(store, &edge.processes());
}

/// The pipeline's account.
pub fn pipeline(store: &mut Store, counters: &Counters, streams_overflow: u64) {
    for (kind, count) in counters.kinds() {
        store.set_to(Id::Events, &[kind], count as f64);
    }
    store.set_to(Id::ShapesWithheld, &[], counters.shapes_withheld as f64);
    store.set_to(Id::TableOverflow, &["sockets"], counters.sockets_evicted as f64);
    store.set_to(Id::TableOverflow, &["connections"], counters.evicted as f64);
    store.set_to(Id::TableOverflow, &["streams"], streams_overflow as f64);
}

fn counters(store: &mut Store, counters: &KernelCounters) {
    // The kernel side saw these losses itself and counts those of connections nobody has decided about too, so its
    // figure replaces what the pipeline inferred from the holes.
    for (id, lost) in [(Id::EventsLost, &counters.lost_calls), (Id::LostBytes, &counters.lost_bytes)] {
        for (cause, count) in lost {
            store.set_to(id, &[cause.name()], *count as f64);
        }
    }
    for (direction, calls) in ["read", "write"].into_iter().zip(counters.captured) {
        store.set_to(Id::CapturedCalls, &[direction], calls as f64);
    }
    store.set_to(Id::DiscoveryLost, &[], counters.discovery_lost as f64);
    store.set_to(Id::IgnoredCalls, &[], counters.ignored_calls as f64);
    for (program, seconds) in &counters.seconds {
        store.set_to(Id::KernelSeconds, &[program], *seconds);
    }
}

fn probes(store: &mut Store, rows: &[ProbeRow]) {
    store.clear(Id::ProbeState);
    store.clear(Id::ProbeHits);
    for row in rows {
        store.set_to(Id::ProbeState, &[row.probe, &row.target, probe_state(row.state)], 1.0);
        if let Some(hits) = row.hits {
            store.add_to(Id::ProbeHits, &[row.probe, &row.target], hits as f64);
        }
    }
}

fn processes(store: &mut Store, rows: &[ProcessRow]) {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for row in rows {
        *counts.entry((visibility(row.visibility), row.reason)).or_default() += 1;
    }
    store.clear(Id::CoverageProcesses);
    for ((visibility, reason), count) in counts {
        store.set_to(Id::CoverageProcesses, &[visibility, reason], f64::from(count));
    }
}

/// The `state` label and column.
#[must_use]
pub fn probe_state(state: ProbeState) -> &'static str {
    match state {
        ProbeState::Ok => "ok",
        ProbeState::Unsupported => "unsupported",
        ProbeState::NotApplicable => "not_applicable",
        ProbeState::Broken => "broken",
    }
}

/// The `visibility` label and column.
#[must_use]
pub fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Plaintext => "plaintext",
        Visibility::Shape => "shape",
        Visibility::None => "none",
    }
}

/// The daemon's own process, from /proc. What cannot be read is left out.
pub fn process(store: &mut Store) {
    let Ok(own) = Process::myself() else { return };
    if let Ok(stat) = own.stat() {
        let ticks = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        store.set_to(Id::ProcessCpu, &[], ticks);
        store.set_to(Id::ProcessMemory, &[], (stat.rss * procfs::page_size()) as f64);
        store.set_to(Id::ProcessVirtual, &[], stat.vsize as f64);
        store.set_to(Id::ProcessThreads, &[], stat.num_threads as f64);
        if let Ok(boot) = procfs::boot_time_secs() {
            let started = boot as f64 + stat.starttime as f64 / procfs::ticks_per_second() as f64;
            store.set_to(Id::ProcessStart, &[], started);
        }
    }
    if let Ok(open) = own.fd_count() {
        store.set_to(Id::ProcessOpenFds, &[], open as f64);
    }
    if let Ok(LimitValue::Value(most)) = own.limits().map(|limits| limits.max_open_files.soft_limit) {
        store.set_to(Id::ProcessMaxFds, &[], most as f64);
    }
}

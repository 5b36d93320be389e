//! Metrics of the observer itself: its process, its kernel side, its coverage. Filled at each scrape.

use std::collections::{BTreeMap, BTreeSet};

use procfs::process::{LimitValue, Process};

use crate::export::catalogue::{calls, observer as own};
use crate::export::store::SeriesStore;
use capture::stacks::LayoutCertainty;
use capture::units::LossCause;
use detectors::{DETECTORS, FindingSeverity, metrics as verdicts};
use edge::coverage::{
    CaptureEdge, DiscoveryCounters, HealthCheck, KernelCounters, ProbeRow, ProbeState, ProcessRow, TlsVisibility,
};
use ledger::pipeline::PipelineCounters;

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
pub fn start(store: &mut SeriesStore) {
    store.set_to(own::BUILD_INFO.with(&[env!("CARGO_PKG_VERSION"), REVISION, RUSTC]), 1.0);
    for row in DETECTORS {
        store.series(verdicts::DETECTOR_EVALUATED.with(&[row.name]));
        for severity in FindingSeverity::ALL {
            store.series(verdicts::FINDINGS.with(&[row.name, severity.name()]));
        }
    }
    for cause in LossCause::ALL {
        store.series(own::EVENTS_LOST.with(&[cause.name()]));
        store.series(own::LOST_BYTES.with(&[cause.name()]));
    }
}

/// The kernel side's account.
pub fn edge(store: &mut SeriesStore, edge: &dyn CaptureEdge) {
    counters(store, &edge.counters());
    probes(store, &edge.probes());
    processes(store, &edge.processes());
}

/// The pipeline's account.
pub fn pipeline(store: &mut SeriesStore, counters: &PipelineCounters, streams_overflow: u64) {
    for (kind, count) in counters.kinds() {
        store.set_to(own::EVENTS.with(&[kind]), count as f64);
    }
    store.set_to(calls::SHAPES_WITHHELD.with(&[]), counters.shapes_withheld as f64);
    store.set_to(own::TABLE_OVERFLOW.with(&["sockets"]), counters.sockets_evicted as f64);
    store.set_to(own::TABLE_OVERFLOW.with(&["connections"]), counters.evicted as f64);
    store.set_to(own::TABLE_OVERFLOW.with(&["streams"]), streams_overflow as f64);
}

/// What the daemon can see.
pub fn sights(store: &mut SeriesStore, sights: &[HealthCheck]) {
    store.clear(own::SIGHT_STATE.id());
    for check in sights {
        store.set_to(own::SIGHT_STATE.with(&[check.name, check.severity.name()]), 1.0);
    }
}

fn counters(store: &mut SeriesStore, counters: &KernelCounters) {
    // The kernel side saw these losses itself and counts those of connections nobody has decided about too, so its
    // figure replaces what the pipeline inferred from the holes.
    for (metric, lost) in [(own::EVENTS_LOST, &counters.lost_calls), (own::LOST_BYTES, &counters.lost_bytes)] {
        for (cause, count) in lost {
            store.set_to(metric.with(&[cause.name()]), *count as f64);
        }
    }
    for (direction, calls) in ["read", "write"].into_iter().zip(counters.captured) {
        store.set_to(own::CAPTURED_CALLS.with(&[direction]), calls as f64);
    }
    store.set_to(own::DOUBLED_CALLS.with(&[]), counters.doubled_calls as f64);
    discovery(store, &counters.discovery);
    store.set_to(own::IGNORED_CALLS.with(&[]), counters.ignored_calls as f64);
    for (program, seconds) in &counters.seconds {
        store.set_to(own::KERNEL_SECONDS.with(&[program]), *seconds);
    }
}

fn discovery(store: &mut SeriesStore, counters: &DiscoveryCounters) {
    store.set_to(own::DISCOVERY_LOST.with(&[]), counters.lost_records as f64);
    let states = [
        ("probed", counters.probed),
        ("waiting", counters.waiting),
        ("postponed", counters.postponed),
        ("stuck", counters.stuck),
    ];
    for (state, files) in states {
        store.set_to(own::DISCOVERY_FILES.with(&[state]), files as f64);
    }
    let events = [
        ("released", counters.released),
        ("replaced", counters.replaced),
        ("no_descriptors", counters.no_room),
        ("unreadable", counters.unreadable),
        ("stuck", counters.stuck_ever),
        ("dropped", counters.lost_jobs),
        ("looked_through", counters.looked_through),
        ("known_before", counters.known_before),
    ];
    for (event, count) in events {
        store.set_to(own::DISCOVERY_EVENTS.with(&[event]), count as f64);
    }
    store.clear(own::FILES_REFUSED.id());
    for (reason, files) in &counters.refused {
        store.set_to(own::FILES_REFUSED.with(&[reason.name()]), *files as f64);
    }
}

fn probes(store: &mut SeriesStore, rows: &[ProbeRow]) {
    store.clear(own::PROBE_STATE.id());
    store.clear(own::PROBE_HITS.id());
    for row in rows {
        store.set_to(own::PROBE_STATE.with(&[row.probe, &row.target, probe_state(row.state)]), 1.0);
        if let Some(hits) = row.hits {
            store.add_to(own::PROBE_HITS.with(&[row.probe, &row.target]), hits as f64);
        }
    }
    probed_files(store, rows);
}

/// Each file counts once a stack, however many rows tell of it.
fn probed_files(store: &mut SeriesStore, rows: &[ProbeRow]) {
    let of = |row: &ProbeRow| {
        let anchor = if row.certainty? == LayoutCertainty::Named { "named" } else { "found" };
        Some((row.stack?, anchor, row.target.clone(), row.build_id.clone()))
    };
    let files: BTreeSet<_> = rows.iter().filter_map(of).collect();
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (stack, anchor, ..) in &files {
        *counts.entry((stack, anchor)).or_default() += 1;
    }
    store.clear(own::PROBED_FILES.id());
    for ((stack, anchor), count) in counts {
        store.set_to(own::PROBED_FILES.with(&[stack, anchor]), f64::from(count));
    }
}

fn processes(store: &mut SeriesStore, rows: &[ProcessRow]) {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for row in rows {
        *counts.entry((visibility(row.visibility), row.reason())).or_default() += 1;
    }
    store.clear(own::COVERAGE_PROCESSES.id());
    for ((visibility, reason), count) in counts {
        store.set_to(own::COVERAGE_PROCESSES.with(&[visibility, reason]), f64::from(count));
    }
    // Where the socket hooks are missing nobody knows: no sample, not 0.
    store.clear(own::UNMATCHED_SOCKETS.id());
    if let Some(unmatched) = rows.iter().filter_map(|row| row.unmatched).reduce(|sum, more| sum + more) {
        store.set_to(own::UNMATCHED_SOCKETS.with(&[]), unmatched as f64);
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
pub fn visibility(visibility: TlsVisibility) -> &'static str {
    match visibility {
        TlsVisibility::Plaintext => "plaintext",
        TlsVisibility::Shape => "shape",
        TlsVisibility::None => "none",
    }
}

/// The daemon's own process, from /proc. What cannot be read is left out.
pub fn process(store: &mut SeriesStore) {
    let Ok(process) = Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        let ticks = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        store.set_to(own::PROCESS_CPU.with(&[]), ticks);
        store.set_to(own::PROCESS_MEMORY.with(&[]), (stat.rss * procfs::page_size()) as f64);
        store.set_to(own::PROCESS_VIRTUAL.with(&[]), stat.vsize as f64);
        store.set_to(own::PROCESS_THREADS.with(&[]), stat.num_threads as f64);
        if let Ok(boot) = procfs::boot_time_secs() {
            let started = boot as f64 + stat.starttime as f64 / procfs::ticks_per_second() as f64;
            store.set_to(own::PROCESS_START.with(&[]), started);
        }
    }
    if let Ok(open) = process.fd_count() {
        store.set_to(own::PROCESS_OPEN_FDS.with(&[]), open as f64);
    }
    if let Ok(LimitValue::Value(most)) = process.limits().map(|limits| limits.max_open_files.soft_limit) {
        store.set_to(own::PROCESS_MAX_FDS.with(&[]), most as f64);
    }
}

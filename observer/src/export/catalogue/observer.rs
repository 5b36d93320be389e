//! What the observer tells of itself.

use ledger::labels::NO_LABELS;
use ledger::metric::MetricKind::{Counter, Gauge};
use ledger::metric::{Metric, MetricColumn, MetricId, MetricRow, closed, open, own_columns};

const CAUSE: &[MetricColumn] = &[closed("cause")];

ledger::metric_table! { 2:
    // The observer itself.
    BUILD_INFO = "llm_observer_build_info", Gauge, NO_LABELS, &[closed("version"), closed("revision"), closed("rustc")],
        "1; the labels say what is running.";
    EVENTS = "llm_observer_events_total", Counter, NO_LABELS, &[closed("kind")],
        "Records that the pipeline took, by kind.";
    EVENTS_LOST = "llm_observer_events_lost_total", Counter, NO_LABELS, CAUSE,
        "Captured calls or pieces that were lost, by cause.";
    LOST_BYTES = "llm_observer_lost_bytes_total", Counter, NO_LABELS, CAUSE,
        "Bytes of possible model traffic that were lost, by cause. Losses of unknown size are not in it.";
    PARSE_ERRORS = "llm_observer_parse_errors_total", Counter, NO_LABELS, &[closed("protocol"), closed("reason")],
        "Oddities that a parser met and survived, by protocol and reason.";
    PROBE_STATE = "llm_observer_probe_state", Gauge, NO_LABELS, &[closed("probe"), open("target"), closed("state")],
        "1 for the state each probe is in: ok, unsupported, not_applicable or broken.";
    PROBE_HITS = "llm_observer_probe_hits_total", Counter, NO_LABELS, &[closed("probe"), open("target")],
        "Calls that a probe saw, where the kernel counts them.";
    COVERAGE_PROCESSES = "llm_observer_coverage_processes", Gauge, NO_LABELS, &[closed("visibility"), closed("reason")],
        "Processes that use TLS, by how far the observer sees into them (plaintext, shape, none) and why.";
    UNMATCHED_SOCKETS = "llm_observer_unmatched_sockets", Gauge, NO_LABELS, NO_LABELS,
        "TLS sockets of live processes whose answered requests fit nothing that a probe saw: traffic that passes another stack.";
    PROBED_FILES = "llm_observer_probed_files", Gauge, NO_LABELS, &[closed("stack"), closed("anchor")],
        "Files that carry a TLS stack and are probed, by how its functions are known: named (symbols), found (by what they do).";
    SIGHT_STATE = "llm_observer_sight_state", Gauge, NO_LABELS, &[closed("sight"), closed("state")],
        "1 for the state of each thing that the observer must be able to see (the lines of doctor): ok, degraded or blind.";
    KERNEL_SECONDS = "llm_observer_kernel_seconds_total", Counter, NO_LABELS, &[closed("program")],
        "Time spent in each kernel program; only while kernel.bpf_stats_enabled is set.";
    IGNORED_CALLS = "llm_observer_ignored_calls_total", Counter, NO_LABELS, NO_LABELS,
        "TLS calls that the kernel side let pass unread because their connection carries no model traffic.";
    CAPTURED_CALLS = "llm_observer_captured_calls_total", Counter, NO_LABELS, &[closed("direction")],
        "TLS calls whose record the kernel side handed up, by direction (read, write).";
    DISCOVERY_LOST = "llm_observer_discovery_lost_total", Counter, NO_LABELS, NO_LABELS,
        "Notices of new programs and libraries that the kernel dropped; each loss makes the daemon look at all processes again.";
    DISCOVERY_FILES = "llm_observer_discovery_files", Gauge, NO_LABELS, &[closed("state")],
        "Files by how far discovery is with them: probed (each inode once), waiting for their turn, postponed (their owner's budget is used up, a lease is held, or no descriptor is left), stuck (they do not answer).";
    FILES_REFUSED = "llm_observer_files_refused", Gauge, NO_LABELS, &[closed("reason")],
        "Mapped files that are not looked at, by reason; `inspect probes` names them.";
    DISCOVERY_EVENTS = "llm_observer_discovery_events_total", Counter, NO_LABELS, &[closed("event")],
        "What became of files: released (nobody has them mapped any more), replaced (they changed and were probed anew), no_descriptors (let go of or not probed since the limit of open files is near), unreadable, stuck (a file did not answer within 3 s), dropped (too many waited; the host is looked at again), looked_through (whole, for no symbol names what they carry), known_before (the same, but what they carry was found earlier, maybe by an earlier run of this build).";
    DOUBLED_CALLS = "llm_observer_doubled_calls_total", Counter, NO_LABELS, NO_LABELS,
        "TLS calls that came up a second time through another set of probes on the same file, and were let pass once.";
    TABLE_OVERFLOW = "llm_observer_table_overflow_total", Counter, NO_LABELS, &[closed("table")],
        "Connections and streams that were not followed, or no longer, because a table was full.";
    SERIES_OVERFLOW = "llm_observer_series_overflow_total", Counter, NO_LABELS, &[closed("metric")],
        "Label sets folded into _OTHER because a cap was reached, by metric.";
    REFUSED = "llm_observer_refused_clients_total", Counter, NO_LABELS, &[closed("door"), closed("reason")],
        "Clients of the daemon's own doors that were turned away, by door and reason. web: peer_connections and connections (a newer connection took the place), descriptors (none left), slow_head, slow_reader, scrape_wait (the pipeline did not answer a scrape), login_rate and login_wait (too many passwords). inspect: connections, silent, slow_reader, not_allowed.";
    STATE_KEPT = "llm_observer_state_unread", Gauge, NO_LABELS, &[closed("reason")],
        "1 if what detectors had learned (--state.file) was found at start and could not be taken up: later_version, damaged, unknown_shape, unreadable. The file was kept; the log says where, and what to do.";
    PROCESS_CPU = "process_cpu_seconds_total", Counter, NO_LABELS, NO_LABELS,
        "Total user and system CPU time spent in seconds.";
    PROCESS_MEMORY = "process_resident_memory_bytes", Gauge, NO_LABELS, NO_LABELS,
        "Resident memory size in bytes.";
    PROCESS_VIRTUAL = "process_virtual_memory_bytes", Gauge, NO_LABELS, NO_LABELS,
        "Virtual memory size in bytes.";
    PROCESS_OPEN_FDS = "process_open_fds", Gauge, NO_LABELS, NO_LABELS,
        "Number of open file descriptors.";
    PROCESS_MAX_FDS = "process_max_fds", Gauge, NO_LABELS, NO_LABELS,
        "Maximum number of open file descriptors.";
    PROCESS_THREADS = "process_threads", Gauge, NO_LABELS, NO_LABELS,
        "Number of OS threads in the process.";
    PROCESS_START = "process_start_time_seconds", Gauge, NO_LABELS, NO_LABELS,
        "Start time of the process since unix epoch in seconds.";
}

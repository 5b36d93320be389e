//! What the kernel edge reports of itself: which processes it sees into, which probes work, what was lost.
//! Pure data, so that `export` and `inspect` need no kernel.

use std::os::fd::RawFd;

use observer_common::record::Verdict;

use crate::record::{ConnKey, Record};
use crate::units::{LossCause, Ns};

/// How far into a process's TLS traffic we see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Visibility {
    /// Probes on its TLS library work.
    Plaintext,
    /// Only cadence and sizes on the wire.
    Shape,
    /// Nothing.
    None,
}

/// One process that uses TLS, or has a TLS library mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRow {
    pub pid: u32,
    pub start_ns: u64,
    pub comm: String,
    pub service: String,
    pub visibility: Visibility,
    /// Low-cardinality reason, a label value: `probed`, `no_tls_library`, `go_crypto_tls`, `java`, `static_no_symbols`, `probe_broken` …
    pub reason: &'static str,
    /// The TLS library or executable, as the process sees it.
    pub library: Option<String>,
    /// TLS ClientHellos its sockets sent since it was first seen; `None` where the socket hook is not attached.
    pub hellos: Option<u64>,
}

/// A probe's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeState {
    /// Attached, and (where traffic came) what it captured looked right.
    Ok,
    /// The kernel cannot do it.
    Unsupported,
    /// The target has no such function.
    NotApplicable,
    /// It should work and does not.
    Broken,
}

/// One probe on one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRow {
    /// Name in the probe table: `ssl_read`, `ssl_write_ex`, `sched_exit`, `cgroup_connect4` …
    pub probe: &'static str,
    /// File the probe sits on (as the first process that mapped it sees it), or the kernel hook.
    pub target: String,
    /// Build id of the file (hex), where it has one.
    pub build_id: Option<String>,
    /// Where exactly: `entry`, `entry+4`, `callee+0` … and the file offset.
    pub placement: String,
    /// Why there.
    pub reason: String,
    pub state: ProbeState,
    /// Calls seen; `None` where the kernel does not count.
    pub hits: Option<u64>,
}

/// The kernel side's own account, since start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelCounters {
    /// Calls whose record went up, by direction (read, write).
    pub captured: [u64; 2],
    /// Calls that an `Ignore`/`Heads` verdict let pass unread.
    pub ignored_calls: u64,
    /// Calls lost by cause; under `RingFull` also births and ends whose record found no room.
    pub lost_calls: Vec<(LossCause, u64)>,
    /// Bytes lost by cause.
    pub lost_bytes: Vec<(LossCause, u64)>,
    /// Time spent in each program, seconds; empty unless `kernel.bpf_stats_enabled`.
    pub seconds: Vec<(String, f64)>,
    /// Records of the discovery ring that the kernel dropped (a rescan followed).
    pub discovery_lost: u64,
}

/// How much a failed check costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is lost.
    Ok,
    /// The daemon runs, and sees less.
    Degraded,
    /// The daemon cannot run.
    Fatal,
}

/// One line of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked: `root`, `btf`, `tracefs`, `uprobe`, `ring_buffer` …
    pub name: &'static str,
    pub severity: Severity,
    /// What was found: `6.18.2`, `uid 0`, `EPERM from perf_event_open` …
    pub found: String,
    /// What is lost by it; empty when ok.
    pub lost: String,
    /// What to do about it; empty when ok.
    pub fix: String,
}

/// What `run` and `record` need of the kernel side. `kernel::Session` is one; a test's generator is another.
/// Not a `Record` source alone: verdicts and the account of what was lost go through it too.
pub trait Edge {
    /// Descriptors that become readable when records wait (epoll semantics); valid as long as `self` lives.
    fn fds(&self) -> Vec<RawFd>;
    /// Hands waiting records to `sink`, in stamp order as far as known. Bounded: `true` when more wait.
    fn drain(&mut self, sink: &mut dyn FnMut(&Record<'_>)) -> bool;
    /// What the pipeline decided about a connection.
    fn decide(&mut self, conn: ConnKey, verdict: Verdict);
    /// Housekeeping, about once a second.
    fn tick(&mut self, now: Ns);
    fn processes(&self) -> Vec<ProcessRow>;
    fn probes(&self) -> Vec<ProbeRow>;
    fn counters(&self) -> KernelCounters;
}

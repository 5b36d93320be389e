//! What the kernel edge reports of itself: which processes it sees into, which probes work, what was lost.
//! Pure data, so that `export` and `inspect` need no kernel.

use std::os::fd::RawFd;

use observer_common::record::Verdict;

use crate::identity::K8sIdentity;
use capture::record::{ConnKey, Record};
use capture::stacks::{LayoutCertainty, UnseenReason};
use capture::units::{LossCause, Ns};

/// How far into a process's TLS traffic we see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVisibility {
    /// Probes on its TLS library work, and what they see fits its sockets.
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
    /// Effective user id; `None`: not known.
    pub uid: Option<u32>,
    pub k8s: K8sIdentity,
    pub container_id: Option<String>,
    pub visibility: TlsVisibility,
    /// Why its plaintext is not seen; `None`: it is.
    pub unseen: Option<UnseenReason>,
    /// The TLS library or executable, as the process sees it.
    pub library: Option<String>,
    /// TLS ClientHellos its sockets sent since it was first seen; `None` where the socket hook is not attached.
    pub hellos: Option<u64>,
    /// Its TLS sockets whose answered requests no probed write fits: what passes a stack that no
    /// probe enters. `None` as above.
    pub unmatched: Option<u64>,
}

impl ProcessRow {
    /// The reason in one word, a label value: `probed`, or why not.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.unseen.map_or("probed", UnseenReason::name)
    }
}

/// A probe's verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeState {
    /// Attached, and (where traffic came) what it captured looked right.
    #[default]
    Ok,
    /// The kernel cannot do it.
    Unsupported,
    /// The target has no such function.
    NotApplicable,
    /// It should work and does not.
    Broken,
}

/// One probe on one target. A file that is not looked at is one row, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeRow {
    /// Name in the probe table: `ssl_read`, `ssl_write_ex`, `sched_exit`, `cgroup_connect4` …
    pub probe: &'static str,
    /// File the probe sits on (as the first process that mapped it sees it), or the kernel hook.
    pub target: String,
    /// Build id of the file (hex), where it has one.
    pub build_id: Option<String>,
    /// The TLS stack that the probe is of; `None` of a kernel hook.
    pub stack: Option<&'static str>,
    /// How certain it is that the function is that one; `None` of a kernel hook.
    pub certainty: Option<LayoutCertainty>,
    /// Where exactly: `entry`, `entry+4`, `callee+0` … and the file offset.
    pub placement: String,
    /// Why there, or why not.
    pub reason: String,
    /// What goes without it, of a kernel hook that is refused.
    pub lost: Option<&'static str>,
    pub state: ProbeState,
    /// Calls seen; `None` where the kernel does not count.
    pub hits: Option<u64>,
    /// Names under which the file is mapped, one for each mount it is seen through (64 at most); none of a kernel hook.
    pub places: Vec<String>,
    /// Processes that have it mapped; `None` of a kernel hook.
    pub processes: Option<u32>,
}

impl ProbeRow {
    /// A file that is not looked at, and why.
    #[must_use]
    pub fn refused(path: &str, reason: UnseenReason, detail: &str) -> ProbeRow {
        ProbeRow {
            probe: "file",
            target: path.to_owned(),
            placement: "-".into(),
            reason: format!("{}: {detail}", reason.name()),
            state: ProbeState::Unsupported,
            places: vec![path.to_owned()],
            ..ProbeRow::default()
        }
    }

    /// Why there or why not, and what is lost by it.
    #[must_use]
    pub fn text(&self) -> String {
        self.lost.map_or_else(|| self.reason.clone(), |lost| format!("{}; lost: {lost}", self.reason))
    }
}

/// A program of the kernel side that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedProgram {
    /// What the kernel says.
    pub reason: String,
    /// What goes without it.
    pub lost: &'static str,
}

/// How the search for files that carry TLS fares. Counts are since start unless they say "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryCounters {
    /// Records of mappings, births and ends that the kernel dropped (a look at the whole host followed).
    pub lost_records: u64,
    /// Files that were not looked at because too many waited (likewise).
    pub lost_jobs: u64,
    /// Files that wait for their turn, now.
    pub waiting: u64,
    /// Files that wait for their owner's budget, a lease or a descriptor, now.
    pub postponed: u64,
    /// Threads that wait for a file that does not answer, now and ever.
    pub stuck: u64,
    pub stuck_ever: u64,
    /// Files probed, now.
    pub probed: u64,
    /// Probed files let go of since nobody has them mapped.
    pub released: u64,
    /// Probed files that changed and got their probes anew.
    pub replaced: u64,
    /// Files let go of, or not probed, for want of descriptors.
    pub no_room: u64,
    /// Mapped files that could not be opened.
    pub unreadable: u64,
    /// Files looked through whole, since no symbol names what they carry.
    pub looked_through: u64,
    /// Such files of which it was known already what they carry.
    pub known_before: u64,
    /// Files that are not looked at, now, by reason.
    pub refused: Vec<(UnseenReason, u64)>,
    /// Descriptors in use and allowed when a file was last probed; (0, 0) before.
    pub descriptors: (u64, u64),
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
    /// Calls that came a second time through another set of probes on the same file, and were let pass once.
    pub doubled_calls: u64,
    /// How the search for files that carry TLS fares.
    pub discovery: DiscoveryCounters,
}

/// How much a failed check costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckSeverity {
    /// Nothing is lost.
    Ok,
    /// The daemon runs, and sees less.
    Degraded,
    /// The daemon runs, and what it shows cannot be trusted to be there at all.
    Blind,
    /// The daemon cannot run.
    Fatal,
}

impl CheckSeverity {
    /// The label value and the word of `doctor`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CheckSeverity::Ok => "ok",
            CheckSeverity::Degraded => "degraded",
            CheckSeverity::Blind => "blind",
            CheckSeverity::Fatal => "fatal",
        }
    }
}

/// One line of `doctor`, and while the daemon runs the state of one thing that it must be able to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What was checked: `pid_namespace`, `processes`, `sockets`, `memory` …
    pub name: &'static str,
    pub severity: CheckSeverity,
    /// What was found: `6.18.2`, `EPERM from perf_event_open` …
    pub found: String,
    /// What is lost by it; empty when ok.
    pub lost: String,
    /// What to do about it; empty when ok.
    pub fix: String,
}

impl HealthCheck {
    /// Nothing is lost.
    #[must_use]
    pub fn ok(name: &'static str, found: impl Into<String>) -> HealthCheck {
        HealthCheck { name, severity: CheckSeverity::Ok, found: found.into(), lost: String::new(), fix: String::new() }
    }

    /// Something is.
    #[must_use]
    pub fn bad(
        name: &'static str,
        severity: CheckSeverity,
        found: impl Into<String>,
        lost: &str,
        fix: &str,
    ) -> HealthCheck {
        HealthCheck { name, severity, found: found.into(), lost: lost.into(), fix: fix.into() }
    }
}

/// What `run` and `record` need of the kernel side. `kernel::Session` is one; a test's generator is another.
/// Not a `Record` source alone: verdicts and the account of what was lost go through it too.
pub trait CaptureEdge {
    /// Descriptors that become readable when records wait (epoll semantics); valid as long as `self` lives.
    fn fds(&self) -> Vec<RawFd>;
    /// Hands waiting records to `sink`, in stamp order as far as known. Bounded: `true` when more wait.
    fn drain(&mut self, sink: &mut dyn FnMut(&Record<'_>)) -> bool;
    /// What the pipeline decided about a connection.
    fn decide(&mut self, conn: ConnKey, verdict: Verdict);
    /// Housekeeping, about once a second.
    fn tick(&mut self, now: Ns);
    /// Where TLS stacks were found in files that had to be looked through, as text for the next
    /// process; `None`: as told last.
    fn found_layouts(&mut self) -> Option<String> {
        None
    }
    fn processes(&self) -> Vec<ProcessRow>;
    fn probes(&self) -> Vec<ProbeRow>;
    fn counters(&self) -> KernelCounters;
    /// What of the kernel side works and does not, in lines of `doctor`; what anybody can look up
    /// on this host is not among them.
    fn sights(&self) -> Vec<HealthCheck> {
        Vec::new()
    }
}

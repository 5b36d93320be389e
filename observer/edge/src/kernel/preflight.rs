//! What `doctor` asks of the kernel where no daemon runs: each feature by trying it, not by version.

use std::path::Path;

use super::load::{self, MapSize};
use super::probes::{PROGRAMS, SOCKETS};
use super::watch::MappingWatch;
use super::{cgroup, sights, sock_diag};
use crate::coverage::{CheckSeverity, HealthCheck, ProbeRow, ProbeState};

/// Every check, in the order in which they matter. Nothing stays attached, and no map is larger
/// than it takes to try it.
#[must_use]
pub fn preflight() -> Vec<HealthCheck> {
    let mut checks = vec![prerequisites()];
    if checks.iter().all(|check| check.severity != CheckSeverity::Fatal) {
        checks.push(programs());
        checks.push(watch());
        checks.extend(host());
        checks.extend(open_connections(&[listing()]));
    }
    checks.extend(sights::sights(observer_common::limits::DEFAULT_RING_BYTES, sights::CheckStage::Before));
    checks
}

/// Which kernel this is, whoever asks.
#[must_use]
pub fn kernel() -> Vec<HealthCheck> {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = text("/proc/sys/kernel/osrelease");
    let lockdown = load::lockdown().map_or(String::new(), |mode| format!(", lockdown {mode}"));
    let counted = match text("/proc/sys/kernel/bpf_stats_enabled").trim() {
        "1" => "time in each program is counted",
        _ => "time in each program is not counted (sysctl kernel.bpf_stats_enabled=1 to see it)",
    };
    vec![HealthCheck::ok("kernel", format!("{}{lockdown}", release.trim())), HealthCheck::ok("self_cost", counted)]
}

/// An error of the kernel side: what was found, then what to do.
fn fatal(name: &'static str, error: &load::LoadError) -> HealthCheck {
    let text = error.to_string();
    let (found, fix) = text.split_once("; ").unwrap_or((&text, ""));
    HealthCheck::bad(name, CheckSeverity::Fatal, found, "everything", fix)
}

fn prerequisites() -> HealthCheck {
    match load::may_observe(observer_common::limits::DEFAULT_RING_BYTES) {
        Ok(()) => HealthCheck::ok("privileges", "bpf() and perf_event_open may be used, and the kernel shows its BTF"),
        Err(error) => fatal("privileges", &error),
    }
}

fn programs() -> HealthCheck {
    const PMU: &str = "/sys/bus/event_source/devices/uprobe/type";
    match load::load(MapSize::Trial) {
        Err(error) => fatal("programs", &error),
        Ok(uprobes) if uprobes.way() == "perf events" && !Path::new(PMU).exists() => HealthCheck::bad(
            "programs",
            CheckSeverity::Fatal,
            format!("no uprobe_multi links, and {PMU} is missing"),
            "everything",
            "boot a kernel with CONFIG_UPROBE_EVENTS=y, or mount /sys in the container",
        ),
        Ok(uprobes) => {
            let way = uprobes.way();
            HealthCheck::ok(
                "programs",
                format!("the kernel takes them all, tried over small maps; probes go through {way}"),
            )
        }
    }
}

fn watch() -> HealthCheck {
    match MappingWatch::open() {
        Ok(_) => HealthCheck::ok("discovery", "new programs and libraries are seen as they are mapped"),
        Err(error) => fatal("discovery", &load::LoadError::Watch(error)),
    }
}

fn host() -> Option<HealthCheck> {
    match load::try_host() {
        Ok(rows) => Some(sockets(&rows)),
        // `programs` has told it.
        Err(_) => None,
    }
}

/// The socket layer, by the rows of its programs.
#[must_use]
pub(super) fn sockets(rows: &[ProbeRow]) -> HealthCheck {
    const NAME: &str = "sockets";
    let degraded =
        |found: String, lost: &str, fix: &str| HealthCheck::bad(NAME, CheckSeverity::Degraded, found, lost, fix);
    let Some(tree) = cgroup::find() else {
        let fix = "mount -t cgroup2 none /sys/fs/cgroup/unified (in a container: mount the host's /sys/fs/cgroup)";
        return degraded("no cgroup v2 hierarchy is mounted".into(), SOCKETS, fix);
    };
    let refused = rows.iter().filter(|row| row.state != ProbeState::Ok);
    let program = |row: &ProbeRow| PROGRAMS.iter().find(|program| program.name == row.probe);
    if let Some((row, program)) = refused.filter_map(|row| Some((row, program(row)?))).next() {
        let fix = "give CAP_NET_ADMIN, use Linux 5.8 or newer with CONFIG_CGROUP_BPF=y, and let no other program hold the root \
                   cgroup for itself (bpftool cgroup tree)";
        return degraded(format!("the kernel refuses {}: {}", row.probe, row.reason), program.lost, fix);
    }
    if !tree.whole {
        return degraded(
            format!("{} is a part of the host's cgroup tree (a cgroup namespace)", tree.path),
            "the socket layer of every process outside it",
            "run in the host's cgroup namespace (--cgroupns=host) or in its pid namespace (--pid=host), or mount the host's \
             /sys/fs/cgroup",
        );
    }
    HealthCheck::ok(NAME, format!("every socket program loads and attaches at {}", tree.path))
}

/// As the running daemon's row, so that both are told alike.
fn listing() -> ProbeRow {
    let outcome = sock_diag::clients();
    let (state, reason) = match outcome {
        Ok(clients) => (ProbeState::Ok, clients.left_out()),
        Err(error) => (ProbeState::Unsupported, format!("the kernel does not list its sockets: {error}")),
    };
    let (target, placement) = (String::new(), String::new());
    ProbeRow { probe: LISTING, target, placement, reason, state, ..ProbeRow::default() }
}

/// Name of the row and the check.
pub(super) const LISTING: &str = "sock_diag";

/// The list of connections that are open already, by its row; `None` where the socket layer does
/// not work, which has been told.
#[must_use]
pub(super) fn open_connections(rows: &[ProbeRow]) -> Option<HealthCheck> {
    let row = rows.iter().find(|row| row.probe == LISTING)?;
    if row.state == ProbeState::Ok && row.reason.is_empty() {
        return Some(HealthCheck::ok(LISTING, "the kernel lists the connections that are open already"));
    }
    Some(HealthCheck::bad(
        LISTING,
        CheckSeverity::Degraded,
        row.reason.as_str(),
        "plain HTTP on connections that are open already, until they are made anew",
        "give CAP_SYS_ADMIN, which entering network namespaces takes; or boot a kernel with CONFIG_INET_DIAG (modprobe tcp_diag)",
    ))
}

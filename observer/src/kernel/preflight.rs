//! What `doctor` asks of the kernel: each feature by trying it, not by version.

use std::path::Path;

use super::probes::SOCKETS;
use super::watch::Watch;
use super::{cgroup, load, sock_diag};
use crate::coverage::{Check, Severity};

/// Every check, in the order in which they matter. Nothing stays attached.
#[must_use]
pub fn preflight() -> Vec<Check> {
    let mut checks = vec![kernel(), prerequisites()];
    if checks.iter().all(|check| check.severity != Severity::Fatal) {
        checks.extend([programs(), uprobes(), watch(), sockets(), open_connections(), costs()]);
    }
    checks
}

fn check(name: &'static str, severity: Severity, found: impl Into<String>, lost: &str, fix: &str) -> Check {
    Check { name, severity, found: found.into(), lost: lost.into(), fix: fix.into() }
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    check(name, Severity::Ok, found, "", "")
}

fn kernel() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lockdown = load::lockdown().map_or(String::new(), |mode| format!(", lockdown {mode}"));
    ok("kernel", format!("{}{lockdown}", release.trim()))
}

fn prerequisites() -> Check {
    match load::prerequisites() {
        Ok(_) => ok("privileges", "root, with the kernel's BTF"),
        Err(error) => {
            let text = error.to_string();
            let (found, fix) = text.split_once("; ").unwrap_or((&text, ""));
            check("privileges", Severity::Fatal, found, "everything", fix)
        }
    }
}

fn programs() -> Check {
    match load::load(observer_common::limits::DEFAULT_RING_BYTES) {
        Ok(_) => ok("programs", "the kernel accepts every TLS program"),
        Err(error) => check(
            "programs",
            Severity::Fatal,
            error.to_string(),
            "everything",
            "use Linux 5.8 or newer with CONFIG_BPF_SYSCALL=y and CONFIG_UPROBES=y",
        ),
    }
}

fn uprobes() -> Check {
    const PMU: &str = "/sys/bus/event_source/devices/uprobe/type";
    if Path::new(PMU).exists() {
        return ok("uprobes", "the uprobe event source is there (tracefs is not needed)");
    }
    check(
        "uprobes",
        Severity::Fatal,
        format!("{PMU} is missing"),
        "everything",
        "boot a kernel with CONFIG_UPROBE_EVENTS=y, or mount /sys in the container",
    )
}

fn watch() -> Check {
    match Watch::open() {
        Ok(_) => ok("discovery", "new programs and libraries are seen as they are mapped"),
        Err(error) => check(
            "discovery",
            Severity::Fatal,
            format!("perf_event_open: {error}"),
            "programs that start later",
            "allow perf_event_open in seccomp and give CAP_PERFMON or CAP_SYS_ADMIN",
        ),
    }
}

fn sockets() -> Check {
    const NAME: &str = "sockets";
    let degraded = |found: String, lost: &str, fix: &str| check(NAME, Severity::Degraded, found, lost, fix);
    let Some(tree) = cgroup::find() else {
        let fix = "mount -t cgroup2 none /sys/fs/cgroup/unified (in a container: mount the host's /sys/fs/cgroup)";
        return degraded("no cgroup v2 hierarchy is mounted".into(), SOCKETS, fix);
    };
    let refused = match load::try_host() {
        Ok(refused) => refused,
        Err(error) => return degraded(error.to_string(), SOCKETS, "see the checks above"),
    };
    if let Some((program, reason, lost)) = refused.first() {
        let fix = "use Linux 5.8 or newer with CONFIG_CGROUP_BPF=y, and allow BPF_LINK_CREATE on the root cgroup";
        return degraded(format!("the kernel refuses {program}: {reason}"), lost, fix);
    }
    if !tree.whole {
        return degraded(
            format!("{} is a part of the host's cgroup tree (a cgroup namespace)", tree.path),
            "the socket layer of every process outside it",
            "run in the host's cgroup namespace (--cgroupns=host) or in its pid namespace (--pid=host)",
        );
    }
    ok(NAME, format!("every socket program loads and attaches at {}", tree.path))
}

fn open_connections() -> Check {
    match sock_diag::clients() {
        Ok(_) => ok("sock_diag", "the kernel lists the connections that are open already"),
        Err(error) => check(
            "sock_diag",
            Severity::Degraded,
            format!("the kernel does not list its sockets: {error}"),
            "plain HTTP on connections that are open already, until they are made anew",
            "boot a kernel with CONFIG_INET_DIAG, or load its module (modprobe tcp_diag)",
        ),
    }
}

fn costs() -> Check {
    let on = std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|text| text.trim() == "1");
    ok(
        "self_cost",
        if on {
            "time in each program is counted"
        } else {
            "time in each program is not counted (sysctl kernel.bpf_stats_enabled=1 to see it)"
        },
    )
}

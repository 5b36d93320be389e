//! What the daemon must be able to see, as a table: how it is tested, what is lost without it, how
//! to get it. `doctor`, the metric `llm_observer_sight_state` and `/readyz` all read it; another
//! sight is another row.

use super::caps::Capability;
use super::host::{HostFacts, MountNamespaces};
use super::memory::near;
use crate::coverage::{CheckSeverity, HealthCheck};
use crate::namespaces::FIRST_PID_NAMESPACE;

/// When it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStage {
    /// Nothing runs yet: what would keep it from running counts.
    Before,
    /// The daemon runs.
    Running,
}

/// What a test found, in words.
#[derive(Debug, PartialEq, Eq)]
enum TestOutcome {
    Well(String),
    /// Some of it is lost.
    Less(String),
    /// All of it is.
    Nothing(String),
}
use TestOutcome::{Less, Nothing, Well};

struct HealthTest {
    name: &'static str,
    look: fn(&HostFacts, CheckStage) -> TestOutcome,
    lost: &'static str,
    fix: &'static str,
}

const SIGHTS: &[HealthTest] = &[
    HealthTest {
        name: "pid_namespace",
        look: pid_namespace,
        lost: "who makes which call, and every program that starts from now on",
        fix: "run in the host's pid namespace (Kubernetes: hostPID: true; docker and podman: --pid=host)",
    },
    HealthTest {
        name: "proc",
        look: proc,
        lost: "the processes that it does not show: their libraries and their names",
        fix: "mount the host's whole /proc, without hidepid and subset (mount -o remount,hidepid=0 /proc), or give CAP_SYS_PTRACE, \
              which hidepid does not hold up",
    },
    HealthTest {
        name: "processes",
        look: processes,
        lost: "TLS of the programs that may not be looked into, and their names",
        fix: "give CAP_SYS_PTRACE (Kubernetes: securityContext.capabilities.add; docker and podman: --cap-add); where it is there, \
              a security module (AppArmor, SELinux, Yama) must allow ptrace reads",
    },
    HealthTest {
        name: "map_files",
        look: map_files,
        lost: "libraries that were replaced or removed on disk while programs still use them",
        fix: "give CAP_CHECKPOINT_RESTORE (or CAP_SYS_ADMIN)",
    },
    HealthTest {
        name: "owned_files",
        look: owned_files,
        lost: "libraries that only their owner may reach (a folder of mode 0700), and whose connections were open before",
        fix: "give CAP_DAC_READ_SEARCH",
    },
    HealthTest {
        name: "mount_namespace",
        look: mount_namespace,
        lost: "the first call of a program on the host, whose libraries are probed only when they are mapped; names of containers",
        fix: "mount the host's root into the container and name it in LLM_OBSERVER_HOST_ROOT",
    },
    HealthTest {
        name: "memory",
        look: memory,
        lost: "everything, when the kernel ends the daemon or refuses its maps",
        fix: "raise the limit (Kubernetes: resources.limits.memory) to twice of what is needed, or lower kernel.ring_bytes",
    },
    HealthTest {
        name: "descriptors",
        look: descriptors,
        lost: "libraries that are mapped from now on (each takes some descriptors)",
        fix: "raise the hard limit of open files (systemd: LimitNOFILE, docker and podman: --ulimit nofile)",
    },
];

/// The state of each, now; of those alone that can be looked at. `ring`: bytes of the ring that is used or would be.
#[must_use]
pub fn sights(ring: u32, stage: CheckStage) -> Vec<HealthCheck> {
    let none_left = || {
        let sight = SIGHTS.iter().find(|sight| sight.name == "descriptors");
        sight.map(|sight| check_of(sight, Less("none is left".into()))).into_iter().collect()
    };
    HostFacts::read(ring).map_or_else(none_left, |host| judge(&host, stage))
}

fn judge(host: &HostFacts, stage: CheckStage) -> Vec<HealthCheck> {
    SIGHTS.iter().map(|sight| check_of(sight, (sight.look)(host, stage))).collect()
}

fn check_of(sight: &HealthTest, seen: TestOutcome) -> HealthCheck {
    match seen {
        Well(found) => HealthCheck::ok(sight.name, found),
        Less(found) => HealthCheck::bad(sight.name, CheckSeverity::Degraded, found, sight.lost, sight.fix),
        Nothing(found) => HealthCheck::bad(sight.name, CheckSeverity::Blind, found, sight.lost, sight.fix),
    }
}

fn pid_namespace(host: &HostFacts, _: CheckStage) -> TestOutcome {
    match host.pid_namespace {
        // The next row tells why.
        None => Well("cannot be told without /proc".into()),
        Some(FIRST_PID_NAMESPACE) => Well("the host's".into()),
        Some(other) => Nothing(format!("a pid namespace that is not the host's (pid:[{other}])")),
    }
}

fn proc(host: &HostFacts, _: CheckStage) -> TestOutcome {
    let hides = host.proc.hides.join(", ");
    if !host.proc.ours {
        return Nothing("what is mounted on /proc is of another pid namespace, or nothing".into());
    }
    if !host.others.all {
        let how = if hides.is_empty() { String::new() } else { format!(" ({hides})") };
        return Nothing(format!("/proc shows this process's own kind alone{how}"));
    }
    if host.pid_namespace != Some(FIRST_PID_NAMESPACE) {
        return Well("shows every process of its own pid namespace".into());
    }
    Well(if hides.is_empty() {
        "shows every process".into()
    } else {
        format!("shows every process to us, though it has {hides}")
    })
}

/// Where fewer than one of so many can be looked into, those few are our own helpers.
const BLIND_SHARE: usize = 8;

fn processes(host: &HostFacts, _: CheckStage) -> TestOutcome {
    let others = &host.others;
    let of = others.seen + others.refused;
    let Some((pid, name)) = &others.example else { return Well(format!("{of} of {of} programs can be looked into")) };
    let found = format!("{} of {of} programs can be looked into, not {pid} ({name})", others.seen);
    if others.seen * BLIND_SHARE < of {
        Nothing(found)
    } else if host.standing.may(Capability::SysPtrace) && others.refused < others.seen {
        // Some hosts let nobody look into a process or two, such as the first.
        Well(found)
    } else {
        Less(found)
    }
}

fn map_files(host: &HostFacts, _: CheckStage) -> TestOutcome {
    match host.map_files {
        Ok(()) => Well("a mapping leads to the very file".into()),
        Err(why) => Less(format!("/proc/PID/map_files cannot be followed ({why}): files are looked up by their path")),
    }
}

fn owned_files(HostFacts { standing, .. }: &HostFacts, _: CheckStage) -> TestOutcome {
    let cap = [Capability::DacReadSearch, Capability::DacOverride].into_iter().find(|cap| standing.may(*cap));
    match cap {
        Some(cap) => Well(format!("{}: files of every user can be read", cap.name())),
        None => Less(format!("neither {} nor {}", Capability::DacReadSearch.name(), Capability::DacOverride.name())),
    }
}

fn mount_namespace(host: &HostFacts, _: CheckStage) -> TestOutcome {
    match &host.mounts {
        _ if host.pid_namespace != Some(FIRST_PID_NAMESPACE) => {
            Well("cannot be told without the host's processes".into())
        }
        MountNamespaces { own: Some(own), host: Some(host), .. } if own == host => Well("the host's".into()),
        MountNamespaces { root: Some(root), .. } => {
            Well(format!("a container's; the host's root is at {}", root.display()))
        }
        // Nothing tells: the daemon's own root may be the host's.
        MountNamespaces { host: None, .. } => Well("cannot be told from the host's".into()),
        MountNamespaces { .. } => Less("a container's, from which the host's root cannot be reached".into()),
    }
}

fn memory(HostFacts { memory, .. }: &HostFacts, stage: CheckStage) -> TestOutcome {
    match stage {
        CheckStage::Before if memory.short().is_some() => Nothing(memory.text()),
        CheckStage::Running if memory.near().is_some() => Less(memory.text()),
        _ => Well(memory.text()),
    }
}

fn descriptors(host: &HostFacts, _: CheckStage) -> TestOutcome {
    let used = host.descriptors.used;
    match host.descriptors.limit {
        Some(limit) if near(used, limit) || limit < LEAST_DESCRIPTORS => {
            Less(format!("{used} in use, and at most {limit} are allowed"))
        }
        Some(limit) => Well(format!("{used} in use of {limit}")),
        None => Well(format!("{used} in use, without limit")),
    }
}

/// What the daemon itself takes, with connections to it and the libraries of a small host.
const LEAST_DESCRIPTORS: u64 = 256;

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::caps::PrivilegeFacts;
    use super::super::host::{DescriptorLimits, OtherPrograms, ProcMount};
    use super::super::memory::{MapMemory, MemoryLimit};
    use super::*;

    /// A host on which all is well.
    fn host() -> HostFacts {
        HostFacts {
            standing: PrivilegeFacts { caps: u64::MAX, rootless: false, seccomp: false, locked_bytes: None },
            pid_namespace: Some(FIRST_PID_NAMESPACE),
            proc: ProcMount { ours: true, hides: Vec::new() },
            others: OtherPrograms { seen: 40, refused: 0, example: None, all: true },
            map_files: Ok(()),
            mounts: MountNamespaces { own: Some(7), host: Some(7), root: Some("/proc/1/root".into()) },
            memory: MapMemory { maps: 50 << 20, limits: Vec::new() },
            descriptors: DescriptorLimits { used: 100, limit: Some(20_000) },
        }
    }

    fn without(host: &mut HostFacts, caps: &[Capability]) {
        for cap in caps {
            host.standing.caps &= !(1 << *cap as u32);
        }
    }

    fn refused(host: &mut HostFacts, seen: usize, refused: usize) {
        host.others = OtherPrograms { seen, refused, example: Some((1, "init".into())), all: true };
    }

    fn limited(host: &mut HostFacts, mib: u64, used: u64) {
        let by = "memory.max of /pod".into();
        host.memory.limits = vec![MemoryLimit { by, bytes: mib << 20, used: used << 20, needed: 82 << 20 }];
    }

    /// A lack, and its neighbour that is none.
    type Case = (&'static str, CheckSeverity, fn(&mut HostFacts), fn(&mut HostFacts));

    const CASES: &[Case] = &[
        ("pid_namespace", CheckSeverity::Blind, |h| h.pid_namespace = Some(4_026_532_500), |_| {}),
        ("pid_namespace", CheckSeverity::Blind, |h| h.pid_namespace = Some(4_026_531_837), |h| h.pid_namespace = None),
        ("proc", CheckSeverity::Blind, |h| h.proc.ours = false, |_| {}),
        ("proc", CheckSeverity::Blind, |h| h.others.all = false, |h| h.proc.hides = vec!["hidepid=2".into()]),
        ("processes", CheckSeverity::Blind, |h| refused(h, 1, 40), |h| refused(h, 40, 1)),
        ("processes", CheckSeverity::Degraded, |h| refused(h, 10, 30), |h| refused(h, 40, 3)),
        (
            "processes",
            CheckSeverity::Degraded,
            |h| {
                without(h, &[Capability::SysPtrace]);
                refused(h, 40, 3);
            },
            |h| without(h, &[Capability::SysPtrace]),
        ),
        ("map_files", CheckSeverity::Degraded, |h| h.map_files = Err(ErrorKind::PermissionDenied), |_| {}),
        (
            "owned_files",
            CheckSeverity::Degraded,
            |h| without(h, &[Capability::DacReadSearch, Capability::DacOverride]),
            |h| without(h, &[Capability::DacReadSearch]),
        ),
        (
            "mount_namespace",
            CheckSeverity::Degraded,
            |h| h.mounts = MountNamespaces { own: Some(8), host: Some(7), root: None },
            |h| h.mounts.own = Some(8),
        ),
        ("memory", CheckSeverity::Degraded, |h| limited(h, 100, 91), |h| limited(h, 100, 89)),
        ("descriptors", CheckSeverity::Degraded, |h| h.descriptors.used = 18_000, |h| h.descriptors.used = 17_999),
        ("descriptors", CheckSeverity::Degraded, |h| h.descriptors.limit = Some(128), |h| h.descriptors.limit = None),
    ];

    #[test]
    fn each_lack_is_told_by_its_row_alone_and_its_neighbour_by_none() {
        let bad = |host: &HostFacts| -> Vec<_> {
            let all = judge(host, CheckStage::Running);
            all.into_iter().filter(|check| check.severity != CheckSeverity::Ok).collect()
        };
        assert_eq!(bad(&host()), []);
        for (at, (name, severity, lack, near_miss)) in CASES.iter().enumerate() {
            let (mut lacking, mut near) = (host(), host());
            lack(&mut lacking);
            near_miss(&mut near);
            let told = bad(&lacking);
            let told: Vec<_> = told.iter().map(|check| (check.name, check.severity)).collect();
            assert_eq!(told, [(*name, *severity)], "case {at}");
            assert_eq!(bad(&near), [], "the neighbour of case {at}");
        }
    }

    #[test]
    fn every_row_has_a_case_and_says_what_to_do() {
        for sight in SIGHTS {
            assert!(CASES.iter().any(|(name, ..)| *name == sight.name), "{}", sight.name);
            assert!(!sight.lost.is_empty() && !sight.fix.is_empty(), "{}", sight.name);
        }
    }

    #[test]
    fn too_little_memory_is_told_before_anything_is_tried() {
        let mut host = host();
        limited(&mut host, 64, 10);
        let memory =
            |host: &HostFacts, stage| judge(host, stage).into_iter().find(|check| check.name == "memory").unwrap();
        let check = memory(&host, CheckStage::Before);
        assert_eq!(check.severity, CheckSeverity::Blind);
        assert!(check.found.contains("64 MiB") && check.found.contains("at least 82 MiB"), "{check:?}");
        assert_eq!(memory(&host, CheckStage::Running).severity, CheckSeverity::Ok, "it runs, so it sufficed");
        limited(&mut host, 82, 10);
        assert_eq!(memory(&host, CheckStage::Before).severity, CheckSeverity::Ok);
    }
}

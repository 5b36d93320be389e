//! Loads the kernel object and attaches what is not tied to a library.

use std::fs::File;
use std::io;

use aya::programs::{CgroupAttachMode, Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use observer_common::limits::DEFAULT_RING_BYTES;
use observer_common::programs as names;

use super::btf::{self, TaskOffsets};
use super::cgroup;
use super::probes::{Hook, PROGRAMS};
use super::targets::chain;
use super::uprobes::Uprobes;
use crate::coverage::{ProbeRow, ProbeState};

/// The kernel object that the build script made.
pub static OBJECT: &[u8] = include_bytes_aligned!(env!("LLM_OBSERVER_BPF_OBJECT"));

/// Why the kernel side cannot start: what failed, whose fault it is, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error(
        "not root: loading BPF programs and uprobes needs root (or CAP_SYS_ADMIN, CAP_BPF and CAP_PERFMON); run it with sudo or as a privileged container"
    )]
    NotRoot,
    /// No BTF.
    #[error(
        "this kernel shows no BTF (/sys/kernel/btf/vmlinux: {0}): process start times cannot be read; boot a kernel with CONFIG_DEBUG_INFO_BTF=y, or mount /sys in the container"
    )]
    NoBtf(io::Error),
    /// BTF without the fields.
    #[error("this kernel's BTF does not describe task_struct as expected: please report the kernel version")]
    OddBtf,
    /// Lockdown.
    #[error(
        "the kernel is locked down (confidentiality): it refuses BPF programs that read memory; boot without lockdown=confidentiality"
    )]
    LockedDown,
    /// Anything else the kernel refuses at load.
    #[error("the kernel refused the program {program}: {reason}")]
    Refused { program: String, reason: String },
    /// The object as a whole.
    #[error("the kernel object cannot be loaded: {0} (needs Linux 5.8 or newer with CONFIG_BPF_SYSCALL)")]
    Object(String),
    /// The host watch.
    #[error(
        "new programs cannot be watched: perf_event_open says {0}; it needs CAP_PERFMON or CAP_SYS_ADMIN and seccomp must allow it"
    )]
    Watch(io::Error),
}

/// Checks what must hold before anything is loaded.
///
/// # Errors
/// The first thing that is missing.
pub fn prerequisites() -> Result<TaskOffsets, Error> {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Err(Error::NotRoot);
    }
    if lockdown().as_deref() == Some("confidentiality") {
        return Err(Error::LockedDown);
    }
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").map_err(Error::NoBtf)?;
    btf::task_offsets(&btf).ok_or(Error::OddBtf)
}

/// The active lockdown mode: `none [integrity] confidentiality` → `integrity`.
#[must_use]
pub fn lockdown() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    Some(text.split('[').nth(1)?.split(']').next()?.to_string())
}

/// Loads the object and every program of the table.
///
/// # Errors
/// A prerequisite is missing or the kernel refuses a program that cannot be done without.
pub fn load(ring_bytes: u32) -> Result<Uprobes, Error> {
    let offsets = prerequisites()?;
    let own = std::process::id();
    let globals = [
        (names::GLOBAL_GROUP_LEADER, offsets.group_leader),
        (names::GLOBAL_START_BOOTTIME, offsets.start_boottime),
        (names::GLOBAL_SELF, own),
    ];
    let mut loader = EbpfLoader::new();
    for (name, value) in &globals {
        loader.override_global(name, value, true);
    }
    loader.map_max_entries(names::MAP_RING, ring_bytes);
    let ebpf = loader.load(OBJECT).map_err(|error| object_error(&error))?;
    Uprobes::load(ebpf, &globals)
}

fn object_error(error: &EbpfError) -> Error {
    Error::Object(first_line(&chain(error)))
}

/// The verifier's log follows the first line; it goes to the debug log only.
fn first_line(text: &str) -> String {
    tracing::debug!(target: "kernel", "{text}");
    text.lines().next().unwrap_or_default().to_string()
}

pub(super) fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<(), String> {
    let program = ebpf.program_mut(name).ok_or("the object has no such program")?;
    let loaded = match program {
        Program::UProbe(p) => p.load(),
        Program::RawTracePoint(p) => p.load(),
        Program::CgroupSkb(p) => p.load(),
        Program::CgroupSockAddr(p) => p.load(),
        Program::SockOps(p) => p.load(),
        _ => return Err("of a kind that is not in the table".into()),
    };
    loaded.map_err(|error| first_line(&chain(&error)))
}

/// Attaches the host-wide programs; each ends in a row, none is fatal.
pub fn attach_host(ebpf: &mut Ebpf) -> Vec<ProbeRow> {
    let cgroup = cgroup::find().map(|found| found.path);
    let rows = PROGRAMS.iter().filter(|p| p.hook != Hook::Uprobe).map(|entry| {
        let outcome =
            load_program(ebpf, entry.name).and_then(|()| attach(ebpf, entry.name, entry.hook, cgroup.as_ref()));
        let (state, reason) = match outcome {
            Ok(()) => (ProbeState::Ok, String::new()),
            Err(reason) => (ProbeState::Unsupported, format!("{reason}; lost: {}", entry.lost)),
        };
        ProbeRow {
            probe: entry.name,
            target: target_of(entry.hook, cgroup.as_ref()),
            build_id: None,
            placement: "hook".into(),
            reason,
            state,
            hits: None,
        }
    });
    rows.collect()
}

/// The host-wide programs that this kernel refuses, with the reason and what is lost; each is loaded, attached and gone again.
///
/// # Errors
/// Nothing can be loaded at all.
pub fn try_host() -> Result<Vec<(&'static str, String, &'static str)>, Error> {
    let mut uprobes = load(DEFAULT_RING_BYTES)?;
    let refused = |row: ProbeRow| {
        let program = PROGRAMS.iter().find(|program| program.name == row.probe)?;
        let reason = row.reason.split("; lost: ").next().unwrap_or_default().to_owned();
        (row.state != ProbeState::Ok).then_some((program.name, reason, program.lost))
    };
    Ok(attach_host(&mut uprobes.ebpf).into_iter().filter_map(refused).collect())
}

fn target_of(hook: Hook, cgroup: Option<&String>) -> String {
    match hook {
        Hook::RawTracepoint(name) => format!("raw tracepoint {name}"),
        _ => cgroup.map_or("cgroup v2".to_string(), Clone::clone),
    }
}

fn attach(ebpf: &mut Ebpf, name: &str, hook: Hook, cgroup: Option<&String>) -> Result<(), String> {
    let program = ebpf.program_mut(name).ok_or("the object has no such program")?;
    if let (Program::RawTracePoint(program), Hook::RawTracepoint(tracepoint)) = (&mut *program, hook) {
        return program.attach(tracepoint).map(drop).map_err(|error| chain(&error));
    }
    // As a link, which other programs on this cgroup neither see nor hinder, and which ends with this process.
    let path = cgroup.ok_or("no cgroup v2 hierarchy is mounted (mount -t cgroup2)")?;
    let root = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let attached: Result<(), ProgramError> = match (program, hook) {
        (Program::CgroupSkb(program), Hook::CgroupSkb(incoming)) => {
            let kind = if incoming {
                aya::programs::CgroupSkbAttachType::Ingress
            } else {
                aya::programs::CgroupSkbAttachType::Egress
            };
            program.attach(root, kind, CgroupAttachMode::Single).map(drop)
        }
        (Program::CgroupSockAddr(program), Hook::CgroupConnect) => {
            program.attach(root, CgroupAttachMode::Single).map(drop)
        }
        (Program::SockOps(program), Hook::CgroupSockOps) => program.attach(root, CgroupAttachMode::Single).map(drop),
        _ => return Err("of another kind than the table says".into()),
    };
    attached.map_err(|error| chain(&error))
}

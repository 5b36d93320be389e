//! Loads the kernel object and attaches what is not tied to a library.

use std::fs::File;
use std::io::{self, Read};

use aya::programs::{CgroupAttachMode, Program, ProgramError};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use observer_common::programs as names;

use super::btf::{self, TaskOffsets};
use super::caps::{Capability, PrivilegeFacts, PrivilegeRefusal, system_error};
use super::cgroup;
use super::memory::MapMemory;
use super::multi;
use super::probes::{self as host, PROGRAMS, ProgramHook};
use super::targets::chain;
use super::uprobes::UprobePrograms;
use super::watch::MappingWatch;
use crate::coverage::{ProbeRow, ProbeState, RefusedProgram};

/// The kernel object that the build script made.
pub static OBJECT: &[u8] = include_bytes_aligned!(env!("LLM_OBSERVER_BPF_OBJECT"));

/// Why the kernel side cannot start: what failed, whose fault it is, what to do (behind the semicolon).
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No BTF.
    #[error(
        "this kernel shows no BTF (/sys/kernel/btf/vmlinux: {0}), so process start times cannot be read; boot a kernel with CONFIG_DEBUG_INFO_BTF=y, or mount /sys in the container"
    )]
    NoBtf(io::Error),
    /// Something lies over it, or it is another file.
    #[error(
        "/sys/kernel/btf/vmlinux {0}, so process start times cannot be read; take away what is mounted over it, or mount the host's /sys in the container"
    )]
    HiddenBtf(&'static str),
    /// BTF without the fields.
    #[error("this kernel's BTF does not describe task_struct as expected; please report the kernel version")]
    OddBtf,
    /// Lockdown.
    #[error(
        "the kernel is locked down (confidentiality) and refuses BPF programs that read memory; boot without lockdown=confidentiality"
    )]
    LockedDown,
    /// The kernel may not be asked at all.
    #[error("{what} is refused: {}; {}", .refusal.why, .refusal.fix)]
    Barred { what: &'static str, refusal: PrivilegeRefusal },
    /// Not room enough for the maps.
    #[error("memory does not suffice{what}: {}; raise the limit (Kubernetes: resources.limits.memory; better to twice of that), or lower kernel.ring_bytes", .memory.text())]
    Memory { what: String, memory: MapMemory },
    /// Anything else the kernel refuses at load.
    #[error(
        "the kernel refuses the program {program}: {reason}; use Linux 5.8 or newer with CONFIG_BPF_SYSCALL=y and CONFIG_UPROBES=y"
    )]
    Refused { program: String, reason: String },
    /// The object as a whole.
    #[error("the kernel object cannot be loaded: {0}; use Linux 5.8 or newer with CONFIG_BPF_SYSCALL=y")]
    Object(String),
    /// The host watch.
    #[error("new programs cannot be watched, perf_event_open is refused: {}; {}", watch_refusal(.0).why, watch_refusal(.0).fix)]
    Watch(io::Error),
}

fn watch_refusal(error: &io::Error) -> PrivilegeRefusal {
    PrivilegeFacts::own().refusal(&[Capability::Perfmon], error.raw_os_error().unwrap_or(0))
}

/// Checks what must hold before anything is loaded, by trying it.
///
/// # Errors
/// The first thing that is missing.
fn prerequisites(ring_bytes: u32) -> Result<TaskOffsets, LoadError> {
    if lockdown().as_deref() == Some("confidentiality") {
        return Err(LoadError::LockedDown);
    }
    super::memory::raise_limits();
    multi::trial().map_err(|(what, needs, error)| {
        let refusal = PrivilegeFacts::own().refusal(needs, error.raw_os_error().unwrap_or(0));
        LoadError::Barred { what, refusal }
    })?;
    let memory = MapMemory::read(ring_bytes);
    // It would be killed on the way, and could not say why.
    if memory.short().is_some() {
        return Err(LoadError::Memory { what: String::new(), memory });
    }
    task_offsets()
}

/// BTF of a kernel is about 6 MB; a stranger's file mounted over it may be endless.
const BTF_BYTES: u64 = 64 << 20;

fn task_offsets() -> Result<TaskOffsets, LoadError> {
    let mut bytes = Vec::new();
    let file = File::open("/sys/kernel/btf/vmlinux").map_err(LoadError::NoBtf)?;
    file.take(BTF_BYTES).read_to_end(&mut bytes).map_err(LoadError::NoBtf)?;
    match bytes.as_slice() {
        [] => Err(LoadError::HiddenBtf("is empty")),
        [0x9f, 0xeb, ..] => btf::task_offsets(&bytes).ok_or(LoadError::OddBtf),
        _ => Err(LoadError::HiddenBtf("is no BTF")),
    }
}

/// The active lockdown mode: `none [integrity] confidentiality` → `integrity`.
#[must_use]
pub(super) fn lockdown() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    Some(text.split('[').nth(1)?.split(']').next()?.to_string())
}

/// How large to make the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapSize {
    /// To observe with, the ring having so many bytes.
    Full(u32),
    /// To see whether the kernel takes it all: a page for the ring, a few entries for the rest.
    Trial,
}

/// A ring must have whole pages.
const TRIAL_RING: u32 = 4096;
/// Entries of a map that is only tried.
const TRIAL_ENTRIES: u32 = 64;

/// Loads the object and every program of the stacks.
///
/// # Errors
/// A prerequisite is missing or the kernel refuses a program that cannot be done without.
pub(super) fn load(size: MapSize) -> Result<UprobePrograms, LoadError> {
    let ring_bytes = if let MapSize::Full(bytes) = size { bytes } else { TRIAL_RING };
    let offsets = prerequisites(ring_bytes)?;
    let own = std::process::id();
    let globals = [
        (names::GLOBAL_GROUP_LEADER, offsets.group_leader),
        (names::GLOBAL_START_BOOTTIME, offsets.start_boottime),
        (names::GLOBAL_SIGNAL, offsets.signal),
        (names::GLOBAL_SIGNAL_LIVE, offsets.signal_live),
        (names::GLOBAL_SELF, own),
    ];
    let mut loader = EbpfLoader::new();
    for (name, value) in &globals {
        loader.override_global(name, value, true);
    }
    let small = if size == MapSize::Trial { multi::large_maps(TRIAL_ENTRIES) } else { Vec::new() };
    for name in &small {
        loader.map_max_entries(name, TRIAL_ENTRIES);
    }
    loader.map_max_entries(names::MAP_RING, ring_bytes);
    let ebpf = loader.load(OBJECT).map_err(|error| object_error(&error, ring_bytes))?;
    UprobePrograms::load(ebpf, &globals)
}

/// What a failure to load or to map the object's maps means.
pub(super) fn object_error(error: &(dyn std::error::Error + 'static), ring_bytes: u32) -> LoadError {
    let what = first_line(&chain(error));
    match system_error(error) {
        Some(libc::ENOMEM) => LoadError::Memory { what: format!(" ({what})"), memory: MapMemory::read(ring_bytes) },
        Some(error @ (libc::EPERM | libc::EACCES | libc::EMFILE | libc::ENFILE)) => LoadError::Barred {
            what: "making the maps",
            refusal: PrivilegeFacts::own().refusal(&[Capability::Bpf], error),
        },
        _ => LoadError::Object(what),
    }
}

/// The verifier's log follows the first line; it goes to the debug log only.
fn first_line(text: &str) -> String {
    tracing::debug!(target: "kernel", "{text}");
    text.lines().next().unwrap_or_default().to_string()
}

/// What the kernel says; where it refuses, the capability (or whatever it is) that would help.
fn why(error: &(dyn std::error::Error + 'static), needs: &[Capability]) -> String {
    let said = first_line(&chain(error));
    match system_error(error) {
        Some(number @ (libc::EPERM | libc::EACCES | libc::ENOMEM)) => {
            format!("{}: {}", io::Error::from_raw_os_error(number), PrivilegeFacts::own().refusal(needs, number).why)
        }
        _ => said,
    }
}

/// What the kernel asks for to take a program of this kind.
fn needs(hook: ProgramHook) -> &'static [Capability] {
    match hook {
        ProgramHook::Uprobe | ProgramHook::RawTracepoint(_) => &[Capability::Bpf, Capability::Perfmon],
        ProgramHook::CgroupConnect | ProgramHook::CgroupSkb(_) | ProgramHook::CgroupSockOps => {
            &[Capability::Bpf, Capability::NetAdmin]
        }
    }
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
    let hook = PROGRAMS.iter().find(|entry| entry.name == name).map_or(ProgramHook::Uprobe, |entry| entry.hook);
    loaded.map_err(|error| why(&error, needs(hook)))
}

/// Attaches the host-wide programs; each ends in a row, none is fatal.
pub(super) fn attach_host(ebpf: &mut Ebpf) -> Vec<ProbeRow> {
    let cgroup = cgroup::find().map(|found| found.path);
    PROGRAMS.iter().map(|program| host_row(program, cgroup.as_ref(), put_in(ebpf, program, cgroup.as_ref()))).collect()
}

fn put_in(ebpf: &mut Ebpf, program: &host::KernelProgram, cgroup: Option<&String>) -> Result<(), RefusedProgram> {
    let outcome = load_program(ebpf, program.name).and_then(|()| attach(ebpf, program.name, program.hook, cgroup));
    outcome.map_err(|reason| RefusedProgram { reason, lost: program.lost })
}

fn host_row(program: &host::KernelProgram, cgroup: Option<&String>, outcome: Result<(), RefusedProgram>) -> ProbeRow {
    let (state, reason, lost) = match outcome {
        Ok(()) => (ProbeState::Ok, String::new(), None),
        Err(RefusedProgram { reason, lost }) => (ProbeState::Unsupported, reason, Some(lost)),
    };
    let target = target_of(program.hook, cgroup);
    ProbeRow { probe: program.name, target, placement: "hook".into(), reason, lost, state, ..ProbeRow::default() }
}

/// The rows of the host-wide programs, each loaded, attached and gone again.
///
/// # Errors
/// Nothing can be loaded at all.
pub(super) fn try_host() -> Result<Vec<ProbeRow>, LoadError> {
    Ok(attach_host(&mut load(MapSize::Trial)?.ebpf()))
}

fn target_of(hook: ProgramHook, cgroup: Option<&String>) -> String {
    match hook {
        ProgramHook::RawTracepoint(name) => format!("raw tracepoint {name}"),
        _ => cgroup.map_or("cgroup v2".to_string(), Clone::clone),
    }
}

fn attach(ebpf: &mut Ebpf, name: &str, hook: ProgramHook, cgroup: Option<&String>) -> Result<(), String> {
    let program = ebpf.program_mut(name).ok_or("the object has no such program")?;
    if let (Program::RawTracePoint(program), ProgramHook::RawTracepoint(tracepoint)) = (&mut *program, hook) {
        return program.attach(tracepoint).map(drop).map_err(|error| why(&error, needs(hook)));
    }
    // As a link, which other programs on this cgroup neither see nor hinder, and which ends with this process.
    let path = cgroup.ok_or("no cgroup v2 hierarchy is mounted (mount -t cgroup2)")?;
    let root = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let attached: Result<(), ProgramError> = match (program, hook) {
        (Program::CgroupSkb(program), ProgramHook::CgroupSkb(incoming)) => {
            let kind = if incoming {
                aya::programs::CgroupSkbAttachType::Ingress
            } else {
                aya::programs::CgroupSkbAttachType::Egress
            };
            program.attach(root, kind, CgroupAttachMode::Single).map(drop)
        }
        (Program::CgroupSockAddr(program), ProgramHook::CgroupConnect) => {
            program.attach(root, CgroupAttachMode::Single).map(drop)
        }
        (Program::SockOps(program), ProgramHook::CgroupSockOps) => {
            program.attach(root, CgroupAttachMode::Single).map(drop)
        }
        _ => return Err("of another kind than the table says".into()),
    };
    attached.map_err(|error| why(&error, needs(hook)))
}

/// Whether this process may observe this host with such a ring; tried, and nothing is left of it.
///
/// # Errors
/// What is missing first.
pub fn may_observe(ring_bytes: u32) -> Result<(), LoadError> {
    prerequisites(ring_bytes)?;
    MappingWatch::open().map(drop).map_err(LoadError::Watch)
}

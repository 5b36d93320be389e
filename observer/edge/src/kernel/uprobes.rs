//! How a program is tied to a function: one interface over the kernel's two ways.
//!
//! `uprobe_multi` links (Linux 6.6) call the program straight from the breakpoint's handler, at any
//! number of places; perf events, which every kernel has, go through two more layers and cost each
//! call of a probed function about 0.1 µs more. The aya that our compiler can build has no
//! interface for the former, so the programs are loaded here a second way (`multi`, decision 0007);
//! where the kernel refuses that, aya's perf events do it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::Ebpf;
use aya::programs::uprobe::{UProbeLink, UProbeScope};
use aya::programs::{Program, ProgramError};

use super::load::LoadError;
use super::multi::UprobeMulti;
use super::targets::chain;
use crate::coverage::{CheckSeverity, HealthCheck};
use capture::stacks;

/// The loaded kernel object and its uprobe programs.
pub(super) struct UprobePrograms {
    /// Attaching by perf events needs it whole; so does asking what the programs cost.
    ebpf: Mutex<Ebpf>,
    multi: Option<UprobeMulti>,
    /// Programs that this kernel does not take, and why: the stacks that need them go unseen, and no other.
    refused: Vec<(&'static str, String)>,
}

/// A probe in place; dropping it takes it away.
#[derive(Debug)]
pub(super) struct ProbeLink {
    _held: LinkHandle,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held, so that the probe stays in place; dropping it detaches")]
enum LinkHandle {
    Multi(OwnedFd),
    Perf(Vec<UProbeLink>),
}

impl UprobePrograms {
    /// Loads the programs of every stack, in the better way that this kernel has.
    ///
    /// # Errors
    /// The kernel refuses every program.
    pub(super) fn load(mut ebpf: Ebpf, globals: &[(&str, u32)]) -> Result<Self, LoadError> {
        let names = stacks::programs();
        match UprobeMulti::load(&ebpf, globals, &names) {
            Ok(multi) => return Ok(Self { ebpf: Mutex::new(ebpf), multi: Some(multi), refused: Vec::new() }),
            Err(reason) => tracing::info!(%reason, "no uprobe_multi links here: probes go through perf events"),
        }
        let all = names.len();
        let refused: Vec<(&'static str, String)> = names
            .into_iter()
            .filter_map(|name| Some((name, super::load::load_program(&mut ebpf, name).err()?)))
            .collect();
        match refused.first() {
            Some((program, reason)) if refused.len() == all => {
                Err(LoadError::Refused { program: (*program).into(), reason: reason.clone() })
            }
            _ => Ok(Self { ebpf: Mutex::new(ebpf), multi: None, refused }),
        }
    }

    /// The line of `doctor`.
    pub(super) fn check(&self) -> HealthCheck {
        if self.refused.is_empty() {
            return HealthCheck::ok("programs", format!("loaded; probes go through {}", self.way()));
        }
        let refused: Vec<String> = self.refused.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        HealthCheck::bad(
            "programs",
            CheckSeverity::Degraded,
            format!("this kernel refuses {}", refused.join("; ")),
            "plaintext of the TLS stacks that need these programs",
            "tell us, with the kernel's version (uname -a)",
        )
    }

    /// Puts a program at offsets of a file, for every process: at all of them or none.
    ///
    /// # Errors
    /// What the kernel or aya says, in one line.
    pub(super) fn attach(&self, program: &str, file: &Path, offsets: &[u64]) -> Result<ProbeLink, String> {
        if let Some((_, reason)) = self.refused.iter().find(|(name, _)| *name == program) {
            return Err(format!("this kernel refuses the program: {reason}"));
        }
        let held = match &self.multi {
            Some(multi) => {
                multi.attach(program, file, offsets).map(LinkHandle::Multi).map_err(|error| error.to_string())
            }
            None => attach_perf(&mut self.ebpf(), program, file, offsets)
                .map(LinkHandle::Perf)
                .map_err(|error| chain(&error)),
        };
        held.map(|held| ProbeLink { _held: held })
    }

    /// How programs are tied to functions here, in words.
    #[must_use]
    pub(super) fn way(&self) -> &'static str {
        if self.multi.is_some() { "uprobe_multi links" } else { "perf events" }
    }

    /// The loaded object, for its maps and the programs that are not uprobes.
    pub(super) fn ebpf(&self) -> MutexGuard<'_, Ebpf> {
        self.ebpf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time spent in each program; all 0 unless `kernel.bpf_stats_enabled` is set. What aya loaded
    /// is left out while it is busy attaching.
    pub(super) fn run_times(&self) -> Vec<(String, Duration)> {
        let ours = self
            .multi
            .iter()
            .flat_map(UprobeMulti::run_times)
            .map(|(name, ns)| (name.to_owned(), Duration::from_nanos(ns)));
        let Ok(ebpf) = self.ebpf.try_lock() else { return ours.collect() };
        let time = |program: &Program| Some(program.info().ok()?.run_time());
        let ayas = ebpf.programs().filter_map(|(name, program)| Some((name.to_owned(), time(program)?)));
        ayas.chain(ours).collect()
    }
}

fn attach_perf(ebpf: &mut Ebpf, program: &str, file: &Path, offsets: &[u64]) -> Result<Vec<UProbeLink>, ProgramError> {
    let Some(Program::UProbe(program)) = ebpf.program_mut(program) else { return Err(ProgramError::NotLoaded) };
    let attach = |offset: &u64| {
        let id = program.attach(*offset, file, UProbeScope::AllProcesses)?;
        program.take_link(id)
    };
    offsets.iter().map(attach).collect()
}

/// The last system error, for a call that said -1.
pub(super) fn failed() -> io::Error {
    io::Error::last_os_error()
}

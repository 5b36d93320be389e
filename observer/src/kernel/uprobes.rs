//! How a program is tied to a function: one interface over the kernel's two ways.
//!
//! `uprobe_multi` links (Linux 6.6) call the program straight from the breakpoint's handler; perf events, which every kernel
//! has, go through two more layers and cost each call of a probed function about 0.1 µs more. aya has no interface for the former, so the
//! programs are loaded here a second way (`multi`); where the kernel refuses that, aya's perf events do it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use aya::Ebpf;
use aya::programs::uprobe::{UProbeLink, UProbeScope};
use aya::programs::{Program, ProgramError};

use super::load::Error;
use super::multi::Multi;
use super::probes::{Hook, PROGRAMS};
use super::targets::chain;

/// The loaded kernel object and its uprobe programs.
pub struct Uprobes {
    pub ebpf: Ebpf,
    multi: Option<Multi>,
}

/// A probe in place; dropping it takes it away.
#[derive(Debug)]
pub struct Link {
    _held: Held,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held, so that the probe stays in place; dropping it detaches")]
enum Held {
    Multi(OwnedFd),
    Perf(UProbeLink),
}

impl Uprobes {
    /// Loads every uprobe program of the table, in the better way that this kernel has.
    ///
    /// # Errors
    /// The kernel refuses a program.
    pub fn load(mut ebpf: Ebpf, globals: &[(&str, u32)]) -> Result<Self, Error> {
        let names = || PROGRAMS.iter().filter(|program| program.hook == Hook::Uprobe).map(|program| program.name);
        match Multi::load(&ebpf, globals, names()) {
            Ok(multi) => return Ok(Self { ebpf, multi: Some(multi) }),
            Err(reason) => tracing::info!(%reason, "no uprobe_multi links here: probes go through perf events"),
        }
        for name in names() {
            super::load::load_program(&mut ebpf, name)
                .map_err(|reason| Error::Refused { program: name.into(), reason })?;
        }
        Ok(Self { ebpf, multi: None })
    }

    /// Puts a program at an offset of a file, for every process.
    ///
    /// # Errors
    /// What the kernel or aya says, in one line.
    pub fn attach(&mut self, program: &str, file: &Path, offset: u64) -> Result<Link, String> {
        let held = match &self.multi {
            Some(multi) => multi.attach(program, file, offset).map(Held::Multi).map_err(|error| error.to_string()),
            None => attach_perf(&mut self.ebpf, program, file, offset).map(Held::Perf).map_err(|error| chain(&error)),
        };
        held.map(|held| Link { _held: held })
    }

    /// Nanoseconds spent in each program that is not aya's; all 0 unless `kernel.bpf_stats_enabled` is set.
    pub fn run_times(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.multi.iter().flat_map(Multi::run_times)
    }
}

fn attach_perf(ebpf: &mut Ebpf, program: &str, file: &Path, offset: u64) -> Result<UProbeLink, ProgramError> {
    let Some(Program::UProbe(program)) = ebpf.program_mut(program) else { return Err(ProgramError::NotLoaded) };
    let id = program.attach(offset, file, UProbeScope::AllProcesses)?;
    program.take_link(id)
}

/// The last system error, for a call that said -1.
pub(super) fn failed() -> io::Error {
    io::Error::last_os_error()
}

//! Which TLS a process uses that no probe of ours enters, judged by what it has mapped.

use super::super::procmaps;
use super::super::watch::NewMapping;
use super::open::PathHandle;
use super::queue::FileJob;
use super::registry::FileVerdict;
use super::threads::WorkerState;
use super::{ProcessFinding, SharedFiles};
use crate::clock;
use capture::stacks::{self, ExecutableKind};

impl SharedFiles {
    pub(super) fn explain(&self, pid: u32, desk: &WorkerState) {
        let mapped = procmaps::executable(pid, clock::now());
        let names: Vec<_> = mapped.iter().filter_map(|mapping| mapping.path.rsplit('/').next()).collect();
        let executable = self.executable(pid, &mapped, desk);
        if executable.is_none() && !desk.surveys() {
            // It may be one that is still to be looked through.
            return self.leave_to_surveys(FileJob::Explain(pid));
        }
        let executable = match executable {
            Some(FileVerdict::Plain(marks)) => ExecutableKind::Plain(marks),
            Some(FileVerdict::Refused(reason)) => ExecutableKind::Refused(reason),
            Some(FileVerdict::Target(_)) => ExecutableKind::Probed,
            None => ExecutableKind::Unreadable,
        };
        let reason = stacks::unseen(executable, &names);
        let mut state = self.state();
        if !desk.given_up() {
            state.told.push(ProcessFinding::Explained { pid, reason });
        }
    }

    /// What its executable is; looked at now if it was not when it was mapped.
    fn executable(&self, pid: u32, mapped: &[NewMapping], desk: &WorkerState) -> Option<FileVerdict> {
        let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let mapping = mapped.iter().find(|mapping| path.to_string_lossy() == mapping.path.as_str())?;
        self.look(mapping, desk);
        let opened = PathHandle::of(mapping).ok()?;
        self.state().registry.known(opened.seen, opened.version, true, clock::now())
    }
}

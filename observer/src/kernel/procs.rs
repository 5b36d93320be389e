//! The processes that use TLS, or could: who they are and how far we see into them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::targets::{FileId, Found, Targets};
use super::watch::Mapping;
use crate::coverage::{ProcessRow, Visibility};
use crate::identity::{Cgroup, ContainerNames, Identity, Reader};
use crate::units::Ns;

/// One process.
#[derive(Debug)]
pub struct Process {
    pub identity: Arc<Identity>,
    start_ns: u64,
    /// The TLS libraries (or the executable) it has mapped.
    libraries: Vec<(FileId, String)>,
    hellos: u64,
    /// When it was seen to end: its last records may still wait in the ring, and they need its name.
    ended: Option<Ns>,
}

/// The processes of the host that matter.
#[derive(Debug, Default)]
pub struct Processes {
    known: HashMap<u32, Process>,
    /// Names heard of at exec: all that is left of a process that was gone before it could be looked at.
    heard: HashMap<u32, String>,
    reader: Reader,
}

impl Processes {
    /// A process mapped a TLS library.
    pub fn mapped(&mut self, mapping: &Mapping, file: FileId) {
        if let Some(process) = self.entry(mapping.pid)
            && !process.libraries.iter().any(|(known, _)| *known == file)
        {
            process.libraries.push((file, mapping.path.clone()));
        }
    }

    /// A socket of the process sent a ClientHello.
    pub fn hello(&mut self, pid: u32) {
        if let Some(process) = self.entry(pid) {
            process.hellos += 1;
        }
    }

    /// Who the process is, read when first asked.
    pub fn identify(&mut self, pid: u32) -> Arc<Identity> {
        if let Some(process) = self.entry(pid) {
            return Arc::clone(&process.identity);
        }
        let comm = self.heard.get(&pid).cloned().unwrap_or_default();
        Arc::new(Identity::new(pid, comm, None, Cgroup::default(), ContainerNames::default()))
    }

    /// Whether somebody asked who it is.
    #[must_use]
    pub fn knows(&self, pid: u32) -> bool {
        self.known.contains_key(&pid)
    }

    /// The file whose probes serve this process, if it is one alone.
    #[must_use]
    pub fn library(&self, pid: u32) -> Option<FileId> {
        match self.known.get(&pid)?.libraries.as_slice() {
            [(file, _)] => Some(*file),
            _ => None,
        }
    }

    /// The process is gone.
    pub fn ended(&mut self, pid: u32, now: Ns) {
        if let Some(process) = self.known.get_mut(&pid) {
            process.ended.get_or_insert(now);
        }
    }

    /// Forgets those that ended long enough ago.
    pub fn purge(&mut self, now: Ns) {
        self.known.retain(|_, process| process.ended.is_none_or(|ended| now - ended < REMEMBERED_NS));
    }

    /// A process that replaced its program (exec) is read anew.
    pub fn replaced(&mut self, pid: u32, comm: String) {
        self.known.remove(&pid);
        if self.heard.len() >= MAX_HEARD {
            self.heard.clear();
        }
        self.heard.insert(pid, comm);
    }

    fn entry(&mut self, pid: u32) -> Option<&mut Process> {
        if self.known.get(&pid).is_some_and(|process| process.ended.is_some() && lives(pid)) {
            self.known.remove(&pid);
        }
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.known.entry(pid) {
            let (start_ns, identity) = self.reader.read(pid)?;
            vacant.insert(Process {
                identity: Arc::new(identity),
                start_ns,
                libraries: Vec::new(),
                hellos: 0,
                ended: None,
            });
        }
        self.known.get_mut(&pid)
    }

    /// Rows for `inspect processes`. `wire`: the socket hooks work, so the number of ClientHellos is known.
    #[must_use]
    pub fn rows(&self, targets: &Targets, wire: bool) -> Vec<ProcessRow> {
        let live = self.known.iter().filter(|(_, process)| process.ended.is_none() && process.uses_tls());
        live.map(|(pid, process)| process.row(*pid, targets, wire)).collect()
    }
}

/// Names heard of and kept: those of the last few seconds, however many programs the host starts.
const MAX_HEARD: usize = 8192;

/// How long an ended process keeps its name: far longer than records wait in the ring.
const REMEMBERED_NS: u64 = 10_000_000_000;

fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

impl Process {
    /// A process that was only asked for its name (it speaks plain HTTP) has nothing here to be blind to.
    fn uses_tls(&self) -> bool {
        !self.libraries.is_empty() || self.hellos > 0
    }

    fn row(&self, pid: u32, targets: &Targets, wire: bool) -> ProcessRow {
        let probed =
            self.libraries.iter().find(|(file, _)| matches!(targets.get(*file), Some(Found::Target(t)) if t.works()));
        let (visibility, reason) = match (probed, self.libraries.first()) {
            (Some(_), _) => (Visibility::Plaintext, "probed"),
            (None, Some(_)) => (Visibility::None, "probe_broken"),
            (None, None) => (Visibility::None, why_unseen(pid)),
        };
        ProcessRow {
            pid,
            start_ns: self.start_ns,
            comm: self.identity.comm.clone(),
            service: self.identity.service.clone(),
            visibility,
            reason,
            library: probed.or(self.libraries.first()).map(|(_, path)| path.clone()),
            hellos: wire.then_some(self.hellos),
        }
    }
}

/// Which TLS a process uses that no probe of ours enters, judged by what it has mapped.
fn why_unseen(pid: u32) -> &'static str {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mapped =
        |name: &str| maps.lines().any(|line| line.rsplit('/').next().is_some_and(|file| file.starts_with(name)));
    let marks = super::elf::Image::read(format!("/proc/{pid}/exe").as_ref()).ok().flatten().map(|image| image.marks);
    match marks {
        _ if mapped("libjvm.so") => "java_jsse",
        Some(marks) if marks.go => "go_crypto_tls",
        _ if mapped("libgnutls") => "gnutls",
        _ if mapped("libnss3") => "nss",
        Some(marks) if marks.stripped => "stripped_static_tls",
        Some(_) => "unknown_tls_library",
        None => "executable_unreadable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_no_tls_is_no_row() {
        let mut processes = Processes::default();
        let own = std::process::id();
        assert_eq!(processes.identify(own).pid, own);
        let targets = Targets::new(super::super::placement::Strategy::default());
        assert!(processes.rows(&targets, true).is_empty(), "it was asked for its name alone");
        processes.hello(own);
        assert_eq!(processes.rows(&targets, true).len(), 1);
    }

    #[test]
    fn a_process_gone_at_once_keeps_the_name_of_its_exec() {
        let mut processes = Processes::default();
        processes.replaced(u32::MAX, "curl".into());
        let identity = processes.identify(u32::MAX);
        assert_eq!((identity.comm.as_str(), identity.service.as_str()), ("curl", "curl"));
        for pid in 0..100_000 {
            processes.replaced(pid, "sh".into());
        }
        assert!(processes.heard.len() <= MAX_HEARD);
    }
}

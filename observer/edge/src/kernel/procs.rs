//! The processes that use TLS, or could: who they are and how far we see into them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::files::MappedFiles;
use super::unmatched::MatchChange;
use crate::coverage::{ProcessRow, TlsVisibility};
use crate::identity::{IdentityReader, ProcessIdentity};
use capture::stacks::UnseenReason;
use capture::units::Ns;

/// One process.
#[derive(Debug)]
pub(super) struct TlsProcess {
    pub identity: Arc<ProcessIdentity>,
    start_ns: u64,
    hellos: u64,
    /// TLS sockets whose answered requests no probed write fits.
    unmatched: u64,
    /// Plaintext of it was seen.
    has_spoken: bool,
    /// Why a file that it has mapped is not looked at.
    unseen: Option<UnseenReason>,
    /// … of whose name it is known that TLS is in it.
    surely_tls: bool,
    /// Which TLS it uses that no probe enters, once somebody has looked.
    explained: Option<UnseenReason>,
    /// When it was seen to end: its last records may still wait in the ring, and they need its name.
    ended: Option<Ns>,
}

/// The processes of the host that matter.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    known: HashMap<u32, TlsProcess>,
    /// Names heard of at exec: all that is left of a process that was gone before it could be looked at.
    heard: HashMap<u32, String>,
    /// Processes that sent a ClientHello, to be explained if no probe enters their TLS.
    to_explain: Vec<u32>,
    reader: IdentityReader,
}

impl ProcessTable {
    /// A process has a probed file mapped: it is read now, for it may be gone soon.
    pub(super) fn uses_tls(&mut self, pid: u32) {
        let _ = self.entry(pid);
    }

    /// A process has a file mapped that is not looked at. `surely_tls`: its name says that TLS is in it.
    pub(super) fn unseen(&mut self, pid: u32, reason: UnseenReason, surely_tls: bool) {
        if let Some(process) = self.entry(pid) {
            process.unseen = Some(reason);
            process.surely_tls |= surely_tls;
        }
    }

    /// Which TLS a process uses that no probe enters.
    pub(super) fn explained(&mut self, pid: u32, reason: UnseenReason) {
        if let Some(process) = self.known.get_mut(&pid) {
            process.explained = Some(reason);
        }
    }

    /// A socket of the process sent a ClientHello.
    pub(super) fn hello(&mut self, pid: u32) {
        if let Some(process) = self.entry(pid) {
            process.hellos += 1;
            // By its second one it has mapped what it uses.
            if process.hellos <= HELLOS_EXPLAINED {
                self.to_explain.push(pid);
            }
        }
    }

    /// Plaintext of the process was seen.
    pub(super) fn spoke(&mut self, pid: u32) {
        if let Some(process) = self.known.get_mut(&pid) {
            process.has_spoken = true;
        }
    }

    /// One of its sockets turned out to fit no write that was seen, or one after all.
    pub(super) fn changed(&mut self, change: MatchChange) {
        let (MatchChange::Unmatched(pid) | MatchChange::Matched(pid)) = change;
        let Some(process) = self.entry(pid) else { return };
        process.unmatched = match change {
            MatchChange::Unmatched(_) => process.unmatched + 1,
            MatchChange::Matched(_) => process.unmatched.saturating_sub(1),
        };
    }

    /// Processes to be explained, each handed out once.
    pub(super) fn take_unexplained(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.to_explain)
    }

    /// Who the process is, read when first asked.
    pub(super) fn identify(&mut self, pid: u32) -> Arc<ProcessIdentity> {
        if let Some(process) = self.entry(pid) {
            return Arc::clone(&process.identity);
        }
        let comm = self.heard.get(&pid).cloned().unwrap_or_default();
        Arc::new(ProcessIdentity::gone(pid, comm))
    }

    /// Whether somebody asked who it is.
    #[must_use]
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.known.contains_key(&pid)
    }

    /// Who can be told better than when they were introduced, with their start: a runtime was late,
    /// or a name is taken now.
    pub(super) fn settle(&mut self) -> Vec<(u32, u64, Arc<ProcessIdentity>)> {
        let again = self.reader.again();
        let better = again.into_iter().filter_map(|pid| {
            let process = self.known.get_mut(&pid)?;
            let (start_ns, identity) = self.reader.read(pid)?;
            if start_ns != process.start_ns || identity == *process.identity {
                return None;
            }
            process.identity = Arc::new(identity);
            Some((pid, start_ns, Arc::clone(&process.identity)))
        });
        better.collect()
    }

    /// The process is gone.
    pub(super) fn ended(&mut self, pid: u32, now: Ns) {
        if let Some(process) = self.known.get_mut(&pid) {
            process.ended.get_or_insert(now);
        }
    }

    /// Forgets those that ended long enough ago.
    pub(super) fn purge(&mut self, now: Ns) {
        self.known.retain(|_, process| process.ended.is_none_or(|ended| now - ended < REMEMBERED_NS));
    }

    /// A process that replaced its program (exec) is read anew.
    pub(super) fn replaced(&mut self, pid: u32, comm: String) {
        self.known.remove(&pid);
        if self.heard.len() >= MAX_HEARD {
            self.heard.clear();
        }
        self.heard.insert(pid, comm);
    }

    fn entry(&mut self, pid: u32) -> Option<&mut TlsProcess> {
        if self.known.get(&pid).is_some_and(|process| process.ended.is_some() && lives(pid)) {
            self.known.remove(&pid);
        }
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.known.entry(pid) {
            let (start_ns, identity) = self.reader.read(pid)?;
            vacant.insert(TlsProcess {
                identity: Arc::new(identity),
                start_ns,
                hellos: 0,
                unmatched: 0,
                has_spoken: false,
                unseen: None,
                surely_tls: false,
                explained: None,
                ended: None,
            });
        }
        self.known.get_mut(&pid)
    }

    /// Rows for `inspect processes`. `wire`: the socket hooks work, so the number of ClientHellos is known.
    #[must_use]
    pub(super) fn rows(&self, files: &MappedFiles, wire: bool) -> Vec<ProcessRow> {
        let live = self.known.iter().filter(|(_, process)| process.ended.is_none());
        live.filter_map(|(pid, process)| process.row(*pid, &files.of(*pid), wire)).collect()
    }
}

/// ClientHellos of one process after which it is asked which TLS it uses.
const HELLOS_EXPLAINED: u64 = 2;

/// Names heard of and kept: those of the last few seconds, however many programs the host starts.
const MAX_HEARD: usize = 8192;

/// How long an ended process keeps its name: far longer than records wait in the ring.
const REMEMBERED_NS: u64 = 10_000_000_000;

fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

impl TlsProcess {
    /// Its row; none if it has nothing here to be blind to (it speaks plain HTTP). `libraries`: the
    /// probed files that it has mapped.
    fn row<Id>(&self, pid: u32, libraries: &[(Id, String, bool)], wire: bool) -> Option<ProcessRow> {
        if libraries.is_empty() && self.hellos == 0 && !self.surely_tls {
            return None;
        }
        let probed = libraries.iter().find(|(_, _, works)| *works);
        let passes_by = self.unmatched > 0 && !self.has_spoken;
        let unseen = match (probed, libraries.first()) {
            (Some(_), _) if passes_by => Some(UnseenReason::SocketsUnmatched),
            (Some(_), _) => None,
            (None, Some(_)) => Some(UnseenReason::ProbeBroken),
            (None, None) => Some(self.unseen.or(self.explained).unwrap_or(UnseenReason::NotExaminedYet)),
        };
        Some(ProcessRow {
            pid,
            start_ns: self.start_ns,
            comm: self.identity.comm.clone(),
            service: self.identity.service.clone(),
            uid: self.identity.uid,
            k8s: self.identity.k8s.clone(),
            container_id: self.identity.container_id.clone(),
            visibility: if unseen.is_none() { TlsVisibility::Plaintext } else { TlsVisibility::None },
            unseen,
            library: probed.or(libraries.first()).map(|(_, path, _)| path.clone()),
            hellos: wire.then_some(self.hellos),
            unmatched: wire.then_some(self.unmatched),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::elf::ElfRefusalReason;

    fn row(processes: &ProcessTable, libraries: &[(u8, String, bool)]) -> Option<ProcessRow> {
        let own = std::process::id();
        processes.known.get(&own)?.row(own, libraries, true)
    }

    #[test]
    fn who_speaks_no_tls_is_no_row() {
        let mut processes = ProcessTable::default();
        let own = std::process::id();
        assert_eq!(processes.identify(own).pid, own);
        assert_eq!(row(&processes, &[]), None, "it was asked for its name alone");
        processes.hello(own);
        assert_eq!(row(&processes, &[]).map(|row| row.reason()), Some("not_examined_yet"));
        assert_eq!(processes.take_unexplained(), [own]);
        processes.explained(own, UnseenReason::Nss);
        assert_eq!(row(&processes, &[]).map(|row| row.reason()), Some("nss"));
    }

    #[test]
    fn one_working_library_is_enough_and_a_file_not_looked_at_is_told() {
        let mut processes = ProcessTable::default();
        let own = std::process::id();
        assert_eq!(processes.identify(own).pid, own);
        processes.unseen(own, UnseenReason::Elf(ElfRefusalReason::CutShort), false);
        assert_eq!(row(&processes, &[]), None, "any file: it may have nothing to do with TLS");
        processes.unseen(own, UnseenReason::FileUnreadable, true);
        assert_eq!(row(&processes, &[]).map(|row| row.reason()), Some("file_unreadable"));
        let libraries = [(1, "/a".to_owned(), false), (2, "/b".to_owned(), true)];
        let of = |libraries| row(&processes, libraries).map(|row| (row.visibility, row.library));
        assert_eq!(of(&libraries[..1]), Some((TlsVisibility::None, Some("/a".into()))));
        assert_eq!(of(&libraries), Some((TlsVisibility::Plaintext, Some("/b".into()))));
    }

    #[test]
    fn a_process_whose_sockets_pass_by_the_probes_is_not_seen_until_it_speaks() {
        let mut processes = ProcessTable::default();
        let own = std::process::id();
        let libraries = [(1, "/usr/bin/node".to_owned(), true)];
        let told = |processes: &ProcessTable| {
            row(processes, &libraries).map(|row| (row.visibility, row.reason(), row.unmatched))
        };
        processes.hello(own);
        assert_eq!(told(&processes), Some((TlsVisibility::Plaintext, "probed", Some(0))), "young");
        processes.changed(MatchChange::Unmatched(own));
        assert_eq!(told(&processes), Some((TlsVisibility::None, "sockets_unmatched", Some(1))));
        processes.changed(MatchChange::Matched(own));
        assert_eq!(told(&processes), Some((TlsVisibility::Plaintext, "probed", Some(0))), "a write fitted late");
        processes.changed(MatchChange::Unmatched(own));
        processes.spoke(own);
        assert_eq!(told(&processes), Some((TlsVisibility::Plaintext, "probed", Some(1))), "it uses two stacks");
        let broken = [(1, "/usr/bin/node".to_owned(), false)];
        assert_eq!(row(&processes, &broken).map(|row| row.reason()), Some("probe_broken"), "the surer reason");
    }

    #[test]
    fn a_process_gone_at_once_keeps_the_name_of_its_exec() {
        let mut processes = ProcessTable::default();
        processes.replaced(u32::MAX, "curl".into());
        let identity = processes.identify(u32::MAX);
        // Nobody can say whose it was, and `comm` is the process's own word.
        assert_eq!((identity.comm.as_str(), identity.service.as_str()), ("curl", "curl (gone)"));
        for pid in 0..100_000 {
            processes.replaced(pid, "sh".into());
        }
        assert!(processes.heard.len() <= MAX_HEARD);
    }
}

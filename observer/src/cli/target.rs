//! `--target`: a kernel side that shows only the chosen processes. Connections of others are
//! decided `Ignore` at once, so that they cost one look-up in the kernel from then on.

use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;

use observer_common::record::Verdict;

use crate::config::ObservationTarget;
use capture::record::{ConnKey, Record, SocketCookie};
use capture::units::Ns;
use edge::coverage::{CaptureEdge, HealthCheck, KernelCounters, ProbeRow, ProcessRow};
use edge::identity::IdentityReader;

/// The filter.
pub(super) struct TargetFilter {
    edge: Box<dyn CaptureEdge>,
    targets: Vec<ObservationTarget>,
    /// Processes that records may be of.
    wanted: HashSet<u32>,
    refused: Vec<ConnKey>,
    /// Whose the wanted sockets are: their segments name the socket alone.
    sockets: HashMap<SocketCookie, u32>,
    reader: IdentityReader,
}

/// `edge` itself, if everything on the host is meant.
pub(super) fn narrow(edge: Box<dyn CaptureEdge>, targets: Vec<ObservationTarget>) -> Box<dyn CaptureEdge> {
    if targets.is_empty() {
        return edge;
    }
    let (wanted, refused, sockets, reader) = (HashSet::new(), Vec::new(), HashMap::new(), IdentityReader::default());
    Box::new(TargetFilter { edge, targets, wanted, refused, sockets, reader })
}

impl CaptureEdge for TargetFilter {
    fn fds(&self) -> Vec<RawFd> {
        self.edge.fds()
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&Record<'_>)) -> bool {
        let TargetFilter { edge, targets, wanted, refused, sockets, reader } = self;
        let more = edge.drain(&mut |record| {
            if let Record::Process { tgid, identity, .. } = record {
                if fits(targets, *tgid, identity.exe.as_deref(), &reader.cgroups(*tgid)) {
                    wanted.insert(*tgid);
                } else {
                    // A pid is used again.
                    wanted.remove(tgid);
                }
            }
            if let Record::SockOpen(open) = record
                && wanted.contains(&open.tgid)
            {
                sockets.insert(open.sock, open.tgid);
            }
            match owner(record, sockets) {
                (tgid, _) if wanted.contains(&tgid) => sink(record),
                (_, Some(conn)) => refused.push(conn),
                (_, None) => {}
            }
            match record {
                Record::Exit { tgid, .. } => {
                    wanted.remove(tgid);
                }
                Record::SockClose { sock, .. } => {
                    sockets.remove(sock);
                }
                _ => {}
            }
        });
        for conn in self.refused.drain(..) {
            self.edge.decide(conn, Verdict::Ignore);
        }
        more
    }

    fn decide(&mut self, conn: ConnKey, verdict: Verdict) {
        self.edge.decide(conn, verdict);
    }

    fn tick(&mut self, now: Ns) {
        self.edge.tick(now);
    }

    fn found_layouts(&mut self) -> Option<String> {
        self.edge.found_layouts()
    }

    fn processes(&self) -> Vec<ProcessRow> {
        let mut rows = self.edge.processes();
        rows.retain(|row| {
            let exe = self.reader.exe(row.pid);
            fits(&self.targets, row.pid, exe.as_deref(), &self.reader.cgroups(row.pid))
        });
        rows
    }

    fn probes(&self) -> Vec<ProbeRow> {
        self.edge.probes()
    }

    fn counters(&self) -> KernelCounters {
        self.edge.counters()
    }

    fn sights(&self) -> Vec<HealthCheck> {
        self.edge.sights()
    }
}

/// The process a record is of (0, which is none: a socket that is not wanted), and its connection
/// where a verdict about it is due.
fn owner(record: &Record<'_>, sockets: &HashMap<SocketCookie, u32>) -> (u32, Option<ConnKey>) {
    let of = |sock: &SocketCookie| sockets.get(sock).copied().unwrap_or(0);
    match record {
        Record::SockOpen(open) => (open.tgid, Some(open.conn())),
        Record::Segment(segment) => (of(&segment.sock), None),
        Record::SockInfo(info) => (of(&info.sock), None),
        Record::SockClose { sock, .. } => (of(sock), None),
        Record::Paired(paired) => (paired.conn.tgid, None),
        Record::Process { tgid, .. } | Record::Exit { tgid, .. } => (*tgid, None),
        Record::Started { tgid, .. } => (tgid.unwrap_or(0), None),
        Record::Open { conn, .. } => (conn.tgid, Some(*conn)),
        Record::Data(data) => (data.conn.tgid, Some(data.conn)),
        Record::Remote { conn, .. }
        | Record::Shutdown { conn, .. }
        | Record::ReadEnd { conn, .. }
        | Record::Close { conn, .. }
        | Record::Audited { conn, .. } => (conn.tgid, None),
    }
}

fn fits(targets: &[ObservationTarget], pid: u32, exe: Option<&str>, cgroups: &[String]) -> bool {
    targets.iter().any(|target| match target {
        ObservationTarget::Pid(wanted) => *wanted == pid,
        ObservationTarget::Exe(wanted) => {
            exe.is_some_and(|path| path == wanted || (!wanted.contains('/') && path.rsplit('/').next() == Some(wanted)))
        }
        ObservationTarget::Cgroup(wanted) => cgroups.iter().any(|path| below(path, wanted)),
    })
}

/// `path` is `wanted` or lies below it; a name without slashes is any component.
fn below(path: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches('/');
    if !wanted.contains('/') {
        return path.split('/').any(|part| part == wanted);
    }
    path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use edge::identity::ProcessIdentity;

    #[test]
    fn targets_choose() {
        let cgroups = ["/system.slice/agent.service/payload".to_owned()];
        let fits = |target| fits(&[target], 7, Some("/usr/bin/python3.11"), &cgroups);
        assert!(fits(ObservationTarget::Pid(7)) && !fits(ObservationTarget::Pid(8)));
        assert!(
            fits(ObservationTarget::Exe("/usr/bin/python3.11".into()))
                && fits(ObservationTarget::Exe("python3.11".into()))
        );
        assert!(
            !fits(ObservationTarget::Exe("python3".into())) && !fits(ObservationTarget::Exe("bin/python3.11".into()))
        );
        for (cgroup, expected) in [
            ("/system.slice", true),
            ("/system.slice/agent.service/", true),
            ("agent.service", true),
            ("/system", false),
            ("agent", false),
        ] {
            assert_eq!(fits(ObservationTarget::Cgroup(cgroup.into())), expected, "{cgroup}");
        }
    }

    /// Two processes speak; one is asked for.
    #[test]
    fn others_are_ignored_and_their_records_stay_away() {
        let decided = Arc::new(Mutex::new(Vec::new()));
        let edge = Box::new(Fake { decided: Arc::clone(&decided) });
        let mut edge = narrow(edge, vec![ObservationTarget::Pid(1)]);
        let mut seen = Vec::new();
        edge.drain(&mut |record| seen.push(owner(record, &HashMap::new()).0));
        assert_eq!(seen, [1, 1, 1]);
        let decided = decided.lock().unwrap().clone();
        assert_eq!(decided, [(2, Verdict::Ignore)]);
    }

    struct Fake {
        decided: Arc<Mutex<Vec<(u32, Verdict)>>>,
    }

    impl CaptureEdge for Fake {
        fn fds(&self) -> Vec<RawFd> {
            Vec::new()
        }
        fn drain(&mut self, sink: &mut dyn FnMut(&Record<'_>)) -> bool {
            for tgid in [1, 2] {
                let identity = Arc::new(ProcessIdentity { pid: tgid, ..Default::default() });
                sink(&Record::Process { tgid, start_ns: 0, identity });
                sink(&Record::Open { conn: ConnKey { tgid, ..Default::default() }, at: Ns(1) });
                sink(&Record::Exit { tgid, at: Ns(2) });
            }
            false
        }
        fn decide(&mut self, conn: ConnKey, verdict: Verdict) {
            self.decided.lock().unwrap().push((conn.tgid, verdict));
        }
        fn tick(&mut self, _: Ns) {}
        fn processes(&self) -> Vec<ProcessRow> {
            Vec::new()
        }
        fn probes(&self) -> Vec<ProbeRow> {
            Vec::new()
        }
        fn counters(&self) -> KernelCounters {
            KernelCounters::default()
        }
    }
}

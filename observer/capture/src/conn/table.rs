//! The table of connections: birth, death, and what happens when there are too many.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::TlsReassembler;
use super::idle::IdleOrder;
use crate::identity::ProcessIdentity;
use crate::limits;
use crate::record::{ConnKey, SocketCookie};
use crate::units::{Direction, Ns};

/// A connection and what the pipeline keeps for it.
#[derive(Debug)]
pub struct TrackedConn<S> {
    /// Which.
    pub key: ConnKey,
    /// Its first byte was or will be seen.
    pub born: bool,
    /// When it was first heard of.
    pub since: Ns,
    /// Bytes the application read.
    pub read: TlsReassembler,
    /// Bytes the application wrote.
    pub write: TlsReassembler,
    /// The later stages' state.
    pub state: S,
    idle_since: Ns,
}

impl<S> TrackedConn<S> {
    /// The track of one direction, and the state beside it.
    pub fn direction_mut(&mut self, direction: Direction) -> (&mut TlsReassembler, &mut S) {
        match direction {
            Direction::Read => (&mut self.read, &mut self.state),
            Direction::Write => (&mut self.write, &mut self.state),
        }
    }
}

/// What a record about a connection meets.
pub enum ConnAdmission<S> {
    /// It may be used. The connections that had to go for it: of a former life of the same TLS object or process, or
    /// the one idle the longest (`evicted`).
    In { gone: Vec<TrackedConn<S>>, evicted: Option<Box<TrackedConn<S>>> },
    /// It is older than the connection now at this address: a latecomer, to be dropped.
    Stale,
}

#[derive(Debug)]
struct Process<S> {
    start_ns: u64,
    identity: Arc<ProcessIdentity>,
    /// What it says inside TLS is or was seen.
    plaintext: bool,
    /// Boxed: most processes have one, and the smallest table has room for four.
    conns: HashMap<u64, Box<TrackedConn<S>>, RandomState>,
}

/// All connections, by process and TLS object. At most `cap`; beyond it, the one idle the longest goes.
#[derive(Debug)]
pub struct ConnTable<S> {
    cap: usize,
    processes: HashMap<u32, Process<S>, RandomState>,
    /// Every connection once, by process and TLS object.
    idle: IdleOrder<(u32, u64)>,
}

impl<S: Default> ConnTable<S> {
    /// An empty table.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        ConnTable { cap: cap.max(1), processes: HashMap::default(), idle: IdleOrder::default() }
    }

    /// Who a process is. Returns the connections of an earlier process of that number.
    #[must_use]
    pub fn introduce(&mut self, tgid: u32, start_ns: u64, identity: Arc<ProcessIdentity>) -> Vec<TrackedConn<S>> {
        let gone = self.drop_former(tgid, start_ns);
        self.process(tgid, start_ns).identity = identity;
        gone
    }

    /// Who a process is, as far as we were told.
    #[must_use]
    pub fn identity(&self, key: &ConnKey) -> Arc<ProcessIdentity> {
        let process = self.processes.get(&key.tgid).filter(|p| p.start_ns == key.start_ns);
        process.map_or_else(|| Arc::new(unknown(key.tgid)), |p| p.identity.clone())
    }

    /// Whether plaintext of this process's TLS was ever seen.
    #[must_use]
    pub fn has_plaintext(&self, tgid: u32, start_ns: u64) -> bool {
        self.processes.get(&tgid).is_some_and(|process| process.start_ns == start_ns && process.plaintext)
    }

    /// A record about `key` came: makes the connection if it is new.
    pub fn admit(&mut self, key: ConnKey, born: bool, at: Ns) -> ConnAdmission<S> {
        if self.touch(&key, at).is_some() {
            return ConnAdmission::In { gone: Vec::new(), evicted: None };
        }
        if self.at_address(&key).is_some_and(|conn| conn.since > at) {
            return ConnAdmission::Stale;
        }
        let mut gone = self.drop_former(key.tgid, key.start_ns);
        gone.extend(self.take(key.tgid, key.handle));
        let evicted = if self.idle.len() >= self.cap { self.evict().map(Box::new) } else { None };
        self.idle.insert(at, (key.tgid, key.handle));
        let conn = Box::new(TrackedConn {
            key,
            born,
            since: at,
            read: TlsReassembler::default(),
            write: TlsReassembler::default(),
            state: S::default(),
            idle_since: at,
        });
        let process = self.process(key.tgid, key.start_ns);
        process.plaintext |= SocketCookie::of(&key).is_none();
        process.conns.insert(key.handle, conn);
        ConnAdmission::In { gone, evicted }
    }

    /// The connection and whose it is, if it is known.
    pub fn find(&mut self, key: &ConnKey) -> Option<(&mut TrackedConn<S>, &Arc<ProcessIdentity>)> {
        look_up(&mut self.processes, key)
    }

    /// `find` for a record of `at` about it: it has not been idle since.
    pub fn touch(&mut self, key: &ConnKey, at: Ns) -> Option<(&mut TrackedConn<S>, &Arc<ProcessIdentity>)> {
        let (conn, identity) = look_up(&mut self.processes, key)?;
        self.idle.touch(&mut conn.idle_since, at, (key.tgid, key.handle));
        Some((conn, identity))
    }

    /// Takes a connection out.
    pub fn remove(&mut self, key: &ConnKey) -> Option<TrackedConn<S>> {
        self.find(key)?;
        self.take(key.tgid, key.handle)
    }

    /// The process is gone: takes its connections out.
    #[must_use]
    pub fn exit(&mut self, tgid: u32) -> Vec<TrackedConn<S>> {
        let Some(process) = self.processes.remove(&tgid) else { return Vec::new() };
        for conn in process.conns.values() {
            self.idle.remove(conn.idle_since, (tgid, conn.key.handle));
        }
        process.conns.into_values().map(|conn| *conn).collect()
    }

    /// Takes all connections out: the observer stops.
    #[must_use]
    pub fn drain(&mut self) -> Vec<TrackedConn<S>> {
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        pids.into_iter().flat_map(|tgid| self.exit(tgid)).collect()
    }

    /// All connections.
    pub fn iter(&self) -> impl Iterator<Item = &TrackedConn<S>> {
        self.processes.values().flat_map(|process| process.conns.values().map(Box::as_ref))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    fn at_address(&self, key: &ConnKey) -> Option<&TrackedConn<S>> {
        self.processes.get(&key.tgid)?.conns.get(&key.handle).map(Box::as_ref)
    }

    fn take(&mut self, tgid: u32, handle: u64) -> Option<TrackedConn<S>> {
        let conn = self.processes.get_mut(&tgid)?.conns.remove(&handle)?;
        self.idle.remove(conn.idle_since, (tgid, handle));
        Some(*conn)
    }

    fn evict(&mut self) -> Option<TrackedConn<S>> {
        let (tgid, handle) = self.idle.longest()?;
        self.take(tgid, handle)
    }

    /// A process of this number but another start is another process.
    fn drop_former(&mut self, tgid: u32, start_ns: u64) -> Vec<TrackedConn<S>> {
        if self.processes.get(&tgid).is_some_and(|p| p.start_ns != start_ns) { self.exit(tgid) } else { Vec::new() }
    }

    fn process(&mut self, tgid: u32, start_ns: u64) -> &mut Process<S> {
        if self.processes.len() >= limits::PROCESSES && !self.processes.contains_key(&tgid) {
            self.processes.retain(|_, process| !process.conns.is_empty());
        }
        self.processes.entry(tgid).or_insert_with(|| Process {
            start_ns,
            identity: Arc::new(unknown(tgid)),
            plaintext: false,
            conns: HashMap::default(),
        })
    }
}

/// A connection among those of its process, and whose it is.
fn look_up<'a, S>(
    processes: &'a mut HashMap<u32, Process<S>, RandomState>,
    key: &ConnKey,
) -> Option<(&'a mut TrackedConn<S>, &'a Arc<ProcessIdentity>)> {
    let process = processes.get_mut(&key.tgid).filter(|process| process.start_ns == key.start_ns)?;
    let conn = process.conns.get_mut(&key.handle).map(Box::as_mut).filter(|conn| conn.key == *key)?;
    Some((conn, &process.identity))
}

/// A process nobody introduced.
fn unknown(tgid: u32) -> ProcessIdentity {
    ProcessIdentity { pid: tgid, ..ProcessIdentity::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tgid: u32, handle: u64, generation: u32) -> ConnKey {
        ConnKey { handle, start_ns: u64::from(tgid) * 10, tgid, generation }
    }

    fn admit(conns: &mut ConnTable<u32>, key: ConnKey, at: u64) -> (Vec<ConnKey>, Option<ConnKey>) {
        match conns.admit(key, true, Ns(at)) {
            ConnAdmission::In { gone, evicted } => (gone.iter().map(|c| c.key).collect(), evicted.map(|c| c.key)),
            ConnAdmission::Stale => panic!("stale"),
        }
    }

    #[test]
    fn a_reused_address_is_another_connection_and_its_latecomers_are_dropped() {
        let mut conns = ConnTable::new(10);
        assert_eq!(admit(&mut conns, key(1, 7, 100), 1000), (vec![], None));
        assert_eq!(admit(&mut conns, key(1, 7, 5), 2000), (vec![key(1, 7, 100)], None));
        assert!(matches!(conns.admit(key(1, 7, 100), true, Ns(1500)), ConnAdmission::Stale));
        assert_eq!(conns.len(), 1);
        assert!(conns.remove(&key(1, 7, 100)).is_none());
        assert!(conns.remove(&key(1, 7, 5)).is_some());
        assert!(conns.is_empty());
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut conns = ConnTable::new(10);
        admit(&mut conns, key(1, 7, 1), 1000);
        admit(&mut conns, key(1, 8, 2), 1000);
        let identity = Arc::new(ProcessIdentity { comm: "new".into(), ..ProcessIdentity::default() });
        assert_eq!(conns.introduce(1, 999, identity).len(), 2);
        let new = ConnKey { start_ns: 999, ..key(1, 7, 1) };
        assert_eq!(admit(&mut conns, new, 2000), (vec![], None));
        assert_eq!(conns.identity(&new).comm, "new");
        assert_eq!(conns.identity(&key(1, 7, 1)).comm, "");
    }

    #[test]
    fn the_longest_idle_goes_first_when_full() {
        let second = crate::conn::idle::STEP;
        let mut conns = ConnTable::new(3);
        for handle in 0..3 {
            admit(&mut conns, key(1, handle, 0), handle * second);
        }
        admit(&mut conns, key(1, 0, 0), 9 * second);
        assert_eq!(admit(&mut conns, key(2, 9, 0), 10 * second), (vec![], Some(key(1, 1, 0))));
        assert_eq!(admit(&mut conns, key(2, 8, 0), 10 * second), (vec![], Some(key(1, 2, 0))));
        assert_eq!(conns.len(), 3);
        assert_eq!(conns.exit(2).len(), 2);
        assert_eq!(conns.drain().len(), 1);
        assert!(conns.is_empty() && conns.iter().next().is_none());
    }

    #[test]
    fn idle_processes_give_way() {
        let mut conns = ConnTable::<()>::new(10);
        let _ = conns.admit(key(u32::MAX, 1, 1), true, Ns(0));
        for tgid in 0..2 * u32::try_from(limits::PROCESSES).unwrap() {
            let _ = conns.introduce(tgid, 1, Arc::default());
        }
        assert!(conns.processes.len() <= limits::PROCESSES);
        assert_eq!(conns.len(), 1);
    }
}

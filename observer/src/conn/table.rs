//! The table of connections: birth, death, and what happens when there are too many.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Track;
use crate::identity::Identity;
use crate::limits;
use crate::record::{ConnKey, Sock};
use crate::units::{Direction, Ns};

/// How exact "longest idle" is: a connection moves in the order of idleness at most this often.
const IDLE_STEP: u64 = 1_000_000_000;

/// A connection and what the pipeline keeps for it.
#[derive(Debug)]
pub struct Conn<S> {
    /// Which.
    pub key: ConnKey,
    /// Its first byte was or will be seen.
    pub born: bool,
    /// When it was first heard of.
    pub since: Ns,
    /// Bytes the application read.
    pub read: Track,
    /// Bytes the application wrote.
    pub write: Track,
    /// The later stages' state.
    pub state: S,
    idle_since: Ns,
}

impl<S> Conn<S> {
    /// The track of one direction, and the state beside it.
    pub fn track(&mut self, direction: Direction) -> (&mut Track, &mut S) {
        match direction {
            Direction::Read => (&mut self.read, &mut self.state),
            Direction::Write => (&mut self.write, &mut self.state),
        }
    }
}

/// What a record about a connection meets.
pub enum Admission<S> {
    /// It may be used. The connections that had to go for it: of a former life of the same TLS object or process, or
    /// the one idle the longest (`evicted`).
    In { gone: Vec<Conn<S>>, evicted: Option<Box<Conn<S>>> },
    /// It is older than the connection now at this address: a latecomer, to be dropped.
    Stale,
}

#[derive(Debug)]
struct Process<S> {
    start_ns: u64,
    identity: Arc<Identity>,
    /// What it says inside TLS is or was seen.
    plaintext: bool,
    /// Boxed: most processes have one, and the smallest table has room for four.
    conns: HashMap<u64, Box<Conn<S>>, RandomState>,
}

/// All connections, by process and TLS object. At most `cap`; beyond it, the one idle the longest goes.
#[derive(Debug)]
pub struct Conns<S> {
    cap: usize,
    processes: HashMap<u32, Process<S>, RandomState>,
    /// Every connection once, by how long it has been idle.
    idle: BTreeSet<(Ns, u32, u64)>,
}

impl<S: Default> Conns<S> {
    /// An empty table.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Conns { cap: cap.max(1), processes: HashMap::default(), idle: BTreeSet::new() }
    }

    /// Who a process is. Returns the connections of an earlier process of that number.
    #[must_use]
    pub fn introduce(&mut self, tgid: u32, start_ns: u64, identity: Arc<Identity>) -> Vec<Conn<S>> {
        let gone = self.drop_former(tgid, start_ns);
        self.process(tgid, start_ns).identity = identity;
        gone
    }

    /// Who a process is, as far as we were told.
    #[must_use]
    pub fn identity(&self, key: &ConnKey) -> Arc<Identity> {
        let process = self.processes.get(&key.tgid).filter(|p| p.start_ns == key.start_ns);
        process.map_or_else(|| Arc::new(unknown(key.tgid)), |p| p.identity.clone())
    }

    /// Whether plaintext of this process's TLS was ever seen.
    #[must_use]
    pub fn has_plaintext(&self, tgid: u32, start_ns: u64) -> bool {
        self.processes.get(&tgid).is_some_and(|process| process.start_ns == start_ns && process.plaintext)
    }

    /// A record about `key` came: makes the connection if it is new.
    pub fn admit(&mut self, key: ConnKey, born: bool, at: Ns) -> Admission<S> {
        if let Some(conn) = self.get_mut(&key) {
            let was = conn.idle_since;
            if at - was >= IDLE_STEP {
                conn.idle_since = at;
                self.idle.remove(&(was, key.tgid, key.handle));
                self.idle.insert((at, key.tgid, key.handle));
            }
            return Admission::In { gone: Vec::new(), evicted: None };
        }
        if self.at_address(&key).is_some_and(|conn| conn.since > at) {
            return Admission::Stale;
        }
        let mut gone = self.drop_former(key.tgid, key.start_ns);
        gone.extend(self.take(key.tgid, key.handle));
        let evicted = if self.idle.len() >= self.cap { self.evict().map(Box::new) } else { None };
        self.idle.insert((at, key.tgid, key.handle));
        let conn = Box::new(Conn {
            key,
            born,
            since: at,
            read: Track::default(),
            write: Track::default(),
            state: S::default(),
            idle_since: at,
        });
        let process = self.process(key.tgid, key.start_ns);
        process.plaintext |= Sock::of(&key).is_none();
        process.conns.insert(key.handle, conn);
        Admission::In { gone, evicted }
    }

    /// The connection, if it is known.
    pub fn get_mut(&mut self, key: &ConnKey) -> Option<&mut Conn<S>> {
        let process = self.processes.get_mut(&key.tgid).filter(|p| p.start_ns == key.start_ns)?;
        process.conns.get_mut(&key.handle).map(Box::as_mut).filter(|conn| conn.key == *key)
    }

    /// Takes a connection out.
    pub fn remove(&mut self, key: &ConnKey) -> Option<Conn<S>> {
        self.get_mut(key)?;
        self.take(key.tgid, key.handle)
    }

    /// The process is gone: takes its connections out.
    #[must_use]
    pub fn exit(&mut self, tgid: u32) -> Vec<Conn<S>> {
        let Some(process) = self.processes.remove(&tgid) else { return Vec::new() };
        for conn in process.conns.values() {
            self.idle.remove(&(conn.idle_since, tgid, conn.key.handle));
        }
        process.conns.into_values().map(|conn| *conn).collect()
    }

    /// Takes all connections out: the observer stops.
    #[must_use]
    pub fn drain(&mut self) -> Vec<Conn<S>> {
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        pids.into_iter().flat_map(|tgid| self.exit(tgid)).collect()
    }

    /// All connections.
    pub fn iter(&self) -> impl Iterator<Item = &Conn<S>> {
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

    fn at_address(&self, key: &ConnKey) -> Option<&Conn<S>> {
        self.processes.get(&key.tgid)?.conns.get(&key.handle).map(Box::as_ref)
    }

    fn take(&mut self, tgid: u32, handle: u64) -> Option<Conn<S>> {
        let conn = self.processes.get_mut(&tgid)?.conns.remove(&handle)?;
        self.idle.remove(&(conn.idle_since, tgid, handle));
        Some(*conn)
    }

    fn evict(&mut self) -> Option<Conn<S>> {
        let &(_, tgid, handle) = self.idle.first()?;
        self.take(tgid, handle)
    }

    /// A process of this number but another start is another process.
    fn drop_former(&mut self, tgid: u32, start_ns: u64) -> Vec<Conn<S>> {
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

/// A process nobody introduced.
fn unknown(tgid: u32) -> Identity {
    Identity { pid: tgid, ..Identity::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tgid: u32, handle: u64, generation: u32) -> ConnKey {
        ConnKey { handle, start_ns: u64::from(tgid) * 10, tgid, generation }
    }

    fn admit(conns: &mut Conns<u32>, key: ConnKey, at: u64) -> (Vec<ConnKey>, Option<ConnKey>) {
        match conns.admit(key, true, Ns(at)) {
            Admission::In { gone, evicted } => (gone.iter().map(|c| c.key).collect(), evicted.map(|c| c.key)),
            Admission::Stale => panic!("stale"),
        }
    }

    #[test]
    fn a_reused_address_is_another_connection_and_its_latecomers_are_dropped() {
        let mut conns = Conns::new(10);
        assert_eq!(admit(&mut conns, key(1, 7, 100), 1000), (vec![], None));
        assert_eq!(admit(&mut conns, key(1, 7, 5), 2000), (vec![key(1, 7, 100)], None));
        assert!(matches!(conns.admit(key(1, 7, 100), true, Ns(1500)), Admission::Stale));
        assert_eq!(conns.len(), 1);
        assert!(conns.remove(&key(1, 7, 100)).is_none());
        assert!(conns.remove(&key(1, 7, 5)).is_some());
        assert!(conns.is_empty());
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut conns = Conns::new(10);
        admit(&mut conns, key(1, 7, 1), 1000);
        admit(&mut conns, key(1, 8, 2), 1000);
        let identity = Arc::new(Identity { comm: "new".into(), ..Identity::default() });
        assert_eq!(conns.introduce(1, 999, identity).len(), 2);
        let new = ConnKey { start_ns: 999, ..key(1, 7, 1) };
        assert_eq!(admit(&mut conns, new, 2000), (vec![], None));
        assert_eq!(conns.identity(&new).comm, "new");
        assert_eq!(conns.identity(&key(1, 7, 1)).comm, "");
    }

    #[test]
    fn the_longest_idle_goes_first_when_full() {
        let second = IDLE_STEP;
        let mut conns = Conns::new(3);
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
        let mut conns = Conns::<()>::new(10);
        let _ = conns.admit(key(u32::MAX, 1, 1), true, Ns(0));
        for tgid in 0..2 * u32::try_from(limits::PROCESSES).unwrap() {
            let _ = conns.introduce(tgid, 1, Arc::default());
        }
        assert!(conns.processes.len() <= limits::PROCESSES);
        assert_eq!(conns.len(), 1);
    }
}

//! What is followed in user space: records of the ring to `Record`s, with all that they need to be understood.

use std::collections::{HashMap, HashSet, VecDeque};

use super::family::ProcessTree;
use super::files::{MappedFiles, TargetId};
use super::followed_sockets::FollowedSockets;
use super::pairing::{SocketEnd, SocketPairing, TlsWrite};
use super::procs::ProcessTable;
use super::ring::RingRecord;
use super::targets::CallCounts;
use capture::record::{ConnKey, Record, SocketCookie, TlsData};
use capture::units::{Direction, Ns};

/// What is followed in user space, apart from the maps so that a ring record can be borrowed while it changes.
pub(super) struct EdgeState {
    pub(super) files: MappedFiles,
    /// Calls that went up, by the file whose probes told of them: of processes that have no other TLS library.
    pub(super) calls: HashMap<TargetId, CallCounts>,
    pub(super) processes: ProcessTable,
    pub(super) family: ProcessTree,
    pub(super) pairing: SocketPairing,
    pub(super) socks: FollowedSockets,
    /// TLS sockets whose payload the kernel side need not copy any more.
    pub(super) silenced: Vec<SocketCookie>,
    /// Processes that the pipeline was told of.
    introduced: HashSet<(u32, u64)>,
    /// Live TLS objects by process, to clean up after its end, with the position up to which their writes were seen.
    pub(super) live: HashMap<u32, HashMap<ConnKey, u64>>,
    /// Records made here, to be handed over before the next of the ring.
    pub(super) made: VecDeque<Record<'static>>,
    /// Sockets whose end was reported without waiting for the TLS object's.
    end_emitted: HashSet<ConnKey>,
    pub(super) newest: Ns,
    /// The TLS object of the latest record: bursts come from one, and need not be looked up again.
    last: Option<ConnKey>,
    /// Its library, and the calls that passed there since.
    last_library: Option<TargetId>,
    passed: CallCounts,
    /// Processes whose captures cannot be right: their targets fall back.
    pub(super) suspects: Vec<u32>,
}

/// A socket that ended while its TLS object lives on is reported after this long: the application
/// may still read what it has.
const END_GRACE_NS: u64 = 1_000_000_000;

/// Connections of a process among which one is looked for by its handle. Clients have a few; of a
/// gateway with more, the old ones end by what their sockets say.
const SEARCHED: usize = 4096;

impl EdgeState {
    pub(super) fn new(files: MappedFiles) -> Self {
        Self {
            files,
            calls: HashMap::new(),
            processes: ProcessTable::default(),
            family: ProcessTree::default(),
            pairing: SocketPairing::default(),
            socks: FollowedSockets::default(),
            silenced: Vec::new(),
            introduced: HashSet::new(),
            live: HashMap::new(),
            made: VecDeque::new(),
            end_emitted: HashSet::new(),
            newest: Ns(0),
            last: None,
            last_library: None,
            passed: CallCounts::default(),
            suspects: Vec::new(),
        }
    }

    pub(super) fn replaced(&mut self, pid: u32, comm: String) {
        self.processes.replaced(pid, comm);
        self.introduced.retain(|(known, _)| *known != pid);
        self.last = None;
    }

    /// A process begins a program: those above it that the pipeline knows did something.
    pub(super) fn above(&mut self, pid: u32) -> impl Iterator<Item = u32> {
        self.family.above(pid).into_iter().filter(|tgid| self.processes.knows(*tgid))
    }

    pub(super) fn handle(&mut self, raw: RingRecord<'_>, sink: &mut dyn FnMut(&Record<'_>), ended: &mut Vec<u32>) {
        match raw {
            RingRecord::Data { data, asked, ex } => {
                self.data(data, asked, sink);
                if data.offset == 0 {
                    self.passed.count(data.direction, ex);
                }
            }
            RingRecord::Open { conn, at } => {
                self.reused(conn, at, sink);
                self.introduce(conn, at, sink);
                sink(&Record::Open { conn, at });
            }
            RingRecord::Shutdown { conn, at } => {
                // Who asks for an end of what was reset did not end it; who was told of an error still says
                // goodbye, and what came first was the peer's end.
                if !self.emit_reset(conn, at, sink) {
                    self.emit_peers_end(conn, at, sink);
                    sink(&Record::Shutdown { conn, at });
                }
            }
            RingRecord::ReadEnd { conn, at } => {
                if !self.emit_reset(conn, at, sink) {
                    sink(&Record::ReadEnd { conn, at, clean: true });
                }
            }
            RingRecord::Close { conn, at, read_pos, write_pos } => {
                if let Some(paired) = self.pairing.settle_for(&conn) {
                    sink(&Record::Paired(paired));
                }
                self.emit_end(conn, at, sink);
                self.over(&conn);
                sink(&Record::Close { conn, at, read_pos, write_pos });
            }
            RingRecord::Exit { tgid, at } => {
                let conns: Vec<ConnKey> = self.live.get(&tgid).into_iter().flat_map(HashMap::keys).copied().collect();
                for conn in conns {
                    self.emit_reset(conn, at, sink);
                }
                sink(&Record::Exit { tgid, at });
                ended.push(tgid);
            }
            RingRecord::SockOpen { open, syns } => {
                self.newest = self.newest.max(open.at);
                self.introduce_process(open.tgid, open.start_ns, sink);
                self.socks.open(&open, syns, sink);
            }
            RingRecord::Segment { segment, owner, known } => {
                self.newest = self.newest.max(segment.at);
                if self.socks.segment(&segment, known, &mut self.pairing, sink) {
                    self.processes.hello(owner.tgid);
                }
                if self.socks.silence(segment.sock) {
                    self.silenced.push(segment.sock);
                }
            }
            RingRecord::SockInfo { sock, at, known } => self.socks.info(sock, at, known, sink),
            RingRecord::SockClose { sock, at, known } => self.socks.close(sock, at, known, sink),
        }
    }

    /// Emits how the socket of a TLS object ended, if its peer ended it and no record said so yet.
    fn emit_end(&mut self, conn: ConnKey, at: Ns, sink: &mut dyn FnMut(&Record<'_>)) {
        if let Some(SocketEnd { at: end, by_peer: true, reset }) = self.pairing.end_of(&conn)
            && !self.end_emitted.remove(&conn)
        {
            sink(&Record::ReadEnd { conn, at: end.min(at), clean: !reset });
        }
    }

    /// Emits that the peer reset the socket of a TLS object, if it did by then.
    fn emit_reset(&mut self, conn: ConnKey, at: Ns, sink: &mut dyn FnMut(&Record<'_>)) -> bool {
        let end = self.pairing.end_of(&conn).filter(|end| end.by_peer && end.reset && end.at <= at);
        if let Some(end) = end
            && self.end_emitted.insert(conn)
        {
            sink(&Record::ReadEnd { conn, at: end.at, clean: false });
        }
        end.is_some()
    }

    /// Emits that the peer ended the socket of a TLS object in order, if it did by then and no record
    /// said so yet.
    fn emit_peers_end(&mut self, conn: ConnKey, at: Ns, sink: &mut dyn FnMut(&Record<'_>)) {
        let end = self.pairing.end_of(&conn).filter(|end| end.by_peer && !end.reset && end.at <= at);
        if let Some(end) = end
            && self.end_emitted.insert(conn)
        {
            sink(&Record::ReadEnd { conn, at: end.at, clean: true });
        }
    }

    /// A TLS object is where another one was, of a stack whose frees are not seen: that one is over.
    fn reused(&mut self, conn: ConnKey, at: Ns, sink: &mut dyn FnMut(&Record<'_>)) {
        let live = self.live.get(&conn.tgid).filter(|live| live.len() <= SEARCHED).into_iter().flat_map(HashMap::keys);
        let before: Vec<ConnKey> =
            live.filter(|other| other.handle == conn.handle && **other != conn).copied().collect();
        for other in before {
            if let Some(paired) = self.pairing.settle_for(&other) {
                sink(&Record::Paired(paired));
            }
            self.emit_end(other, at, sink);
            self.over(&other);
        }
    }

    fn over(&mut self, conn: &ConnKey) {
        self.pairing.closed(conn);
        if let Some(live) = self.live.get_mut(&conn.tgid) {
            live.remove(conn);
        }
        self.last = None;
    }

    fn data(&mut self, data: TlsData<'_>, asked: u64, sink: &mut dyn FnMut(&Record<'_>)) {
        self.introduce(data.conn, data.at, sink);
        if u64::from(data.call_len) > asked {
            // A call cannot move more than it was asked to: the probe reads its arguments at the wrong place.
            self.suspects.push(data.conn.tgid);
            return;
        }
        self.processes.spoke(data.conn.tgid);
        if data.direction == Direction::Read
            && !self.pairing.is_paired(&data.conn)
            && let Some(paired) = self.pairing.settle_for(&data.conn)
        {
            // An answer: what it answers has left. Its own arrival is to be known, so the pairing does not wait.
            sink(&Record::Paired(paired));
        }
        sink(&Record::Data(data));
        if data.direction == Direction::Write && data.offset == 0 {
            if let Some(written) = self.live.get_mut(&data.conn.tgid).and_then(|live| live.get_mut(&data.conn)) {
                *written = (*written).max(data.pos + u64::from(data.call_len));
            }
            let write = TlsWrite { entered: data.entered, at: data.at, len: data.call_len };
            if let Some(paired) = self.pairing.wrote(data.conn, write) {
                sink(&Record::Paired(paired));
            }
        }
    }

    /// Tells the pipeline who a process is, before its first record.
    fn introduce(&mut self, conn: ConnKey, at: Ns, sink: &mut dyn FnMut(&Record<'_>)) {
        self.newest = self.newest.max(at);
        if self.last == Some(conn) {
            return;
        }
        self.flush_passed();
        self.last = Some(conn);
        self.live.entry(conn.tgid).or_default().entry(conn).or_insert(0);
        self.introduce_process(conn.tgid, conn.start_ns, sink);
        self.last_library = self.files.only(conn.tgid);
    }

    fn introduce_process(&mut self, tgid: u32, start_ns: u64, sink: &mut dyn FnMut(&Record<'_>)) {
        if self.introduced.insert((tgid, start_ns)) {
            let identity = self.processes.identify(tgid);
            sink(&Record::Process { tgid, start_ns, identity });
        }
    }

    /// Tells the pipeline of processes that are known better by now.
    pub(super) fn settle(&mut self) {
        for (tgid, start_ns, identity) in self.processes.settle() {
            if self.introduced.contains(&(tgid, start_ns)) {
                self.made.push_back(Record::Process { tgid, start_ns, identity });
            }
        }
    }

    /// The process is gone: what is kept of it goes. Returns the TLS objects that it left.
    pub(super) fn forget(&mut self, tgid: u32) -> impl Iterator<Item = ConnKey> {
        self.pairing.exited(tgid);
        self.socks.exited(tgid);
        self.last = None;
        self.introduced.retain(|(known, _)| *known != tgid);
        self.end_emitted.retain(|conn| conn.tgid != tgid);
        self.live.remove(&tgid).unwrap_or_default().into_keys()
    }

    /// Whether what an audit found is news: what has ended by its own word meanwhile is not told of twice.
    pub(super) fn audited(&mut self, record: &Record<'_>) -> bool {
        match record {
            Record::Audited { conn, moved, .. } => {
                let Some(live) = self.live.get_mut(&conn.tgid) else { return false };
                if moved.is_none() { live.remove(conn).is_some() } else { live.contains_key(conn) }
            }
            Record::SockClose { sock, .. } => self.socks.forget(*sock),
            _ => true,
        }
    }

    /// Sockets that turned out to fit no write, or one after all.
    pub(super) fn judge_sockets(&mut self, now: Ns) {
        for change in self.pairing.judge(now) {
            self.processes.changed(change);
        }
    }

    pub(super) fn flush_passed(&mut self) {
        let passed = std::mem::take(&mut self.passed);
        if let Some(library) = self.last_library {
            self.calls.entry(library).or_default().add(passed);
        }
    }

    /// Emits ends of sockets whose TLS object lives on, once the application had its time to read.
    pub(super) fn emit_ends(&mut self, now: Ns) {
        for (conn, end) in self.pairing.ended_before(Ns(now.0.saturating_sub(END_GRACE_NS))) {
            if !self.end_emitted.insert(conn) {
                continue;
            }
            let record = if end.by_peer {
                Record::ReadEnd { conn, at: end.at, clean: !end.reset }
            } else {
                Record::Shutdown { conn, at: end.at }
            };
            self.made.push_back(record);
        }
    }
}

//! The running kernel side: one value owns every program, link and map, so that dropping it (or dying) detaches all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsRawFd, RawFd};

use aya::Ebpf;
use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData, RingBuf};
use observer_common::programs as names;
use observer_common::record::{ConnId, ConnState, Verdict, counter, verdict_slot, verdict_word};

use super::join::{Join, SocketEnd, Write};
use super::load::{self, Error};
use super::placement::Strategy;
use super::procs::Processes;
use super::ring::{self, Raw};
use super::targets::{Calls, FileId, Found, Targets};
use super::watch::{Mapping, Seen, Watch};
use super::{procmaps, sweep};
use crate::coverage::{Edge, KernelCounters, ProbeRow, ProbeState, ProcessRow};
use crate::record::{ConnKey, Data, Record};
use crate::units::{Direction, LossCause, Ns};

/// What the kernel side can be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Size of the ring, bytes; a power of two.
    pub ring_bytes: u32,
    /// Where to put probes.
    pub strategy: Strategy,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ring_bytes: observer_common::limits::DEFAULT_RING_BYTES, strategy: Strategy::from_env() }
    }
}

/// The running kernel side.
#[expect(missing_debug_implementations, reason = "aya's types have none")]
pub struct Session {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    verdicts: Array<MapData, u64>,
    conns: BpfHashMap<MapData, WireConnId, WireConnState>,
    counters: Array<MapData, u64>,
    watch: Watch,
    seen: Vec<Seen>,
    follow: Follow,
    host_probes: Vec<ProbeRow>,
    discovery_lost: u64,
    sweeper: sweep::Sweeper,
}

/// What is followed in user space, apart from the maps so that a ring record can be borrowed while it changes.
struct Follow {
    targets: Targets,
    processes: Processes,
    join: Join,
    /// Processes that the pipeline was told of.
    introduced: HashSet<(u32, u64)>,
    /// Live TLS objects by process, to clean up after its end, with the position up to which their writes were seen.
    live: HashMap<u32, HashMap<ConnKey, u64>>,
    /// Records made here, to be handed over before the next of the ring.
    made: VecDeque<Record<'static>>,
    /// Sockets whose end was reported without waiting for the TLS object's.
    end_told: HashSet<ConnKey>,
    newest: Ns,
    /// The TLS object of the latest record: bursts come from one, and need not be looked up again.
    last: Option<ConnKey>,
    /// Its library, and the calls that passed there since.
    last_library: Option<FileId>,
    passed: Calls,
    /// Processes whose captures cannot be right: their targets fall back.
    suspects: Vec<u32>,
}

/// `ConnId` and `ConnState` as map key and value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct WireConnId(ConnId);
// SAFETY: repr(C) without padding, every bit pattern valid.
unsafe impl aya::Pod for WireConnId {}
#[repr(transparent)]
#[derive(Clone, Copy)]
struct WireConnState(ConnState);
// SAFETY: as above.
unsafe impl aya::Pod for WireConnState {}

/// Records handed over in one drain, so that new libraries, requests and ticks get their turn.
const BATCH: usize = 512;

/// The observer's priority: a few milliseconds of work each second that must not wait behind a busy host's own, or libraries
/// are probed after their first call and the ring overflows.
const NICE: i32 = -10;

/// A socket that ended while its TLS object lives on is reported after this long: the application may still read what it has.
const END_GRACE_NS: u64 = 1_000_000_000;

impl Session {
    /// Loads, attaches and takes stock of the processes that run already.
    ///
    /// # Errors
    /// What is missing, in one sentence; nothing stays attached.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let mut ebpf = load::load(settings.ring_bytes)?;
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "the priority stays as it is");
        }
        let watch = Watch::open().map_err(Error::Watch)?;
        let host_probes = load::attach_host(&mut ebpf);
        let mut session = Self {
            ring: take(&mut ebpf, names::MAP_RING)?,
            verdicts: take(&mut ebpf, names::MAP_VERDICTS)?,
            conns: take(&mut ebpf, names::MAP_CONNS)?,
            counters: take(&mut ebpf, names::MAP_COUNTERS)?,
            sweeper: sweep::Sweeper::new(take(&mut ebpf, names::MAP_CALLS)?),
            watch,
            seen: Vec::new(),
            follow: Follow::new(settings.strategy),
            host_probes,
            discovery_lost: 0,
            ebpf,
        };
        for mapping in procmaps::likely() {
            session.follow.targets.look(&mapping, &mut session.ebpf);
        }
        session.scan();
        Ok(session)
    }

    /// Every process of the host, from /proc. What is called after TLS comes first: the rest takes longer to look at.
    fn scan(&mut self) {
        let all: Vec<Mapping> = procmaps::pids().into_iter().flat_map(procmaps::executable).collect();
        let (likely, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|mapping| mapping.path.contains("ssl"));
        for mapping in likely.iter().chain(&others) {
            self.follow.mapped(mapping, &mut self.ebpf);
        }
    }

    fn discover(&mut self) {
        self.watch.drain(&mut self.seen);
        let mut rescan = false;
        for seen in std::mem::take(&mut self.seen) {
            match seen {
                Seen::Mapped(mapping) => self.follow.mapped(&mapping, &mut self.ebpf),
                Seen::Exec { pid, comm } => self.follow.replaced(pid, comm),
                Seen::Ended { pid } => self.follow.processes.ended(pid, self.follow.newest),
                Seen::Lost(count) => {
                    self.discovery_lost += count;
                    rescan = true;
                }
            }
        }
        if rescan {
            self.scan();
        }
    }

    fn fall_back(&mut self) {
        for pid in std::mem::take(&mut self.follow.suspects) {
            for mapping in procmaps::executable(pid) {
                let Some(file) = self.follow.targets.look(&mapping, &mut self.ebpf) else { continue };
                if matches!(self.follow.targets.get(file), Some(Found::Target(t)) if t.can_fall_back()) {
                    tracing::warn!(
                        library = mapping.path,
                        "captured lengths cannot be right; falling back to the public symbols"
                    );
                    self.follow.targets.fall_back(file, &mapping, &mut self.ebpf);
                }
            }
        }
    }

    fn forget_process(&mut self, tgid: u32) {
        self.follow.join.exited(tgid);
        self.follow.last = None;
        self.follow.introduced.retain(|(known, _)| *known != tgid);
        for conn in self.follow.live.remove(&tgid).unwrap_or_default().into_keys() {
            let id = WireConnId(ConnId { handle: conn.handle, tgid, reserved: 0 });
            // A state of a later process with this pid stays.
            if self.conns.get(&id, 0).is_ok_and(|state| state.0.start_ns == conn.start_ns) {
                let _ = self.conns.remove(&id);
            }
        }
    }

    fn wire_works(&self) -> bool {
        self.host_probes.iter().filter(|row| row.probe.starts_with("cgroup")).all(|row| row.state == ProbeState::Ok)
    }

    fn count(&self, index: u32) -> u64 {
        self.counters.get(&index, 0).unwrap_or(0)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.follow.targets.detach_all(&mut self.ebpf);
    }
}

impl Edge for Session {
    fn fds(&self) -> Vec<RawFd> {
        std::iter::once(self.ring.as_raw_fd()).chain(self.watch.fds()).collect()
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&Record<'_>)) -> bool {
        self.discover();
        let mut ended = Vec::new();
        let mut more = true;
        for _ in 0..BATCH {
            while let Some(record) = self.follow.made.pop_front() {
                sink(&record);
            }
            let Some(item) = self.ring.next() else {
                more = false;
                break;
            };
            match ring::decode(&item) {
                Some(raw) => self.follow.handle(raw, sink, &mut ended),
                None => tracing::debug!("a ring record of unknown kind"),
            }
        }
        for joined in self.follow.join.settle(self.follow.newest) {
            sink(&Record::Joined(joined));
        }
        self.follow.flush_passed();
        for tgid in ended {
            self.forget_process(tgid);
        }
        self.fall_back();
        more
    }

    fn decide(&mut self, conn: ConnKey, verdict: Verdict) {
        let live = self.follow.live.get(&conn.tgid);
        let written = live.and_then(|live| live.get(&conn)).copied().unwrap_or(0);
        let _ = self.verdicts.set(verdict_slot(conn.generation), verdict_word(conn.generation, verdict, written), 0);
    }

    fn tick(&mut self, now: Ns) {
        self.follow.newest = self.follow.newest.max(now);
        self.follow.tell_ends(now);
        self.follow.processes.purge(now);
        self.sweeper.sweep(now);
    }

    fn processes(&self) -> Vec<ProcessRow> {
        self.follow.processes.rows(&self.follow.targets, self.wire_works())
    }

    fn probes(&self) -> Vec<ProbeRow> {
        let mut rows = self.follow.targets.rows();
        rows.extend(self.host_probes.iter().cloned());
        rows
    }

    fn counters(&self) -> KernelCounters {
        let lost = |base: u32| -> Vec<(LossCause, u64)> {
            let causes = [LossCause::RingFull, LossCause::Truncated, LossCause::Fault, LossCause::TableFull];
            causes.into_iter().zip(base..).map(|(cause, index)| (cause, self.count(index))).collect()
        };
        let mut lost_calls = lost(counter::LOST_CALLS);
        // A birth or an end that found no room is a lost event like any other: it must not look like health.
        for (_, calls) in lost_calls.iter_mut().filter(|(cause, _)| *cause == LossCause::RingFull) {
            *calls += self.count(counter::LOST_EVENTS);
        }
        KernelCounters {
            captured: [self.count(counter::CAPTURED_READ), self.count(counter::CAPTURED_WRITE)],
            ignored_calls: self.count(counter::IGNORED),
            lost_calls,
            lost_bytes: lost(counter::LOST_BYTES),
            seconds: sweep::program_seconds(&self.ebpf),
            discovery_lost: self.discovery_lost,
        }
    }
}

impl Follow {
    fn new(strategy: Strategy) -> Self {
        Self {
            targets: Targets::new(strategy),
            processes: Processes::default(),
            join: Join::default(),
            introduced: HashSet::new(),
            live: HashMap::new(),
            made: VecDeque::new(),
            end_told: HashSet::new(),
            newest: Ns(0),
            last: None,
            last_library: None,
            passed: Calls::default(),
            suspects: Vec::new(),
        }
    }

    fn mapped(&mut self, mapping: &Mapping, ebpf: &mut Ebpf) {
        let Some(file) = self.targets.look(mapping, ebpf) else { return };
        if matches!(self.targets.get(file), Some(Found::Target(_))) {
            self.processes.mapped(mapping, file);
        }
    }

    fn replaced(&mut self, pid: u32, comm: String) {
        self.processes.replaced(pid, comm);
        self.introduced.retain(|(known, _)| *known != pid);
        self.last = None;
    }

    fn handle(&mut self, raw: Raw<'_>, sink: &mut dyn FnMut(&Record<'_>), ended: &mut Vec<u32>) {
        match raw {
            Raw::Data { data, asked, ex } => {
                self.data(data, asked, sink);
                if data.offset == 0 {
                    self.passed.count(data.direction, ex);
                }
            }
            Raw::Open { conn, at } => {
                self.introduce(conn, at, sink);
                sink(&Record::Open { conn, at });
            }
            Raw::Shutdown { conn, at } => sink(&Record::Shutdown { conn, at }),
            Raw::ReadEnd { conn, at } => sink(&Record::ReadEnd { conn, at, clean: true }),
            Raw::Close { conn, at, read_pos, write_pos } => {
                if let Some(joined) = self.join.settle_for(&conn) {
                    sink(&Record::Joined(joined));
                }
                if let Some(SocketEnd { at: end, by_peer: true, reset }) = self.join.end_of(&conn)
                    && !self.end_told.remove(&conn)
                {
                    sink(&Record::ReadEnd { conn, at: end.min(at), clean: !reset });
                }
                self.join.closed(&conn);
                if let Some(live) = self.live.get_mut(&conn.tgid) {
                    live.remove(&conn);
                }
                self.last = None;
                sink(&Record::Close { conn, at, read_pos, write_pos });
            }
            Raw::Exit { tgid, at } => {
                sink(&Record::Exit { tgid, at });
                ended.push(tgid);
            }
            Raw::Wire { cookie, at, peer, what } => {
                self.newest = self.newest.max(at);
                if what == ring::Wire::Hello {
                    self.processes.hello(peer.tgid);
                }
                self.join.wire(cookie, at, peer, what);
            }
        }
    }

    fn data(&mut self, data: Data<'_>, asked: u64, sink: &mut dyn FnMut(&Record<'_>)) {
        self.introduce(data.conn, data.at, sink);
        if u64::from(data.call_len) > asked {
            // A call cannot move more than it was asked to: the probe reads its arguments at the wrong place.
            self.suspects.push(data.conn.tgid);
            return;
        }
        sink(&Record::Data(data));
        if data.direction == Direction::Write && data.offset == 0 {
            if let Some(written) = self.live.get_mut(&data.conn.tgid).and_then(|live| live.get_mut(&data.conn)) {
                *written = (*written).max(data.pos + u64::from(data.call_len));
            }
            let write = Write { entered: data.entered, at: data.at, len: data.call_len };
            if let Some(joined) = self.join.wrote(data.conn, write) {
                sink(&Record::Joined(joined));
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
        if self.introduced.insert((conn.tgid, conn.start_ns)) {
            let identity = self.processes.identify(conn.tgid);
            sink(&Record::Process { tgid: conn.tgid, start_ns: conn.start_ns, identity });
        }
        self.last_library = self.processes.library(conn.tgid);
    }

    fn flush_passed(&mut self) {
        let passed = std::mem::take(&mut self.passed);
        if let Some(library) = self.last_library {
            self.targets.passed(library, passed);
        }
    }

    /// Ends of sockets whose TLS object lives on, once the application had its time to read.
    fn tell_ends(&mut self, now: Ns) {
        for (conn, end) in self.join.ended_before(Ns(now.0.saturating_sub(END_GRACE_NS))) {
            if !self.end_told.insert(conn) {
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

fn take<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &str) -> Result<T, Error> {
    let map = ebpf.take_map(name).ok_or_else(|| Error::Object(format!("it has no map {name}")))?;
    T::try_from(map).map_err(|_| Error::Object(format!("its map {name} is of another kind")))
}

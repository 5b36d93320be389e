//! The running kernel side: one value owns every program, link and map, so that dropping it (or dying) detaches all.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData, MapError, RingBuf};
use observer_common::record::{ConnId, ConnState, Verdict, counter, verdict_of, verdict_slot, verdict_word};
use observer_common::{limits, programs as names};

use super::audit::MappingAudit;
use super::crowd::{SharedTable, TableGuard};
use super::discovery::ProcessDiscovery;
use super::files::{self, MappedFiles};
use super::follow::EdgeState;
use super::load::{self, LoadError};
use super::preexisting::PreexistingSockets;
use super::watch::MappingWatch;
use super::{preflight, probes, ring, sweep};
use crate::coverage::{CaptureEdge, HealthCheck, KernelCounters, ProbeRow, ProbeState, ProcessRow};
use capture::record::{ConnKey, Record, SocketCookie};
use capture::stacks::PlacementStrategy;
use capture::units::{LossCause, Ns};

/// What the kernel side can be told.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// Size of the ring, bytes; a power of two.
    pub ring_bytes: u32,
    /// Where to put probes.
    pub strategy: PlacementStrategy,
    /// What `CaptureEdge::found_layouts` told an earlier process.
    pub layouts: Option<Vec<u8>>,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            ring_bytes: observer_common::limits::DEFAULT_RING_BYTES,
            strategy: PlacementStrategy::from_env(),
            layouts: None,
        }
    }
}

/// The running kernel side.
#[expect(missing_debug_implementations, reason = "aya's types have none")]
pub struct EdgeSession {
    ring: RingBuf<MapData>,
    verdicts: Array<MapData, u64>,
    sock_verdicts: Array<MapData, u64>,
    preexisting: PreexistingSockets,
    conns: BpfHashMap<MapData, WireConnId, WireConnState>,
    counters: Array<MapData, u64>,
    discovery: ProcessDiscovery,
    follow: EdgeState,
    host_probes: Vec<ProbeRow>,
    sweeper: sweep::StaleCallSweeper,
    audit: MappingAudit,
    guard: TableGuard,
    /// Which build this is.
    program: String,
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

/// The observer's priority: a few milliseconds of work each second that must not wait behind a busy
/// host's own, or libraries are probed after their first call and the ring overflows.
const NICE: i32 = -10;

impl EdgeSession {
    /// Loads, attaches and takes stock of the processes that run already.
    ///
    /// # Errors
    /// What is missing, in one sentence; nothing stays attached.
    pub fn start(settings: &EdgeSettings) -> Result<Self, LoadError> {
        files::raise_descriptors();
        let uprobes = load::load(load::MapSize::Full(settings.ring_bytes))?;
        let mut loaded = uprobes.ebpf();
        let ebpf = &mut *loaded;
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "the priority stays as it is");
        }
        let watch = MappingWatch::open().map_err(LoadError::Watch)?;
        let host_probes = load::attach_host(ebpf);
        let ring = take(ebpf, names::MAP_RING)?;
        let verdicts = take(ebpf, names::MAP_VERDICTS)?;
        let sock_verdicts = take(ebpf, names::MAP_SOCK_VERDICTS)?;
        let preexisting = PreexistingSockets::new(take(ebpf, names::MAP_SOCKS)?, take(ebpf, names::MAP_MID_MARKS)?);
        let conns = take(ebpf, names::MAP_CONNS)?;
        let counters = take(ebpf, names::MAP_COUNTERS)?;
        let crowded = take(ebpf, names::MAP_CROWDED)?;
        let sweeper = sweep::StaleCallSweeper::new(take(ebpf, names::MAP_CALLS)?, take(ebpf, names::MAP_GO_CALLS)?);
        drop(loaded);
        let program = program();
        let found = (settings.layouts.as_deref(), program.as_str());
        let files = MappedFiles::start(watch, uprobes, settings.strategy, found).map_err(LoadError::Watch)?;
        let mut session = Self {
            ring,
            verdicts,
            sock_verdicts,
            preexisting,
            conns,
            counters,
            sweeper,
            audit: MappingAudit::default(),
            guard: TableGuard::new(crowded),
            program,
            discovery: ProcessDiscovery::default(),
            follow: EdgeState::new(files),
            host_probes,
        };
        session.follow.files.take_stock();
        if session.wire_works() {
            let row = session.preexisting.pick_up();
            session.host_probes.push(row);
        }
        Ok(session)
    }

    /// What the files' threads are to find out.
    fn ask(&mut self) {
        std::mem::take(&mut self.follow.suspects).into_iter().for_each(|pid| self.follow.files.fall_back(pid));
        for pid in self.follow.processes.take_unexplained() {
            if self.follow.files.of(pid).is_empty() {
                self.follow.files.explain(pid);
            }
        }
    }

    fn forget_process(&mut self, tgid: u32) {
        for conn in self.follow.forget(tgid) {
            let id = WireConnId(ConnId { handle: conn.handle, tgid, reserved: 0 });
            // A state of a later process with this pid stays.
            if self.conns.get(&id, 0).is_ok_and(|state| state.0.start_ns == conn.start_ns) {
                let _ = self.conns.remove(&id);
            }
        }
    }

    fn decide_sock(&mut self, sock: SocketCookie, verdict: Verdict) {
        let word = self.follow.socks.decide(sock, verdict);
        let _ = self.sock_verdicts.set(observer_common::sock::verdict_slot(sock.0), word, 0);
    }

    /// What the kernel's tables say of all live connections.
    fn look_up(&self, at: Ns) -> Vec<Record<'static>> {
        let objects = self.follow.live.values().flat_map(|live| live.keys()).filter_map(|conn| {
            let id = WireConnId(ConnId { handle: conn.handle, tgid: conn.tgid, reserved: 0 });
            let state =
                self.conns.get(&id, 0).ok().map(|state| state.0).filter(|state| state.generation == conn.generation);
            let Some(state) = state else { return Some(Record::Audited { conn: *conn, at, moved: None }) };
            let [read, written] = state.ways.map(|way| way.pos);
            let word = self.verdicts.get(&verdict_slot(conn.generation), 0).unwrap_or(0);
            // Under the other verdicts bytes are left out on purpose.
            let verdict = verdict_of(word, conn.generation, written);
            let whole = verdict == Verdict::Track as u32 || verdict == Verdict::Unknown as u32;
            whole.then_some(Record::Audited { conn: *conn, at, moved: Some([read, written]) })
        });
        let sockets = self.follow.socks.followed().flat_map(|sock| self.preexisting.look_up(sock, at));
        objects.chain(sockets).collect()
    }

    /// Sees to it that nobody has the tables for himself.
    fn keep_room(&mut self, now: Ns) {
        self.guard.tick(now);
        if !self.guard.due(self.count(counter::LOST_CALLS + counter::TABLE_FULL), now) {
            return;
        }
        let conns = &mut SharedTable {
            name: "connections",
            map: &mut self.conns,
            capacity: limits::MAX_CONNS as usize,
            tgid: |id: &WireConnId| id.0.tgid,
        };
        let taken = self.guard.look(conns, now);
        let calls = &mut SharedTable {
            name: "calls in progress",
            map: self.sweeper.of_goroutines(),
            capacity: limits::MAX_GO_CALLS as usize,
            tgid: |call: &sweep::WireGoroutineCall| call.0.tgid,
        };
        self.guard.look(calls, now);
        if taken {
            // The pipeline learns which connections are followed no more.
            let found = self.look_up(now);
            self.audit.found(found);
        }
    }

    fn wire_works(&self) -> bool {
        self.host_probes.iter().filter(|row| probes::is_of_sockets(row.probe)).all(|row| row.state == ProbeState::Ok)
    }

    fn count(&self, index: u32) -> u64 {
        self.counters.get(&index, 0).unwrap_or(0)
    }
}

impl Drop for EdgeSession {
    fn drop(&mut self) {
        self.follow.files.stop();
    }
}

impl CaptureEdge for EdgeSession {
    fn fds(&self) -> Vec<RawFd> {
        vec![self.ring.as_raw_fd(), self.follow.files.fd()]
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&Record<'_>)) -> bool {
        let Self { discovery, follow, ring: records, .. } = self;
        let files = follow.files.clone();
        discovery.look(&files, follow);
        let mut ended = Vec::new();
        let mut more = true;
        for _ in 0..BATCH {
            while let Some(record) = follow.made.pop_front() {
                sink(&record);
            }
            let Some(item) = records.next() else {
                more = false;
                break;
            };
            let Some(raw) = ring::decode(&item) else {
                tracing::debug!("a ring record of unknown kind");
                continue;
            };
            discovery.look_until(raw.at(), &files, follow);
            discovery.emit(raw.at(), sink);
            follow.handle(raw, sink, &mut ended);
        }
        if !more {
            discovery.emit(Ns(u64::MAX), sink);
        }
        for paired in self.follow.pairing.settle(self.follow.newest) {
            sink(&Record::Paired(paired));
        }
        self.follow.flush_passed();
        for sock in std::mem::take(&mut self.follow.silenced) {
            self.decide_sock(sock, Verdict::Ends);
        }
        for tgid in ended {
            self.forget_process(tgid);
        }
        self.ask();
        if !more {
            let found = self.audit.emit().into_iter().filter(|record| self.follow.audited(record));
            let news: Vec<_> = found.collect();
            self.follow.made.extend(news);
        }
        more
    }

    fn decide(&mut self, conn: ConnKey, verdict: Verdict) {
        if let Some(sock) = SocketCookie::of(&conn) {
            return self.decide_sock(sock, verdict);
        }
        let live = self.follow.live.get(&conn.tgid);
        let written = live.and_then(|live| live.get(&conn)).copied().unwrap_or(0);
        let _ = self.verdicts.set(verdict_slot(conn.generation), verdict_word(conn.generation, verdict, written), 0);
    }

    fn tick(&mut self, now: Ns) {
        self.follow.newest = self.follow.newest.max(now);
        self.follow.emit_ends(now);
        self.follow.judge_sockets(now);
        self.follow.processes.purge(now);
        self.follow.calls.retain(|file, _| self.follow.files.has(*file));
        self.follow.settle();
        self.sweeper.sweep(now);
        self.keep_room(now);
        self.preexisting.sweep(now);
        if self.audit.due(self.count(counter::LOST_CALLS + counter::RING_FULL) + self.count(counter::LOST_EVENTS), now)
        {
            let found = self.look_up(now);
            self.audit.found(found);
        }
    }

    fn found_layouts(&mut self) -> Option<String> {
        self.follow.files.found_layouts(&self.program)
    }

    fn processes(&self) -> Vec<ProcessRow> {
        self.follow.processes.rows(&self.follow.files, self.wire_works())
    }

    fn probes(&self) -> Vec<ProbeRow> {
        let mut rows = self.follow.files.rows(&self.follow.calls);
        rows.extend(self.host_probes.iter().cloned());
        rows.push(guard(self.count(counter::DOUBLED)));
        rows
    }

    fn counters(&self) -> KernelCounters {
        let lost = |base: u32| -> Vec<(LossCause, u64)> {
            let causes = [
                LossCause::RingFull,
                LossCause::Truncated,
                LossCause::Fault,
                LossCause::TableFull,
                LossCause::Unpaired,
                LossCause::OverShare,
            ];
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
            seconds: sweep::program_seconds(self.follow.files.uprobes()),
            doubled_calls: self.count(counter::DOUBLED),
            discovery: self.follow.files.counters(),
        }
    }

    fn sights(&self) -> Vec<HealthCheck> {
        let mut sights = vec![self.follow.files.uprobes().check()];
        sights.extend(self.follow.files.checks());
        sights.push(self.guard.check(self.follow.newest));
        sights.push(preflight::sockets(&self.host_probes));
        sights.extend(preflight::open_connections(&self.host_probes));
        sights
    }
}

/// Which build this is: another one may find more in a file. By its own file, since not every build has a version of
/// its own.
fn program() -> String {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::metadata("/proc/self/exe");
    let of = |own: std::fs::Metadata| format!("{}.{}.{}", own.size(), own.mtime(), own.mtime_nsec());
    format!("{} {}", env!("CARGO_PKG_VERSION"), own.map(of).unwrap_or_default())
}

/// The second wall against one inode being probed twice, as `inspect probes` shows it.
fn guard(doubled: u64) -> ProbeRow {
    let reason = if doubled == 0 {
        "no call came up through two sets of probes".to_owned()
    } else {
        format!(
            "{doubled} calls came up a second time through another set of probes on the same file: each was let pass once"
        )
    };
    ProbeRow {
        probe: "call_guard",
        target: "every probed file".into(),
        placement: "in the kernel".into(),
        reason,
        hits: Some(doubled),
        ..ProbeRow::default()
    }
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut aya::Ebpf, name: &str) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or_else(|| LoadError::Object(format!("it has no map {name}")))?;
    // The ring alone is mapped here, which takes address space.
    let ring = if let Map::RingBuf(data) = &map { data.info().map_or(0, |info| info.max_entries()) } else { 0 };
    T::try_from(map).map_err(|error| load::object_error(&error, ring))
}

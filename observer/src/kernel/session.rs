//! The running kernel side: one value owns every program, link and map, so that dropping it (or dying) detaches all.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData, RingBuf};
use observer_common::programs as names;
use observer_common::record::{ConnId, ConnState, Verdict, counter, verdict_of, verdict_slot, verdict_word};

use super::audit::Audit;
use super::discovery::{self, Discovery};
use super::follow::Follow;
use super::load::{self, Error};
use super::mids::Mids;
use super::placement::Strategy;
use super::targets::Found;
use super::uprobes::Uprobes;
use super::watch::Watch;
use super::{procmaps, ring, sweep};
use crate::coverage::{Edge, KernelCounters, ProbeRow, ProbeState, ProcessRow};
use crate::record::{ConnKey, Record, Sock};
use crate::units::{LossCause, Ns};

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
    uprobes: Uprobes,
    ring: RingBuf<MapData>,
    verdicts: Array<MapData, u64>,
    sock_verdicts: Array<MapData, u64>,
    mids: Mids,
    conns: BpfHashMap<MapData, WireConnId, WireConnState>,
    counters: Array<MapData, u64>,
    discovery: Discovery,
    follow: Follow,
    host_probes: Vec<ProbeRow>,
    sweeper: sweep::Sweeper,
    audit: Audit,
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

impl Session {
    /// Loads, attaches and takes stock of the processes that run already.
    ///
    /// # Errors
    /// What is missing, in one sentence; nothing stays attached.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let mut uprobes = load::load(settings.ring_bytes)?;
        let ebpf = &mut uprobes.ebpf;
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "the priority stays as it is");
        }
        let watch = Watch::open().map_err(Error::Watch)?;
        let host_probes = load::attach_host(ebpf);
        let mut session = Self {
            ring: take(ebpf, names::MAP_RING)?,
            verdicts: take(ebpf, names::MAP_VERDICTS)?,
            sock_verdicts: take(ebpf, names::MAP_SOCK_VERDICTS)?,
            mids: Mids::new(take(ebpf, names::MAP_SOCKS)?, take(ebpf, names::MAP_MID_MARKS)?),
            conns: take(ebpf, names::MAP_CONNS)?,
            counters: take(ebpf, names::MAP_COUNTERS)?,
            sweeper: sweep::Sweeper::new(take(ebpf, names::MAP_CALLS)?),
            audit: Audit::default(),
            discovery: Discovery::new(watch),
            follow: Follow::new(settings.strategy),
            host_probes,
            uprobes,
        };
        for mapping in procmaps::likely() {
            session.follow.targets.look(&mapping, &mut session.uprobes);
        }
        discovery::scan(&mut session.follow, &mut session.uprobes);
        if session.wire_works() {
            let row = session.mids.pick_up();
            session.host_probes.push(row);
        }
        Ok(session)
    }

    fn fall_back(&mut self) {
        for pid in std::mem::take(&mut self.follow.suspects) {
            for mapping in procmaps::executable(pid) {
                let Some(file) = self.follow.targets.look(&mapping, &mut self.uprobes) else { continue };
                if matches!(self.follow.targets.get(file), Some(Found::Target(t)) if t.can_fall_back()) {
                    tracing::warn!(
                        library = mapping.path,
                        "captured lengths cannot be right; falling back to the public symbols"
                    );
                    self.follow.targets.fall_back(file, &mapping, &mut self.uprobes);
                }
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

    fn decide_sock(&mut self, sock: Sock, verdict: Verdict) {
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
        let sockets = self.follow.socks.followed().flat_map(|sock| self.mids.look_up(sock, at));
        objects.chain(sockets).collect()
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
        self.follow.targets.detach_all();
    }
}

impl Edge for Session {
    fn fds(&self) -> Vec<RawFd> {
        std::iter::once(self.ring.as_raw_fd()).chain(self.discovery.fds()).collect()
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&Record<'_>)) -> bool {
        let Self { discovery, follow, uprobes, ring: records, .. } = self;
        discovery.look(follow, uprobes);
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
            discovery.look_until(raw.at(), follow, uprobes);
            discovery.tell(raw.at(), sink);
            follow.handle(raw, sink, &mut ended);
        }
        if !more {
            discovery.tell(Ns(u64::MAX), sink);
        }
        for joined in self.follow.join.settle(self.follow.newest) {
            sink(&Record::Joined(joined));
        }
        self.follow.flush_passed();
        for sock in std::mem::take(&mut self.follow.silenced) {
            self.decide_sock(sock, Verdict::Ends);
        }
        for tgid in ended {
            self.forget_process(tgid);
        }
        self.fall_back();
        if !more {
            let found = self.audit.tell().into_iter().filter(|record| self.follow.audited(record));
            let news: Vec<_> = found.collect();
            self.follow.made.extend(news);
        }
        more
    }

    fn decide(&mut self, conn: ConnKey, verdict: Verdict) {
        if let Some(sock) = Sock::of(&conn) {
            return self.decide_sock(sock, verdict);
        }
        let live = self.follow.live.get(&conn.tgid);
        let written = live.and_then(|live| live.get(&conn)).copied().unwrap_or(0);
        let _ = self.verdicts.set(verdict_slot(conn.generation), verdict_word(conn.generation, verdict, written), 0);
    }

    fn tick(&mut self, now: Ns) {
        self.follow.newest = self.follow.newest.max(now);
        self.follow.tell_ends(now);
        self.follow.processes.purge(now);
        self.sweeper.sweep(now);
        self.mids.sweep(now);
        if self.audit.due(self.count(counter::LOST_CALLS + counter::RING_FULL) + self.count(counter::LOST_EVENTS), now)
        {
            let found = self.look_up(now);
            self.audit.found(found);
        }
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
            seconds: sweep::program_seconds(&self.uprobes),
            discovery_lost: self.discovery.lost,
        }
    }
}

fn take<T: TryFrom<Map>>(ebpf: &mut aya::Ebpf, name: &str) -> Result<T, Error> {
    let map = ebpf.take_map(name).ok_or_else(|| Error::Object(format!("it has no map {name}")))?;
    T::try_from(map).map_err(|_| Error::Object(format!("its map {name} is of another kind")))
}

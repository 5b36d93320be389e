//! Housekeeping of the kernel's tables, and what the programs cost.

use std::path::Path;

use aya::maps::{HashMap as BpfHashMap, MapData};
use observer_common::record::{Call, GoroutineCall, KeptGoroutineCall};

use super::uprobes::UprobePrograms;
use capture::units::Ns;

/// Removes calls that threads left behind that ended inside them (a killed thread never returns),
/// and those of goroutines whose process has ended.
pub(super) struct StaleCallSweeper {
    calls: BpfHashMap<MapData, u64, WireCall>,
    of_goroutines: BpfHashMap<MapData, WireGoroutineCall, WireKeptCall>,
    next: Ns,
}

#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct WireCall(Call);
// SAFETY: repr(C) without padding, every bit pattern valid.
unsafe impl aya::Pod for WireCall {}

#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct WireGoroutineCall(pub(super) GoroutineCall);
// SAFETY: as above.
unsafe impl aya::Pod for WireGoroutineCall {}

#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct WireKeptCall(KeptGoroutineCall);
// SAFETY: as above.
unsafe impl aya::Pod for WireKeptCall {}

/// How often, and how old an entry must be to be looked at: long reads are normal, so age alone proves nothing.
const EVERY_NS: u64 = 30_000_000_000;

impl StaleCallSweeper {
    #[must_use]
    pub(super) fn new(
        calls: BpfHashMap<MapData, u64, WireCall>,
        of_goroutines: BpfHashMap<MapData, WireGoroutineCall, WireKeptCall>,
    ) -> Self {
        Self { calls, of_goroutines, next: Ns(0) }
    }

    /// The table of goroutines' calls.
    pub(super) fn of_goroutines(&mut self) -> &mut BpfHashMap<MapData, WireGoroutineCall, WireKeptCall> {
        &mut self.of_goroutines
    }

    /// Removes the entries of threads and processes that no longer exist.
    pub(super) fn sweep(&mut self, now: Ns) {
        if now < self.next {
            return;
        }
        self.next = Ns(now.0 + EVERY_NS);
        let of_thread =
            |key: &u64, call: &WireCall| (call.0.entered_ns, format!("/proc/{}/task/{}", call.0.id.tgid, key >> 32));
        remove_stale(&mut self.calls, now, of_thread);
        let of_process =
            |key: &WireGoroutineCall, kept: &WireKeptCall| (kept.0.call.entered_ns, format!("/proc/{}", key.0.tgid));
        remove_stale(&mut self.of_goroutines, now, of_process);
    }
}

/// `of`: when a call was entered, and what is there for as long as it may return.
fn remove_stale<K: aya::Pod, V: aya::Pod>(
    calls: &mut BpfHashMap<MapData, K, V>,
    now: Ns,
    of: impl Fn(&K, &V) -> (u64, String),
) {
    let is_stale = |key: &K, value: &V| {
        let (entered_ns, owner) = of(key, value);
        now - Ns(entered_ns) > EVERY_NS && !Path::new(&owner).exists()
    };
    let stale = calls.iter().flatten().filter(|(key, value)| is_stale(key, value)).map(|(key, _)| key);
    for key in stale.collect::<Vec<K>>() {
        let _ = calls.remove(&key);
    }
}

/// Time spent in each program, seconds; empty unless `kernel.bpf_stats_enabled` is set.
#[must_use]
pub(super) fn program_seconds(uprobes: &UprobePrograms) -> Vec<(String, f64)> {
    let all = uprobes.run_times().into_iter();
    all.filter(|(_, time)| !time.is_zero()).map(|(name, time)| (name, time.as_secs_f64())).collect()
}

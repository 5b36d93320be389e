//! Housekeeping of the kernel's tables, and what the programs cost.

use std::path::PathBuf;
use std::time::Duration;

use aya::maps::{HashMap as BpfHashMap, MapData};
use observer_common::record::Call;

use super::uprobes::Uprobes;
use crate::units::Ns;

/// Removes calls that threads left behind that ended inside them (a killed thread never returns).
pub struct Sweeper {
    calls: BpfHashMap<MapData, u64, WireCall>,
    next: Ns,
}

#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct WireCall(Call);
// SAFETY: repr(C) without padding, every bit pattern valid.
unsafe impl aya::Pod for WireCall {}

/// How often, and how old an entry must be to be looked at: long reads are normal, so age alone proves nothing.
const EVERY_NS: u64 = 30_000_000_000;

impl Sweeper {
    #[must_use]
    pub fn new(calls: BpfHashMap<MapData, u64, WireCall>) -> Self {
        Self { calls, next: Ns(0) }
    }

    /// Removes the entries of threads that no longer exist.
    pub fn sweep(&mut self, now: Ns) {
        if now < self.next {
            return;
        }
        self.next = Ns(now.0 + EVERY_NS);
        let old = |call: &WireCall| now - Ns(call.0.entered_ns) > EVERY_NS;
        let stale: Vec<u64> = self
            .calls
            .iter()
            .flatten()
            .filter(|(key, call)| old(call) && !thread_lives(call.0.id.tgid, *key >> 32))
            .map(|(key, _)| key)
            .collect();
        for key in stale {
            let _ = self.calls.remove(&key);
        }
    }
}

fn thread_lives(tgid: u32, tid: u64) -> bool {
    PathBuf::from(format!("/proc/{tgid}/task/{tid}")).exists()
}

/// Time spent in each program, seconds; empty unless `kernel.bpf_stats_enabled` is set.
#[must_use]
pub fn program_seconds(uprobes: &Uprobes) -> Vec<(String, f64)> {
    let ours = uprobes.ebpf.programs().filter_map(|(name, program)| Some((name, program.info().ok()?.run_time())));
    let all = ours.chain(uprobes.run_times().map(|(name, ns)| (name, Duration::from_nanos(ns))));
    all.filter(|(_, time)| !time.is_zero()).map(|(name, time)| (name.to_string(), time.as_secs_f64())).collect()
}

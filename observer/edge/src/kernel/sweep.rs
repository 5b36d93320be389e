//! Housekeeping of the kernel's tables, and what the programs cost.

use std::path::PathBuf;

use aya::maps::{HashMap as BpfHashMap, MapData};
use observer_common::record::{Call, OWN_KEY};

use super::uprobes::UprobePrograms;
use crate::units::Ns;

/// Removes calls that threads left behind that ended inside them (a killed thread never returns).
pub(super) struct StaleCallSweeper {
    calls: BpfHashMap<MapData, u64, WireCall>,
    next: Ns,
}

#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct WireCall(Call);
// SAFETY: repr(C) without padding, every bit pattern valid.
unsafe impl aya::Pod for WireCall {}

/// How often, and how old an entry must be to be looked at: long reads are normal, so age alone proves nothing.
const EVERY_NS: u64 = 30_000_000_000;

impl StaleCallSweeper {
    #[must_use]
    pub(super) fn new(calls: BpfHashMap<MapData, u64, WireCall>) -> Self {
        Self { calls, next: Ns(0) }
    }

    /// Removes the entries of threads and processes that no longer exist.
    pub(super) fn sweep(&mut self, now: Ns) {
        if now < self.next {
            return;
        }
        self.next = Ns(now.0 + EVERY_NS);
        let old = |call: &WireCall| now - Ns(call.0.entered_ns) > EVERY_NS;
        let stale: Vec<u64> = self
            .calls
            .iter()
            .flatten()
            .filter(|(key, call)| old(call) && !lives(call.0.id.tgid, *key))
            .map(|(key, _)| key)
            .collect();
        for key in stale {
            let _ = self.calls.remove(&key);
        }
    }
}

/// May the call still return? By its thread; a call that its stack keys itself goes with its process.
fn lives(tgid: u32, key: u64) -> bool {
    let of = if key & OWN_KEY == 0 { format!("/proc/{tgid}/task/{}", key >> 32) } else { format!("/proc/{tgid}") };
    PathBuf::from(of).exists()
}

/// Time spent in each program, seconds; empty unless `kernel.bpf_stats_enabled` is set.
#[must_use]
pub(super) fn program_seconds(uprobes: &UprobePrograms) -> Vec<(String, f64)> {
    let all = uprobes.run_times().into_iter();
    all.filter(|(_, time)| !time.is_zero()).map(|(name, time)| (name, time.as_secs_f64())).collect()
}

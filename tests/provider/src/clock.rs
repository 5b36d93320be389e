//! The clocks of the write log: the ones BPF programs can stamp with.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// One moment on both clocks, nanoseconds. BOOTTIME is read first; the two reads are some 50 ns apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// CLOCK_BOOTTIME.
    pub boot: u64,
    /// CLOCK_MONOTONIC.
    pub mono: u64,
}

impl Stamp {
    /// The present moment.
    #[must_use]
    pub fn now() -> Self {
        Self { boot: read(ClockId::Boottime), mono: read(ClockId::Monotonic) }
    }
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither clock is ever negative: both count from boot.
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

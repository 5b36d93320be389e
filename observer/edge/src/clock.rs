//! The only reader of time. Every stage gets `Ns` as an argument; wall time exists only for people.

use jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

use capture::units::Ns;

/// How long a wall offset is believed. NTP may step the wall clock at any time; a second of staleness is the most
/// that `design` allows.
const OFFSET_LIFE_NS: u64 = 500_000_000;

/// Smaller changes of the offset are not shown.
const STEP_NS: u128 = 1_000_000;

/// Now, on the clock that kernel stamps use (CLOCK_BOOTTIME).
#[must_use]
pub fn now() -> Ns {
    Ns(nanos(clock_gettime(ClockId::Boottime)))
}

/// CPU time of the calling thread, nanoseconds.
#[must_use]
pub fn thread_cpu() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}

/// Turns moments into wall time.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// Wall clock minus CLOCK_BOOTTIME, nanoseconds.
    offset: i128,
    read_at: Ns,
}

impl WallClock {
    /// Reads the offset between the two clocks.
    #[must_use]
    pub fn read() -> WallClock {
        let before = now();
        let wall = nanos(clock_gettime(ClockId::Realtime));
        let after = now();
        let middle = before.0 + (after - before) / 2;
        WallClock { offset: i128::from(wall) - i128::from(middle), read_at: after }
    }

    /// A fixed offset: that of the host a recording was made on.
    #[must_use]
    pub fn fixed(offset: i128) -> WallClock {
        WallClock { offset, read_at: Ns(u64::MAX) }
    }

    /// Reads the offset again if it is old. A change below a millisecond is not taken over, so that
    /// the slow slewing of NTP does not show the same moment under another name each second; steps
    /// are.
    pub fn refresh(&mut self, now: Ns) {
        if now - self.read_at <= OFFSET_LIFE_NS {
            return;
        }
        let read = WallClock::read();
        let stepped = read.offset.abs_diff(self.offset) >= STEP_NS;
        *self = WallClock { offset: if stepped { read.offset } else { self.offset }, read_at: read.read_at };
    }

    /// Wall clock minus CLOCK_BOOTTIME, nanoseconds.
    #[must_use]
    pub fn offset(&self) -> i128 {
        self.offset
    }

    /// The wall time of a moment; the epoch if it lies outside what a calendar can say.
    #[must_use]
    pub fn of(&self, at: Ns) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(at.0) + self.offset).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// RFC 3339 in UTC with nanoseconds: `2026-11-23T16:49:17.000000001Z`.
    #[must_use]
    pub fn rfc3339(&self, at: Ns) -> String {
        format!("{:.9}", self.of(at))
    }
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_advances_and_maps_to_today() {
        let first = now();
        let wall = WallClock::read();
        assert!(now() >= first);
        let system = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let ours = u128::try_from(wall.of(now()).as_nanosecond()).unwrap();
        assert!(ours.abs_diff(system) < 50_000_000, "{ours} {system}");
    }

    #[test]
    fn rfc3339_has_nine_digits() {
        assert_eq!(WallClock::fixed(0).rfc3339(Ns(1)), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(WallClock::fixed(1_700_000_000_000_000_000).rfc3339(Ns(0)), "2023-11-14T22:13:20.000000000Z");
    }

    #[test]
    fn steps_are_taken_over_and_slewing_is_not() {
        let mut wall = WallClock::read();
        let (true_offset, later) = (wall.offset, Ns(now().0 + 2 * OFFSET_LIFE_NS));
        wall.offset += 400_000;
        wall.refresh(later);
        assert_eq!(wall.offset, true_offset + 400_000);
        wall.offset += 3_600_000_000_000;
        wall.refresh(later);
        assert!(wall.offset.abs_diff(true_offset) < STEP_NS);
    }

    #[test]
    fn a_fixed_offset_stays() {
        let mut wall = WallClock::fixed(5);
        wall.refresh(now());
        assert_eq!(wall.offset(), 5);
    }
}

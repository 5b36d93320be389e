//! What is known of another clock: bounds that all hold are intersected, and what is left tells how far it is off.

use std::collections::VecDeque;

use crate::DetectorOutput;
use capture::units::Ns;

/// Bounds that are intersected: the newest. A clock drifts by 50 ppm, 30 ms in ten minutes.
const BOUNDS: usize = 64;

/// Bounds older than this are not used any more.
const OLD_NS: u64 = 600_000_000_000;

/// Calls named.
const STREAMS: usize = 4;

/// One clock's bounds.
#[derive(Debug, Default)]
pub(super) struct ClockBounds {
    /// (when, at least, at most): that clock minus ours, seconds.
    list: VecDeque<(Ns, f64, f64)>,
    streams: VecDeque<String>,
    /// A finding says that the clock is off.
    off: bool,
}

/// The middle of what bounds allow, and how far from it the truth may lie, seconds.
pub(super) fn centre((low, high): (f64, f64)) -> (f64, f64) {
    (f64::midpoint(low, high), (high - low) / 2.0)
}

/// How far a clock is off at least.
pub(super) fn least((low, high): (f64, f64)) -> f64 {
    low.max(-high).max(0.0)
}

impl ClockBounds {
    /// One more, from this call.
    pub(super) fn take(&mut self, (at, low, high): (Ns, f64, f64), stream: &str) {
        // A bound that contradicts all others is another clock behind the same name (or it was set): begin anew.
        if self.within(at).is_some_and(|(least, most)| low > most || high < least) {
            self.clear();
        }
        self.list.push_back((at, low, high));
        self.streams.push_back(stream.to_owned());
        while self.list.len() > BOUNDS || self.list.front().is_some_and(|(old, ..)| at - *old > OLD_NS) {
            self.list.pop_front();
        }
        while self.streams.len() > STREAMS {
            self.streams.pop_front();
        }
    }

    /// What all of them allow: at least and at most.
    pub(super) fn within(&self, now: Ns) -> Option<(f64, f64)> {
        let fresh = self.list.iter().filter(|(at, ..)| now - *at <= OLD_NS);
        let both = fresh.fold((f64::NEG_INFINITY, f64::INFINITY), |(low, high), (_, least, most)| {
            (low.max(*least), high.min(*most))
        });
        (both.0.is_finite() && both.0 <= both.1).then_some(both)
    }

    /// The clock is off if at least `enough` bounds leave nothing within `threshold` seconds of
    /// ours: `centre` of what they allow. Once it is not any more, the finding of that key is over;
    /// as long as too few bounds tell, nothing changes.
    pub(super) fn judge(
        &mut self,
        enough: u32,
        threshold: f64,
        key: &str,
        out: &mut DetectorOutput<'_>,
    ) -> Option<(f64, f64)> {
        let bound = self.within(out.now().at).filter(|_| self.len() >= enough as usize)?;
        let off = least(bound) > threshold;
        if std::mem::replace(&mut self.off, off) && !off {
            out.end(key);
        }
        off.then(|| centre(bound))
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.streams.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// When the first of them was seen.
    pub(super) fn since(&self) -> Option<Ns> {
        self.list.front().map(|(at, ..)| *at)
    }

    /// Calls that they rest on.
    pub(super) fn streams(&self) -> Vec<String> {
        self.streams.iter().cloned().collect()
    }
}

//! Which silences are stalls.

use super::{Gaps, Stall};
use crate::conn::{Path, Trouble};
use crate::limits;
use crate::units::Moment;

/// A gap is a stall when longer than this …
const LEAST_NS: u64 = 500_000_000;
/// … and than this many median gaps …
const MEDIANS: u64 = 8;
/// … judged once the median rests on this many gaps, or when the call ends.
const SAMPLES: u64 = 8;

/// Long gaps that wait for their judgement.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    waiting: Vec<Stall>,
}

impl Stalls {
    /// A gap ended; it is in `gaps` already. What is judged a stall now.
    pub(super) fn gap(&mut self, from: Moment, to: Moment, path: Option<&Path>, gaps: &Gaps) -> Vec<Stall> {
        if to.read - from.read > LEAST_NS && self.waiting.len() < limits::STALL_CANDIDATES {
            let seconds = to.read.seconds_since(from.read);
            self.waiting.push(Stall { at: from.read, seconds, cause: cause(from, to, path) });
        }
        if gaps.count() >= SAMPLES { self.judge(gaps) } else { Vec::new() }
    }

    /// The call ended: what waits is judged by the gaps there were.
    pub(super) fn judge(&mut self, gaps: &Gaps) -> Vec<Stall> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let threshold = gaps.median().unwrap_or(0).saturating_mul(MEDIANS);
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter(|stall| stall.seconds > threshold as f64 / 1e9).collect()
    }
}

/// Who caused a silence, where the arrival of the bytes that ended it is known. The application, if for most of the silence
/// they were there and nobody read them, or if it had left no room for them; the network, if what it did explains that they
/// came late; else the provider.
pub(super) fn cause(from: Moment, to: Moment, path: Option<&Path>) -> Option<&'static str> {
    let (arrived, path) = (to.arrival?, path?);
    let unread = to.read - arrived.max(from.read);
    if unread * 2 > to.read - from.read {
        return Some("local");
    }
    // The silence of the wire began when the bytes before it came, not when they were read.
    Some(match path.explains(from.arrival.unwrap_or(from.read), arrived) {
        Some(Trouble::NoRoom) => "local",
        Some(_) => "network",
        None => "provider",
    })
}

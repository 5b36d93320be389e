//! Which silences are stalls.

use super::{Gaps, Stall};
use crate::limits;
use crate::units::Ns;

/// A gap is a stall when longer than this …
const LEAST_NS: u64 = 500_000_000;
/// … and than this many median gaps …
const MEDIANS: u64 = 8;
/// … judged once the median rests on this many gaps, or when the call ends.
const SAMPLES: u64 = 8;

/// Long gaps that wait for their judgement.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    waiting: Vec<(Ns, u64)>,
}

impl Stalls {
    /// A gap ended that had begun at `began`; it is in `gaps` already. What is judged a stall now.
    pub(super) fn gap(&mut self, began: Ns, ns: u64, gaps: &Gaps) -> Vec<Stall> {
        if ns > LEAST_NS && self.waiting.len() < limits::STALL_CANDIDATES {
            self.waiting.push((began, ns));
        }
        if gaps.count() >= SAMPLES { self.judge(gaps) } else { Vec::new() }
    }

    /// The call ended: what waits is judged by the gaps there were.
    pub(super) fn judge(&mut self, gaps: &Gaps) -> Vec<Stall> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let threshold = gaps.median().unwrap_or(0).saturating_mul(MEDIANS);
        let judged = std::mem::take(&mut self.waiting).into_iter().filter(|(_, ns)| *ns > threshold);
        judged.map(|(at, ns)| Stall { at, seconds: ns as f64 / 1e9, cause: None }).collect()
    }
}

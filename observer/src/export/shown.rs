//! Which label sets a gauge of what is open shows: also 0, for a while after the last.

use std::collections::HashMap;
use std::sync::Arc;

use capture::units::Ns;
use ledger::CallLabels;

/// How long a label set that has nothing open any more still shows 0: longer than any scrape interval, so that an
/// autoscaler sees the 0 and not an absence.
const ZERO_FOR_NS: u64 = 15 * 60 * 1_000_000_000;

/// Most label sets remembered for showing 0.
const REMEMBERED: usize = 1000;

/// Labels and pod.
pub(super) type LabelSet = (Arc<CallLabels>, Box<str>);

/// Label sets, and when each had something last.
#[derive(Debug, Default)]
pub(super) struct ShownLabelSets(HashMap<LabelSet, Ns>);

impl ShownLabelSets {
    /// This set has something at `at`; one more than there is room for is not remembered.
    pub(super) fn note(&mut self, set: LabelSet, at: Ns) {
        if self.0.len() < REMEMBERED || self.0.contains_key(&set) {
            self.0.insert(set, at);
        }
    }

    /// Those to be shown now: of the others, those that `has` something are as of now.
    pub(super) fn at(&mut self, now: Ns, has: impl Fn(&LabelSet) -> bool) -> impl Iterator<Item = &LabelSet> {
        self.0.retain(|set, last| {
            if has(set) {
                *last = now;
            }
            now - *last < ZERO_FOR_NS
        });
        self.0.keys()
    }
}

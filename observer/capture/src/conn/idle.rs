//! Which entry of a full table has to go: the one that has been idle the longest.

use std::collections::BTreeSet;

use crate::units::Ns;

/// How exact "longest" is: an entry moves in the order at most this often, so that a busy one costs a comparison.
pub(super) const STEP: u64 = 1_000_000_000;

/// The keys of a table, each once, by the time since which its entry has been idle. The entry keeps that time.
#[derive(Debug)]
pub(super) struct IdleOrder<K>(BTreeSet<(Ns, K)>);

impl<K: Ord> Default for IdleOrder<K> {
    fn default() -> Self {
        IdleOrder(BTreeSet::new())
    }
}

impl<K: Ord + Copy> IdleOrder<K> {
    /// Adds an entry that is used at `at`.
    pub(super) fn insert(&mut self, at: Ns, key: K) {
        self.0.insert((at, key));
    }

    /// The entry is used at `at`; `since` is its time, and becomes `at` where that is late enough to matter.
    pub(super) fn touch(&mut self, since: &mut Ns, at: Ns, key: K) {
        if at - *since >= STEP {
            self.0.remove(&(*since, key));
            self.0.insert((at, key));
            *since = at;
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, since: Ns, key: K) {
        self.0.remove(&(since, key));
    }

    /// The entry that has been idle the longest.
    pub(super) fn longest(&self) -> Option<K> {
        self.0.first().map(|(_, key)| *key)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

//! Which processes call models: what else they send may be worth a look.

use std::collections::{HashSet, VecDeque};

use foldhash::fast::RandomState;

use capture::limits;

/// The newest `limits::CALLERS` of them. One that has ended stays until others take its place.
#[derive(Debug, Default)]
pub(super) struct CallerTable {
    known: HashSet<u32, RandomState>,
    order: VecDeque<u32>,
}

impl CallerTable {
    pub(super) fn called(&mut self, tgid: u32) {
        if !self.known.insert(tgid) {
            return;
        }
        self.order.push_back(tgid);
        if self.order.len() > limits::CALLERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn knows(&self, tgid: u32) -> bool {
        self.known.contains(&tgid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut callers = CallerTable::default();
        let most = u32::try_from(limits::CALLERS).unwrap();
        (0..=most).chain([most]).for_each(|tgid| callers.called(tgid));
        assert!(!callers.knows(0) && callers.knows(1) && callers.knows(most));
        assert_eq!(callers.order.len(), limits::CALLERS);
    }
}

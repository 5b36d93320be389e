//! Who gets no more room, and for how long. Pure: time is an argument.

use std::collections::BTreeMap;

use super::share::TableOwner;
use capture::units::Ns;

/// How long an owner who flooded a table gets no more room, the first time. Twice as long each further time, for
/// who floods again at once would take everybody's room for a second out of each such while.
const REFUSED_NS: u64 = 60_000_000_000;

/// The longest that an owner is refused at a time.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// After so long without another flood an owner is as good as new.
const FORGIVEN_NS: u64 = 2 * LONGEST_NS;

/// Owners remembered; the earliest are forgotten beyond it. Each needs thousands of entries to come to be here.
const MAX_MARKS: usize = 256;

/// An owner who had more than his share of a crowded table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// From then on he finds room again.
    pub until: Ns,
    /// The table, and how many entries he had in it.
    pub table: &'static str,
    pub used: usize,
    times: u32,
}

/// All owners who are refused, or were lately.
#[derive(Debug, Default)]
pub(super) struct Marks {
    owners: BTreeMap<TableOwner, Mark>,
}

impl Marks {
    /// This owner has too much of a table.
    pub(super) fn mark(&mut self, owner: TableOwner, table: &'static str, used: usize, now: Ns) {
        let times = self.owners.get(&owner).map_or(0, |mark| mark.times);
        let long = REFUSED_NS.saturating_mul(1 << times.min(16)).min(LONGEST_NS);
        let until = Ns(now.0.saturating_add(long));
        self.owners.insert(owner, Mark { until, table, used, times: times.saturating_add(1) });
        while self.owners.len() > MAX_MARKS {
            let first = self.owners.iter().min_by_key(|(_, mark)| mark.until).map(|(owner, _)| *owner);
            let _ = first.and_then(|first| self.owners.remove(&first));
        }
    }

    /// Forgets who did nothing for long, and processes that are gone.
    pub(super) fn forget(&mut self, now: Ns, is_gone: impl Fn(u32) -> bool) {
        self.owners.retain(|owner, mark| {
            let gone = matches!(owner, TableOwner::Process(tgid) if is_gone(*tgid));
            !gone && now - mark.until <= FORGIVEN_NS
        });
    }

    /// Who is refused now.
    pub(super) fn refused(&self, now: Ns) -> impl Iterator<Item = (TableOwner, &Mark)> {
        self.owners.iter().filter(move |(_, mark)| now < mark.until).map(|(owner, mark)| (*owner, mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn refused(marks: &Marks, second: u64) -> usize {
        marks.refused(Ns(second * SECOND)).count()
    }

    #[test]
    fn who_floods_again_waits_longer_and_is_forgiven_in_the_end() {
        let (mut marks, user) = (Marks::default(), TableOwner::User(7));
        marks.mark(user, "connections", 50_000, Ns(0));
        assert_eq!((refused(&marks, 59), refused(&marks, 60)), (1, 0));
        marks.mark(user, "connections", 50_000, Ns(100 * SECOND));
        assert_eq!((refused(&marks, 219), refused(&marks, 220)), (1, 0));
        (0..40).for_each(|_| marks.mark(user, "connections", 50_000, Ns(1000 * SECOND)));
        assert_eq!((refused(&marks, 4599), refused(&marks, 4600)), (1, 0), "an hour at most");
        marks.forget(Ns(20_000 * SECOND), |_| true);
        marks.mark(user, "connections", 50_000, Ns(20_000 * SECOND));
        assert_eq!(refused(&marks, 20_060), 0, "as the first time");
    }

    #[test]
    fn the_next_process_of_that_number_is_another() {
        let mut marks = Marks::default();
        marks.mark(TableOwner::Process(7), "connections", 50_000, Ns(0));
        marks.mark(TableOwner::User(7), "connections", 50_000, Ns(0));
        marks.forget(Ns(SECOND), |tgid| tgid == 7);
        assert_eq!(marks.refused(Ns(SECOND)).map(|(owner, _)| owner).collect::<Vec<_>>(), [TableOwner::User(7)]);
    }

    #[test]
    fn many_owners_are_bounded() {
        let mut marks = Marks::default();
        (0..10_000).for_each(|uid| marks.mark(TableOwner::User(uid), "connections", 1, Ns(u64::from(uid))));
        assert_eq!(refused(&marks, 0), MAX_MARKS);
    }
}

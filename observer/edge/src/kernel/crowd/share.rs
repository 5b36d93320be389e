//! Whose entries fill a table, and how many of them are too many. Pure.

use std::collections::HashMap;

/// Who is answerable for a process's entries in the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum TableOwner {
    /// A process of the host's root, by its thread group: root's programs have nothing else in common.
    Process(u32),
    /// A user of the host, by the id outside all user namespaces.
    User(u32),
    /// A container, by the id of its cgroup.
    Group(u64),
}

impl TableOwner {
    /// The mark that the kernel side knows it by.
    pub(super) fn word(self) -> u64 {
        match self {
            Self::Process(tgid) => observer_common::crowd::process(tgid),
            Self::User(uid) => observer_common::crowd::user(uid),
            Self::Group(id) => observer_common::crowd::group(id),
        }
    }
}

/// An owner with more than his share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    pub owner: TableOwner,
    /// Entries that he has.
    pub used: usize,
    /// How many of them have to go.
    pub excess: usize,
}

/// From so many quarters of a table on, somebody may have too much of it: below, everybody finds room.
const CROWDED_QUARTERS: usize = 3;

/// What one owner keeps of a crowded table: a quarter, which is 16,384 connections or calls in progress at once.
/// A gateway with more is left alone as long as the table has room for all.
fn share(capacity: usize) -> usize {
    capacity / 4
}

/// Who has more than his share of a crowded table, greediest first.
pub(super) fn excesses(capacity: usize, used: &HashMap<TableOwner, usize>) -> Vec<Excess> {
    let total: usize = used.values().sum();
    if total < capacity / 4 * CROWDED_QUARTERS {
        return Vec::new();
    }
    let above = |(owner, used): (&TableOwner, &usize)| Excess {
        owner: *owner,
        used: *used,
        excess: used.saturating_sub(share(capacity)),
    };
    let mut found: Vec<Excess> = used.iter().map(above).filter(|found| found.excess > 0).collect();
    found.sort_by_key(|found| (std::cmp::Reverse(found.used), found.owner));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 65_536;

    fn of(used: &[(TableOwner, usize)]) -> Vec<Excess> {
        excesses(CAPACITY, &used.iter().copied().collect())
    }

    #[test]
    fn who_floods_is_told_from_who_is_many() {
        let flood = TableOwner::User(1000);
        let found = of(&[(flood, 65_000), (TableOwner::Group(7), 300), (TableOwner::Process(1), 236)]);
        assert_eq!(found, [Excess { owner: flood, used: 65_000, excess: 65_000 - 16_384 }]);
        let many: Vec<_> = (0..100).map(|id| (TableOwner::Group(id), 655)).collect();
        assert!(of(&many).is_empty(), "no one of them is to blame");
    }

    #[test]
    fn a_large_gateway_has_what_nobody_else_needs() {
        assert!(of(&[(TableOwner::Process(9), 49_000)]).is_empty());
        assert_eq!(of(&[(TableOwner::Process(9), 49_152)]).len(), 1);
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn two_who_flood_are_both_cut() {
        let (one, other) = (TableOwner::User(1000), TableOwner::User(1001));
        let found = of(&[(other, 30_000), (one, 35_000)]);
        assert_eq!(found.iter().map(|found| found.owner).collect::<Vec<_>>(), [one, other]);
    }
}

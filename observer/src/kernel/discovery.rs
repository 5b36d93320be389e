//! What processes do, as perf tells it: what they map, that they fork, exec and end. Its rings and ours are read one after the other; what
//! a process did between a question and its answer must be told between them.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use super::follow::Follow;
use super::procmaps;
use super::uprobes::Uprobes;
use super::watch::{Mapping, Seen, Watch};
use crate::record::Record;
use crate::units::Ns;

pub(super) struct Discovery {
    watch: Watch,
    acts: Acts,
    /// All that was done until then has been looked at.
    until: Ns,
    /// Events that perf had no room for.
    pub(super) lost: u64,
}

impl Discovery {
    pub(super) fn new(watch: Watch) -> Self {
        Self { watch, acts: Acts::default(), until: Ns(0), lost: 0 }
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.watch.fds()
    }

    /// Looks, unless all that was done until `at` has been looked at.
    pub(super) fn look_until(&mut self, at: Ns, follow: &mut Follow, uprobes: &mut Uprobes) {
        if at > self.until {
            self.look(follow, uprobes);
        }
    }

    pub(super) fn look(&mut self, follow: &mut Follow, uprobes: &mut Uprobes) {
        self.until = crate::clock::now();
        let (mut seen, mut rescan) = (Vec::new(), false);
        self.watch.drain(&mut seen);
        for seen in seen {
            match seen {
                Seen::Mapped(mapping) => follow.mapped(&mapping, uprobes),
                Seen::Forked { pid, parent } => follow.family.born(pid, parent),
                Seen::Exec { pid, comm, at } => {
                    follow.above(pid).for_each(|tgid| self.acts.add(at, tgid));
                    follow.replaced(pid, comm);
                }
                Seen::Ended { pid } => {
                    follow.processes.ended(pid, follow.newest);
                    follow.family.ended(pid);
                }
                Seen::Lost(count) => {
                    self.lost += count;
                    self.acts.missed = Some(crate::clock::now());
                    rescan = true;
                }
            }
        }
        if rescan {
            scan(follow, uprobes);
        }
    }

    /// The programs that were started until `at`, and first of all that some of them were missed.
    pub(super) fn tell(&mut self, at: Ns, sink: &mut dyn FnMut(&Record<'_>)) {
        while let Some(record) = self.acts.next(at) {
            sink(&record);
        }
    }
}

/// Programs that were started, until the ring's records of before have been handed over.
#[derive(Default)]
struct Acts {
    /// In order.
    begun: VecDeque<(Ns, u32)>,
    /// Some were missed, last before this: what was done when is not known, so nothing of the ring may be judged before it is told.
    missed: Option<Ns>,
}

impl Acts {
    /// Processors' rings are read one after the other, too.
    fn add(&mut self, at: Ns, tgid: u32) {
        let before = self.begun.partition_point(|(begun, _)| *begun <= at);
        self.begun.insert(before, (at, tgid));
    }

    fn next(&mut self, until: Ns) -> Option<Record<'static>> {
        let missed = self.missed.take().map(|at| (at, None));
        let (at, tgid) = missed.or_else(|| {
            let (at, tgid) = self.begun.pop_front_if(|(begun, _)| *begun <= until)?;
            Some((at, Some(tgid)))
        })?;
        Some(Record::Started { tgid, at })
    }
}

/// Every process of the host, from /proc. What is called after TLS comes first: the rest takes longer to look at.
pub(super) fn scan(follow: &mut Follow, uprobes: &mut Uprobes) {
    let all: Vec<Mapping> = procmaps::pids().into_iter().flat_map(procmaps::executable).collect();
    let (likely, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|mapping| mapping.path.contains("ssl"));
    for mapping in likely.iter().chain(&others) {
        follow.mapped(mapping, uprobes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(acts: &mut Acts, until: u64) -> Vec<(u64, Option<u32>)> {
        let next = || match acts.next(Ns(until))? {
            Record::Started { tgid, at } => Some((at.0, tgid)),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn programs_are_told_in_the_order_they_were_started_and_no_sooner() {
        let mut acts = Acts::default();
        for (at, tgid) in [(30, 3), (10, 1), (20, 4), (10, 2)] {
            acts.add(Ns(at), tgid);
        }
        assert_eq!(told(&mut acts, 9), []);
        assert_eq!(told(&mut acts, 20), [(10, Some(1)), (10, Some(2)), (20, Some(4))]);
        assert_eq!(told(&mut acts, 30), [(30, Some(3))]);
    }

    #[test]
    fn that_some_were_missed_is_told_before_anything_of_the_ring() {
        let mut acts = Acts { missed: Some(Ns(40)), ..Acts::default() };
        acts.add(Ns(5), 1);
        assert_eq!(told(&mut acts, 4), [(40, None)], "what was missed may lie before the record that comes");
        assert_eq!(told(&mut acts, 5), [(5, Some(1))]);
    }
}

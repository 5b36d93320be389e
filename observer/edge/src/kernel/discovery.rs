//! What processes do, as perf tells it: that they fork, exec and end. Its rings and ours are read
//! one after the other; what a process did between a question and its answer must be told between
//! them.

use std::collections::VecDeque;

use super::files::{MappedFiles, ProcessFinding};
use super::follow::EdgeState;
use super::watch::WatchEvent;
use capture::record::Record;
use capture::units::Ns;

#[derive(Default)]
pub(super) struct ProcessDiscovery {
    acts: Acts,
    /// All that was done until then has been looked at.
    until: Ns,
}

impl ProcessDiscovery {
    /// Looks, unless all that was done until `at` has been looked at.
    pub(super) fn look_until(&mut self, at: Ns, files: &MappedFiles, follow: &mut EdgeState) {
        if at > self.until {
            self.look(files, follow);
        }
    }

    pub(super) fn look(&mut self, files: &MappedFiles, follow: &mut EdgeState) {
        self.until = crate::clock::now();
        let (seen, told) = files.take();
        for seen in seen {
            match seen {
                // Files are looked at elsewhere.
                WatchEvent::Mapped(_) => {}
                WatchEvent::Forked { pid, parent } => follow.family.born(pid, parent),
                WatchEvent::Exec { pid, comm, at } => {
                    follow.above(pid).for_each(|tgid| self.acts.add(at, tgid));
                    follow.replaced(pid, comm);
                }
                WatchEvent::Ended { pid } => {
                    follow.processes.ended(pid, follow.newest);
                    follow.family.ended(pid);
                }
                WatchEvent::Lost(_) => self.acts.missed = Some(crate::clock::now()),
            }
        }
        for told in told {
            match told {
                ProcessFinding::Uses { pid } => follow.processes.uses_tls(pid),
                ProcessFinding::Unseen { pid, reason, surely_tls } => follow.processes.unseen(pid, reason, surely_tls),
                ProcessFinding::Explained { pid, reason } => follow.processes.explained(pid, reason),
            }
        }
    }

    /// The programs that were started until `at`, and first of all that some of them were missed.
    pub(super) fn emit(&mut self, at: Ns, sink: &mut dyn FnMut(&Record<'_>)) {
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
    /// Some were missed, last before this: what was done when is not known, so nothing of the ring
    /// may be judged before it is told.
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

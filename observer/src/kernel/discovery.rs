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
    seen: Vec<Seen>,
    /// Programs that were started, in order, until the ring's records of before have been handed over.
    acts: VecDeque<(Ns, Option<u32>)>,
    /// All that was done until then has been looked at.
    until: Ns,
    /// Events that perf had no room for.
    pub(super) lost: u64,
}

impl Discovery {
    pub(super) fn new(watch: Watch) -> Self {
        Self { watch, seen: Vec::new(), acts: VecDeque::new(), until: Ns(0), lost: 0 }
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
        self.watch.drain(&mut self.seen);
        let mut rescan = false;
        for seen in std::mem::take(&mut self.seen) {
            match seen {
                Seen::Mapped(mapping) => follow.mapped(&mapping, uprobes),
                Seen::Forked { pid, parent } => follow.family.born(pid, parent),
                Seen::Exec { pid, comm, at } => {
                    follow.above(pid).for_each(|tgid| act(&mut self.acts, at, Some(tgid)));
                    follow.replaced(pid, comm);
                }
                Seen::Ended { pid } => {
                    follow.processes.ended(pid, follow.newest);
                    follow.family.ended(pid);
                }
                Seen::Lost(count) => {
                    self.lost += count;
                    act(&mut self.acts, self.until, None);
                    rescan = true;
                }
            }
        }
        if rescan {
            scan(follow, uprobes);
        }
    }

    /// The programs that were started until `at`.
    pub(super) fn tell(&mut self, at: Ns, sink: &mut dyn FnMut(&Record<'_>)) {
        while let Some((at, tgid)) = self.acts.pop_front_if(|(begun, _)| *begun <= at) {
            sink(&Record::Started { tgid, at });
        }
    }
}

/// Processors' rings are read one after the other, too.
fn act(acts: &mut VecDeque<(Ns, Option<u32>)>, at: Ns, tgid: Option<u32>) {
    let before = acts.partition_point(|(begun, _)| *begun <= at);
    acts.insert(before, (at, tgid));
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

    #[test]
    fn programs_are_told_in_the_order_they_were_started_and_no_sooner() {
        let mut acts = VecDeque::new();
        for (at, tgid) in [(30, Some(3)), (10, Some(1)), (20, None), (10, Some(2))] {
            act(&mut acts, Ns(at), tgid);
        }
        assert_eq!(acts, [(Ns(10), Some(1)), (Ns(10), Some(2)), (Ns(20), None), (Ns(30), Some(3))]);
    }
}

//! What processes did besides their model calls: connections to other hosts and programs they
//! started. It may be what an answer claims was done; what it was is neither known nor kept.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::RecentMap;
use capture::limits;
use capture::units::Ns;

/// Newest acts of one process; acts of one kind (one peer, or programs) count as one.
const ACTS: usize = 8;

#[derive(Debug)]
pub(crate) struct ProcessActivity {
    acts: RecentMap<u32, VecDeque<(Ns, Option<SocketAddr>)>>,
    /// Where model calls and exported spans go: to connect there is none.
    talk: RecentMap<SocketAddr, ()>,
    /// Some of it was not seen, last at this time.
    missed: Option<Ns>,
}

impl Default for ProcessActivity {
    fn default() -> Self {
        let talk = RecentMap::new(limits::MODEL_ADDRESSES);
        ProcessActivity { acts: RecentMap::new(limits::ACTING_PROCESSES), talk, missed: None }
    }
}

impl ProcessActivity {
    /// A process connected to `peer`, or a program was started below it.
    pub(crate) fn acted(&mut self, tgid: Option<u32>, peer: Option<SocketAddr>, at: Ns) {
        let Some(tgid) = tgid else {
            self.missed = Some(at);
            return;
        };
        let acts = self.acts.touch(tgid, VecDeque::new);
        acts.retain(|(_, other)| *other != peer);
        acts.push_back((at, peer));
        if acts.len() > ACTS {
            acts.pop_front();
        }
    }

    /// A model call went there, or spans that tell of such calls.
    pub(crate) fn talked(&mut self, peer: Option<SocketAddr>) {
        if let Some(peer) = peer {
            self.talk.touch(peer, || ());
        }
    }

    /// Whether a process did anything since; `None` if that cannot be told.
    pub(crate) fn since(&self, tgid: u32, since: Ns) -> Option<bool> {
        let talk = |peer: &Option<SocketAddr>| peer.is_some_and(|peer| self.talk.get(&peer).is_some());
        let acts = self.acts.get(&tgid).into_iter().flatten();
        let any = acts.filter(|(_, peer)| !talk(peer)).any(|(at, _)| *at >= since);
        (any || self.missed.is_none_or(|at| at < since)).then_some(any)
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.acts.forgotten() + self.talk.forgotten()
    }

    pub(crate) fn held(&self) -> usize {
        self.acts.iter().map(|(_, acts)| acts.len()).sum::<usize>() + self.talk.len()
    }
}

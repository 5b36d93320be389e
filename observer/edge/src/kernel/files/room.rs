//! Descriptors: each program in a file is one (without `uprobe_multi` each of its places), and a node has many images.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::account::FileCounters;
use super::registry::TargetId;
use super::{SharedFiles, State, release};
use crate::clock;
use capture::units::Ns;

/// Descriptors that a newly probed file may take: without `uprobe_multi` an entry and a return for each function.
const FOR_ONE_FILE: u64 = 24;

/// Descriptors kept free for everything else: scrapes, inspect clients, files being read.
const RESERVE: u64 = 96;

/// Raises the soft limit of descriptors to the hard one: the usual soft limit of 1,024 is 135 images.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

/// Files for which there should be room beforehand: taking the probes of one out takes the kernel a
/// tenth of a second, and a program that comes meanwhile is not seen.
const ROOM_FOR: u64 = 4;

/// What is kept free of so many.
fn reserve(limit: u64) -> u64 {
    RESERVE.min(limit / 4)
}

impl State {
    /// Files to let go of before their grace is over, since descriptors are getting short: those
    /// that were idle longest.
    pub(super) fn in_the_way(&self) -> Vec<TargetId> {
        let (used, limit) = self.counters.descriptors;
        if limit == 0 || used + ROOM_FOR * FOR_ONE_FILE + reserve(limit) <= limit {
            return Vec::new();
        }
        let mut idle: Vec<_> = self.idle_unwanted().collect();
        idle.sort_by_key(|(_, since)| *since);
        idle.into_iter().map(|(id, _)| id).take(usize::try_from(ROOM_FOR).unwrap_or(1)).collect()
    }

    /// Idle files but those of distributions, which somebody will want soon.
    fn idle_unwanted(&self) -> impl Iterator<Item = (TargetId, Ns)> {
        let kept = |id: &TargetId| self.registry.targets.get(id).is_some_and(|entry| entry.kept_by.is_some());
        self.holders.idle().filter(move |(id, _)| !kept(id))
    }
}

impl SharedFiles {
    /// Counts the descriptors anew.
    pub(super) fn count_descriptors(&self) {
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            self.state().counters.descriptors = (descriptors(), limit);
        }
    }

    /// Sees to it that another file can be probed, by letting go of the files that were idle
    /// longest. False: there is no room.
    pub(super) fn make_room(&self) -> bool {
        let Some(limit) = getrlimit(Resource::Nofile).current else { return true };
        loop {
            let used = descriptors();
            self.state().counters.descriptors = (used, limit);
            if used + FOR_ONE_FILE + reserve(limit) <= limit {
                return true;
            }
            if !self.drop_idlest() {
                return false;
            }
        }
    }

    /// Lets go of the file that nobody has had mapped for the longest time, unless it was probed for who comes.
    fn drop_idlest(&self) -> bool {
        let mut state = self.state();
        // What distributions bring stays: of all that nobody has mapped now it is the most likely to be wanted.
        let idlest = state.idle_unwanted().min_by_key(|(_, since)| *since);
        let Some((id, _)) = idlest else {
            warn_once();
            return false;
        };
        state.counters.lacks_room();
        let entry = state.forget(id);
        drop(state);
        let links = entry.map(|mut entry| entry.target.take_links()).unwrap_or_default();
        release::detach(links);
        true
    }
}

impl FileCounters {
    /// A file was let go of, or not probed, for want of descriptors.
    pub(super) fn lacks_room(&mut self) {
        self.no_room += 1;
        self.no_room_at = clock::now();
    }
}

/// Descriptors of this process.
fn descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count() as u64)
}

/// At most once a minute: a node that has no room has none for every file that comes.
fn warn_once() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static WARNED: AtomicU64 = AtomicU64::new(0);
    let now = clock::now().0;
    let last = WARNED.load(Ordering::Relaxed);
    if last == 0 || now.saturating_sub(last) > 60_000_000_000 {
        WARNED.store(now, Ordering::Relaxed);
        tracing::warn!(
            "no descriptors are left: new TLS libraries are not probed; raise the hard limit of open files (LimitNOFILE=, --ulimit nofile)"
        );
    }
}

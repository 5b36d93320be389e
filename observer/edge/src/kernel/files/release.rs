//! Letting go: of files that nobody has mapped any more, and of those that stand in the way when
//! descriptors run out.

use std::collections::BTreeSet;

use super::super::procmaps;
use super::super::uprobes::ProbeLink;
use super::super::watch::WatchEvent;
use super::queue::FileJob;
use super::registry::{KernelFileNames, ProbedFileEntry, TargetId};
use super::threads::WorkerState;
use super::{SharedFiles, State};
use crate::clock;
use capture::units::Ns;

/// A file that nobody has mapped stays probed for this long: the next container of the image, the
/// next run of the program is then seen from its first call.
const GRACE_NS: u64 = 60_000_000_000;

/// … and only this long if it lies on a file system of its own, which somebody may want to take
/// away, or if its probes keep a mount busy that is not ours.
const SHORT_GRACE_NS: u64 = 3_000_000_000;

/// Files let go of in one turn: each takes the kernel a tenth of a second, and somebody else waits
/// for his turn.
const RELEASED_AT_ONCE: usize = 16;

/// How often idle files are looked for.
const HOUSE_NS: u64 = 1_000_000_000;

/// How often idle files are let go of before their time where descriptors are short.
const EASE_NS: u64 = 300_000_000;

/// How often processes are asked whether they live, for their end may have been lost.
const PURGE_NS: u64 = 30_000_000_000;

/// Links closed at the same time. Each waits for a grace period of the kernel, and they wait for
/// the same one: 112 links took 860 ms by eight hands and 110 ms by as many hands as links (Linux
/// 6.18).
const DETACHING: usize = 128;

/// Stack of a thread that closes links and nothing else, bytes.
const DETACHING_STACK: usize = 64 << 10;

impl SharedFiles {
    /// What is to be done once a second.
    pub(super) fn keep_house(&self) {
        let now = clock::now();
        let mut state = self.state();
        if now - state.eased > EASE_NS {
            state.eased = now;
            let ids = state.in_the_way();
            if !ids.is_empty() {
                ids.iter().for_each(|_| state.counters.lacks_room());
                state.queue.add(FileJob::Release(ids));
                self.work.notify_all();
            }
        }
        if now - state.housed < HOUSE_NS {
            return;
        }
        state.housed = now;
        if now - state.purged > PURGE_NS {
            state.purged = now;
            state.queue.add(FileJob::Purge);
        }
        if state.queue.make_up(now) {
            state.look_at_all();
        }
        state.bury(now);
        let due = state.due(now);
        if !due.is_empty() {
            state.queue.add(FileJob::Release(due));
        }
        drop(state);
        self.work.notify_all();
    }

    /// Processes that are gone hold nothing.
    pub(super) fn purge(&self) {
        let pids = self.state().holders.pids();
        let dead: BTreeSet<u32> = pids.into_iter().filter(|pid| !lives(*pid)).collect();
        self.state().holders.purge(|pid| !dead.contains(&pid), clock::now());
    }

    /// Lets go of those of these files that nobody has mapped, whatever was told.
    pub(super) fn release(&self, ids: &[TargetId], desk: &WorkerState) {
        let ids: Vec<TargetId> = ids.iter().copied().filter(|id| !self.is_kept(*id)).collect();
        let wanted: Vec<(TargetId, KernelFileNames)> =
            ids.iter().map(|id| (*id, self.state().registry.names(*id))).collect();
        let used = if wanted.is_empty() { BTreeSet::new() } else { in_use(&wanted, desk) };
        let mut links = Vec::new();
        let turn = self.attaching.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut state = self.state();
        for id in ids {
            if desk.given_up() || state.holders.count(id) > 0 {
                continue;
            }
            if used.contains(&id) {
                state.holders.still_mapped(id, clock::now());
            } else if let Some(mut entry) = state.forget(id) {
                tracing::debug!(library = entry.target.path, "nobody has it mapped any more: its probes go");
                state.counters.released += 1;
                links.extend(entry.target.take_links());
            }
        }
        drop(state);
        // Others need not wait for it: a file that comes back meanwhile gets probes of its own, and
        // the kernel side lets each call pass once.
        drop(turn);
        desk.rests();
        detach(links);
        self.count_descriptors();
    }

    /// The name for which a file was probed beforehand still leads to it.
    fn is_kept(&self, id: TargetId) -> bool {
        let state = self.state();
        let Some(entry) = state.registry.targets.get(&id) else { return true };
        let Some((path, own)) = entry.kept_by.clone().zip(entry.inode.own) else { return false };
        drop(state);
        let there = rustix::fs::stat(path.as_path());
        let is = |stat: &rustix::fs::Stat| {
            stat.st_ino == own.inode && (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev)) == own.device
        };
        let kept = there.is_ok_and(|stat| is(&stat));
        let mut state = self.state();
        match state.registry.targets.get_mut(&id) {
            Some(entry) if !kept => entry.kept_by = None,
            Some(_) => state.holders.still_mapped(id, clock::now()),
            None => {}
        }
        kept
    }
}

impl State {
    /// Processes whose first thread had ended before the others, and whose others have ended by
    /// now.
    fn bury(&mut self, now: Ns) {
        let (living, dead): (Vec<u32>, Vec<u32>) = self.headless.drain(..).partition(|pid| lives(*pid));
        self.headless = living;
        for pid in dead {
            self.holders.ended(pid, now);
            self.send_to_pipeline(WatchEvent::Ended { pid });
        }
    }

    /// Files whose grace is over.
    fn due(&self, now: Ns) -> Vec<TargetId> {
        let grace = |id| match self.registry.targets.get(&id) {
            Some(ProbedFileEntry { may_go: false, .. }) => GRACE_NS,
            _ => SHORT_GRACE_NS,
        };
        let due = self.holders.idle().filter(|(id, since)| now - *since > grace(*id)).map(|(id, _)| id);
        due.take(RELEASED_AT_ONCE).collect()
    }
}

/// Which of these files somebody has mapped, by what `/proc/PID/maps` calls them.
fn in_use(wanted: &[(TargetId, KernelFileNames)], desk: &WorkerState) -> BTreeSet<TargetId> {
    let mut used = BTreeSet::new();
    for pid in procmaps::pids() {
        if desk.given_up() {
            break;
        }
        desk.begins(None);
        for name in procmaps::inodes(pid) {
            used.extend(wanted.iter().filter(|(_, names)| names.contains(&name)).map(|(id, _)| *id));
        }
    }
    used
}

/// A process whose first thread has ended lives on as long as others do.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Field 3, after the command name, which may hold anything.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X") || procmaps::has_other_threads(pid))
}

/// Detaches probes. Each takes a grace period of the kernel (tens of milliseconds), so they are
/// taken at the same time.
pub(super) fn detach(links: Vec<ProbeLink>) {
    let mut hands: Vec<Vec<ProbeLink>> = (0..DETACHING.min(links.len())).map(|_| Vec::new()).collect();
    for (index, link) in links.into_iter().enumerate() {
        if let Some(hand) = hands.get_mut(index % DETACHING) {
            hand.push(link);
        }
    }
    std::thread::scope(|scope| {
        for hand in hands {
            // What no thread can be had for is closed right here, when it is dropped.
            let _ = std::thread::Builder::new().stack_size(DETACHING_STACK).spawn_scoped(scope, move || drop(hand));
        }
    });
}

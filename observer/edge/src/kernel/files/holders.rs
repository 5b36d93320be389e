//! Who has a probed file mapped: processes that mapped it, and what they forked since. Pure.

use std::collections::{BTreeSet, HashMap};

use smallvec::SmallVec;

use super::registry::TargetId;
use capture::units::Ns;

/// A probed file as a process sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HeldFile {
    /// Device of the mount it is seen through: an overlay has its own.
    pub(super) device: (u32, u32),
    pub(super) path: Box<str>,
}

/// What one process has mapped.
#[derive(Debug, Default)]
struct ProcessMappings {
    /// What was mapped before this belongs to the program that the process ran then.
    since: Ns,
    /// A process has one or two TLS libraries.
    files: SmallVec<[(TargetId, HeldFile); 2]>,
}

/// Files of one process kept; who maps copy after copy of a library is known by the first ones.
const MAX_FILES: usize = 16;

/// Processes kept; beyond it new ones are left out, and files are not let go of before /proc was
/// asked (`SharedFiles::release`).
const MAX_PROCESSES: usize = 65_536;

/// Processes by the probed files that they have mapped.
#[derive(Debug, Default)]
pub(super) struct FileHolders {
    processes: HashMap<u32, ProcessMappings>,
    counts: HashMap<TargetId, u32>,
    /// When each file lost its last holder.
    idle: HashMap<TargetId, Ns>,
}

impl FileHolders {
    /// A process mapped a file at a moment. False if it has replaced its program since.
    pub(super) fn mapped(&mut self, pid: u32, file: TargetId, place: HeldFile, at: Ns) -> bool {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&pid) {
            return true;
        }
        let held = self.processes.entry(pid).or_default();
        if at < held.since {
            return false;
        }
        if held.files.len() < MAX_FILES && !held.files.iter().any(|(known, _)| *known == file) {
            held.files.push((file, place));
            *self.counts.entry(file).or_default() += 1;
            self.idle.remove(&file);
        }
        true
    }

    /// A file is probed that nobody is known to have mapped yet.
    pub(super) fn unheld(&mut self, file: TargetId, now: Ns) {
        if !self.counts.contains_key(&file) {
            self.idle.entry(file).or_insert(now);
        }
    }

    /// A child has what its parent has.
    pub(super) fn forked(&mut self, pid: u32, parent: u32) {
        let Some(held) = self.processes.get(&parent).filter(|held| !held.files.is_empty()) else { return };
        if self.processes.len() >= MAX_PROCESSES {
            return;
        }
        let files = held.files.clone();
        for (file, _) in &files {
            *self.counts.entry(*file).or_default() += 1;
        }
        self.processes.insert(pid, ProcessMappings { since: Ns(0), files });
    }

    /// A process replaced its program: nothing of before is mapped any more.
    pub(super) fn replaced(&mut self, pid: u32, at: Ns) {
        self.drop_files(pid, at);
        if self.processes.len() < MAX_PROCESSES {
            self.processes.insert(pid, ProcessMappings { since: at, ..ProcessMappings::default() });
        }
    }

    /// A process is gone.
    pub(super) fn ended(&mut self, pid: u32, now: Ns) {
        self.drop_files(pid, now);
    }

    fn drop_files(&mut self, pid: u32, now: Ns) {
        for (file, _) in self.processes.remove(&pid).unwrap_or_default().files {
            let left = self.counts.get(&file).map_or(0, |count| count.saturating_sub(1));
            if left > 0 {
                self.counts.insert(file, left);
            } else {
                self.counts.remove(&file);
                self.idle.insert(file, now);
            }
        }
    }

    /// A file that nobody is known to have mapped is in use all the same, or wanted: its grace begins anew.
    pub(super) fn still_mapped(&mut self, file: TargetId, now: Ns) {
        if let Some(since) = self.idle.get_mut(&file) {
            *since = now;
        }
    }

    /// A file is not probed any more.
    pub(super) fn forget(&mut self, file: TargetId) {
        self.processes.values_mut().for_each(|held| held.files.retain(|(known, _)| *known != file));
        self.counts.remove(&file);
        self.idle.remove(&file);
    }

    /// What a process has mapped, with the paths as it sees them.
    pub(super) fn of(&self, pid: u32) -> impl Iterator<Item = (TargetId, &str)> {
        let files = self.processes.get(&pid).into_iter().flat_map(|held| &held.files);
        files.map(|(file, place)| (*file, place.path.as_ref()))
    }

    /// Where each file is mapped now, a place for each mount it is seen through and each name there.
    pub(super) fn places(&self) -> HashMap<TargetId, BTreeSet<&HeldFile>> {
        let mut places: HashMap<TargetId, BTreeSet<&HeldFile>> = HashMap::new();
        for (file, place) in self.processes.values().flat_map(|held| &held.files) {
            places.entry(*file).or_default().insert(place);
        }
        places
    }

    /// Processes that have a file mapped.
    pub(super) fn count(&self, file: TargetId) -> u32 {
        self.counts.get(&file).copied().unwrap_or(0)
    }

    /// Files that nobody has mapped, with the moment since when.
    pub(super) fn idle(&self) -> impl Iterator<Item = (TargetId, Ns)> {
        self.idle.iter().map(|(file, since)| (*file, *since))
    }

    /// Forgets processes that do not live any more: their end was told in a record that was lost.
    pub(super) fn purge(&mut self, lives: impl Fn(u32) -> bool, now: Ns) {
        let dead: Vec<u32> = self.processes.keys().copied().filter(|pid| !lives(*pid)).collect();
        dead.into_iter().for_each(|pid| self.ended(pid, now));
    }

    /// Processes that hold anything, to be asked whether they live.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: TargetId = TargetId(1);

    fn place(path: &str) -> HeldFile {
        HeldFile { device: (0, 40), path: path.into() }
    }

    fn idle(holders: &FileHolders) -> Vec<(TargetId, Ns)> {
        holders.idle().collect()
    }

    #[test]
    fn a_file_is_idle_once_its_last_process_and_all_that_it_forked_are_gone() {
        let mut holders = FileHolders::default();
        holders.unheld(FILE, Ns(1));
        assert_eq!(idle(&holders), [(FILE, Ns(1))]);
        assert!(holders.mapped(7, FILE, place("/lib/libssl.so.3"), Ns(2)));
        assert!(holders.mapped(7, FILE, place("/lib/libssl.so.3"), Ns(2)), "mapped in pieces");
        holders.forked(8, 7);
        assert_eq!(holders.places().get(&FILE).map(BTreeSet::len), Some(1), "two processes, one place");
        holders.ended(7, Ns(3));
        assert_eq!((holders.count(FILE), idle(&holders)), (1, vec![]), "the child has it still");
        assert_eq!(holders.of(8).collect::<Vec<_>>(), [(FILE, "/lib/libssl.so.3")]);
        holders.replaced(8, Ns(4));
        assert_eq!((holders.count(FILE), idle(&holders)), (0, vec![(FILE, Ns(4))]));
        holders.unheld(FILE, Ns(9));
        assert_eq!(idle(&holders), [(FILE, Ns(4))], "it is idle since then");
        holders.forget(FILE);
        assert_eq!(idle(&holders), []);
    }

    #[test]
    fn what_was_mapped_before_an_exec_is_of_the_program_before() {
        let mut holders = FileHolders::default();
        holders.replaced(7, Ns(10));
        assert!(!holders.mapped(7, FILE, place("/old"), Ns(9)));
        assert!(holders.mapped(7, FILE, place("/new"), Ns(11)));
        assert_eq!(holders.of(7).collect::<Vec<_>>(), [(FILE, "/new")]);
    }

    #[test]
    fn who_is_gone_unheard_is_purged_and_tables_are_bounded() {
        let mut holders = FileHolders::default();
        (0..100_000).for_each(|pid| assert!(holders.mapped(pid, FILE, place("/a"), Ns(1))));
        assert!(holders.processes.len() <= MAX_PROCESSES);
        (0..100).for_each(|file| assert!(holders.mapped(1, TargetId(file), place("/a"), Ns(1))));
        assert!(holders.of(1).count() <= MAX_FILES);
        holders.purge(|pid| pid == 3, Ns(5));
        assert_eq!((holders.count(FILE), holders.pids()), (1, vec![3]));
    }
}

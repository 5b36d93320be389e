//! What every mapped file turned out to be, and the probes on those that carry TLS: one set for each inode.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use super::super::targets::{CallCounts, ProbeTarget};
use super::generations::TwoGenerations;
use super::holders::FileHolders;
use super::inode::InodeFacts;
use super::open::{FileVersion, SeenAs};
use crate::coverage::ProbeRow;
use capture::elf::OtherTlsStacks;
use capture::stacks::UnseenReason;
use capture::units::Ns;

/// A probed file, for as long as it is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TargetId(pub(super) u64);

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileVerdict {
    /// It carries no TLS of ours.
    Plain(OtherTlsStacks),
    /// It is probed.
    Target(TargetId),
    /// It is not looked at, for this reason.
    Refused(UnseenReason),
}

/// A probed file with all that is known of it.
#[derive(Debug)]
pub(super) struct ProbedFileEntry {
    pub(super) target: ProbeTarget,
    pub(super) inode: InodeFacts,
    /// What the kernel calls it where it is mapped: an overlay gives it another device, and may give it another number.
    names: KernelFileNames,
    /// The name for which it was probed before anybody mapped it; while that leads here, it stays probed.
    pub(super) kept_by: Option<PathBuf>,
    /// It lies on a file system that somebody may want to take away, or its probes keep a mount busy that is not ours.
    pub(super) may_go: bool,
}

/// Files remembered by how they show themselves, in each of two generations: those of a hundred
/// containers, each of whose mounts shows each of its files as another one. Who is forgotten is looked
/// at again when it is mapped again.
const SEEN_EACH: usize = 8192;

/// Places shown of one file; 25 containers of one image are 25 places.
const MAX_PLACES: usize = 64;

/// Names kept of one file; beyond it, its number alone counts.
const MAX_NAMES: usize = 256;

/// What the kernel calls a file in `/proc/PID/maps`: devices and numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct KernelFileNames(BTreeSet<((u32, u32), u64)>);

impl KernelFileNames {
    /// May a mapping of this name be the file?
    pub(super) fn contains(&self, name: &((u32, u32), u64)) -> bool {
        self.0.contains(name) || (self.0.len() >= MAX_NAMES && self.0.iter().any(|(_, number)| *number == name.1))
    }
}

/// Files that were refused and are remembered.
const MAX_REFUSED: usize = 4096;

/// A file whose refusal cost time is looked at again after this long if it has changed: whoever
/// touches it must not make us pay again.
const COSTLY_FOR_NS: u64 = 600_000_000_000;

/// … and one whose refusal cost nothing (it was being written, say) at once if it has changed, else after this long.
const CHEAP_FOR_NS: u64 = 60_000_000_000;

/// What a refusal may cost to be a cheap one, nanoseconds of CPU.
const CHEAP_NS: u64 = 20_000_000;

/// Why a file is not looked at.
#[derive(Clone, Debug)]
pub(super) struct FileRefusal {
    pub(super) reason: UnseenReason,
    /// The same in a sentence.
    pub(super) detail: String,
    /// What it cost to find out.
    pub(super) cpu_ns: u64,
}

/// A refusal as it is shown.
#[derive(Clone, Debug)]
struct ShownRefusal {
    why: FileRefusal,
    path: String,
    version: FileVersion,
    at: Ns,
}

impl ShownRefusal {
    fn holds(&self, version: FileVersion, now: Ns) -> bool {
        let (costly, same, age) = (self.why.cpu_ns > CHEAP_NS, self.version == version, now - self.at);
        if costly { same || age < COSTLY_FOR_NS } else { same && age < CHEAP_FOR_NS }
    }
}

/// Everything known of the host's files.
#[derive(Debug)]
pub(super) struct FileRegistry {
    pub(super) targets: HashMap<TargetId, ProbedFileEntry>,
    seen: TwoGenerations<SeenAs, (FileVersion, FileVerdict)>,
    /// Plain files by number and version alone: those of overlays, each container's of which has another device.
    plain: TwoGenerations<(u64, FileVersion), OtherTlsStacks>,
    refused: HashMap<SeenAs, ShownRefusal>,
    next: u64,
}

impl Default for FileRegistry {
    fn default() -> Self {
        Self {
            targets: HashMap::new(),
            seen: TwoGenerations::of(SEEN_EACH),
            plain: TwoGenerations::of(SEEN_EACH),
            refused: HashMap::new(),
            next: 0,
        }
    }
}

impl FileRegistry {
    /// What a file is, if it was looked at in this version. `shared`: it is an overlay's, whose device says nothing.
    pub(super) fn known(&mut self, seen: SeenAs, version: FileVersion, shared: bool, now: Ns) -> Option<FileVerdict> {
        if let Some(refusal) = self.refused.get(&seen).filter(|refusal| refusal.holds(version, now)) {
            return Some(FileVerdict::Refused(refusal.why.reason));
        }
        let known = self.seen.get(seen).filter(|(then, _)| *then == version).map(|(_, what)| what);
        known.or_else(|| Some(FileVerdict::Plain(self.plain.get((seen.inode, version)).filter(|_| shared)?)))
    }

    /// The probed file that is this inode.
    pub(super) fn find(&self, inode: &InodeFacts) -> Option<TargetId> {
        self.targets.iter().find(|(_, entry)| entry.inode.is(inode)).map(|(id, _)| *id)
    }

    /// The file carries no TLS.
    pub(super) fn plain(&mut self, seen: SeenAs, version: FileVersion, marks: OtherTlsStacks, shared: bool) {
        if shared {
            self.plain.insert((seen.inode, version), marks);
        }
        self.seen.insert(seen, (version, FileVerdict::Plain(marks)));
    }

    /// A plain file that is known by number and version is seen through another mount.
    pub(super) fn see(&mut self, seen: SeenAs, version: FileVersion, what: FileVerdict) {
        if matches!(what, FileVerdict::Plain(_)) {
            self.seen.insert(seen, (version, what));
        }
    }

    /// Was the file refused for this reason before? Then nothing new is to be said of it.
    pub(super) fn is_refused(&self, seen: SeenAs, reason: UnseenReason) -> bool {
        self.refused.get(&seen).is_some_and(|refusal| refusal.why.reason == reason)
    }

    /// The file is not looked at.
    pub(super) fn refuse(&mut self, seen: SeenAs, version: FileVersion, path: &str, why: FileRefusal, at: Ns) {
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(seen, ShownRefusal { why, path: path.to_owned(), version, at });
    }

    /// A new probed file.
    pub(super) fn add(&mut self, target: ProbeTarget, inode: InodeFacts, may_go: bool) -> TargetId {
        let id = TargetId(self.next);
        self.next += 1;
        self.targets
            .insert(id, ProbedFileEntry { target, inode, names: KernelFileNames::default(), kept_by: None, may_go });
        id
    }

    /// A probed file was seen, in this version. False: it is not probed any more.
    /// `called`: by the kernel, where it is mapped.
    pub(super) fn show(
        &mut self,
        id: TargetId,
        seen: SeenAs,
        version: FileVersion,
        called: Option<((u32, u32), u64)>,
    ) -> bool {
        let Some(entry) = self.targets.get_mut(&id) else { return false };
        entry.inode.version = version;
        if entry.names.0.len() < MAX_NAMES {
            entry.names.0.extend(called);
        }
        self.seen.insert(seen, (version, FileVerdict::Target(id)));
        self.refused.remove(&seen);
        true
    }

    /// A probed file has changed, and has its probes anew.
    pub(super) fn replace(&mut self, id: TargetId, target: ProbeTarget, inode: InodeFacts) {
        if let Some(entry) = self.targets.get_mut(&id) {
            entry.target = target;
            entry.inode = inode;
        }
    }

    /// What the kernel calls a probed file where it is mapped.
    pub(super) fn names(&self, id: TargetId) -> KernelFileNames {
        self.targets.get(&id).map(|entry| entry.names.clone()).unwrap_or_default()
    }

    /// Forgets a probed file; its probes go when what is returned is dropped, which takes tens of milliseconds.
    pub(super) fn remove(&mut self, id: TargetId) -> Option<ProbedFileEntry> {
        self.seen.retain(|(_, what)| *what != FileVerdict::Target(id));
        self.targets.remove(&id)
    }

    /// Rows for `inspect probes`: of each probed file, and one of each that was refused.
    pub(super) fn rows(&self, calls: &HashMap<TargetId, CallCounts>, holders: &FileHolders) -> Vec<ProbeRow> {
        let (mut rows, places) = (Vec::new(), holders.places());
        for (id, entry) in &self.targets {
            let calls = calls.get(id).copied().unwrap_or_default();
            let paths = places.get(id).into_iter().flatten().take(MAX_PLACES).map(|place| place.path.to_string());
            let paths: Vec<String> = paths.collect();
            rows.extend(entry.target.rows(calls).into_iter().map(|row| ProbeRow {
                places: paths.clone(),
                processes: Some(holders.count(*id)),
                ..row
            }));
        }
        let refused = self.refused.values();
        rows.extend(refused.map(|file| ProbeRow::refused(&file.path, file.why.reason, &file.why.detail)));
        rows
    }

    /// Files that are refused now, by reason.
    pub(super) fn refusals(&self) -> Vec<(UnseenReason, u64)> {
        let mut counts: HashMap<UnseenReason, u64> = HashMap::new();
        self.refused.values().for_each(|refusal| *counts.entry(refusal.why.reason).or_default() += 1);
        counts.into_iter().collect()
    }
}

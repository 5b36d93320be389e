//! What a mapped file is: from its first sight to its probes.

use std::fs::File;

use super::super::procmaps;
use super::super::targets::ProbeTarget;
use super::super::watch::NewMapping;
use super::case::{FileSystemKind, LocatedFile};
use super::found::{FileContents, TlsFile, in_user_space, out_of_sight, read_image};
use super::inode::InodeFacts;
use super::layer::{self, UnderlyingFile};
use super::open::{OpenRefusal, PathHandle};
use super::payer::payer;
use super::queue::FileJob;
use super::registry::{FileRefusal, FileVerdict, TargetId};
use super::threads::{self, WorkerState};
use super::{SharedFiles, State, release};
use crate::clock;
use capture::elf::{ElfRefusal, OtherTlsStacks};
use capture::stacks::{self, UnseenReason, is_likely};
use capture::units::Ns;

/// A leased file is asked for again after this long: the kernel gives its holder 45 s to give it back.
const LEASED_NS: u64 = 5_000_000_000;

/// A file for which there was no descriptor is asked for again after this long.
const NO_ROOM_NS: u64 = 10_000_000_000;

impl SharedFiles {
    pub(super) fn work_on(&self, job: FileJob, desk: &WorkerState) {
        match job {
            FileJob::Look(mapping) | FileJob::Survey(mapping) => self.look(&mapping, desk),
            FileJob::Process(pid) => self.look_at_process(pid, desk),
            FileJob::Explain(pid) => self.explain(pid, desk),
            FileJob::FallBack(pid) => self.fall_back(pid, desk),
            FileJob::Release(ids) => self.release(&ids, desk),
            FileJob::Purge => self.purge(),
        }
    }

    /// All that a process has mapped.
    fn look_at_process(&self, pid: u32, desk: &WorkerState) {
        let now = clock::now();
        for mapping in procmaps::executable(pid, now) {
            if desk.given_up() {
                return;
            }
            desk.begins(mapping.file());
            self.look(&mapping, desk);
        }
    }

    /// One mapped file.
    pub(super) fn look(&self, mapping: &NewMapping, desk: &WorkerState) {
        let now = clock::now();
        desk.begins(mapping.file());
        let hangs = self.state().hung.hangs(mapping.file(), now);
        if hangs {
            return self.unseen(mapping, UnseenReason::FileDoesNotAnswer, desk);
        }
        let opened = match PathHandle::of(mapping) {
            Ok(opened) => opened,
            Err(why) => return self.unopened(mapping, why, desk),
        };
        let known = self.state().registry.known(opened.seen, opened.version, false, now);
        if let Some(what) = known {
            return self.settle(mapping, &opened, what, desk);
        }
        let payer = payer(mapping.pid, opened.owner);
        // Not within the condition: its guard would live on in the branch.
        let wait = self.state().budget.wait(&payer, now);
        if let Some(wait) = wait {
            let job = if desk.surveys() { FileJob::Survey } else { FileJob::Look };
            return self.state().queue.park(Ns(now.0 + wait), payer, job(mapping.clone()));
        }
        let before = clock::thread_cpu();
        let greedy = self.state().budget.is_greedy(&payer, now);
        if greedy && !desk.surveys() {
            threads::without_hurry(|| self.look_closely(mapping, opened, desk));
        } else {
            self.look_closely(mapping, opened, desk);
        }
        self.state().budget.spend(payer, clock::thread_cpu().saturating_sub(before), now);
    }

    /// A file that does not show itself as one that is known.
    fn look_closely(&self, mapping: &NewMapping, opened: PathHandle, desk: &WorkerState) {
        let seat = layer::seat(&opened, mapping);
        let kind = FileSystemKind::of(&opened, seat.as_ref());
        let overlay = kind == FileSystemKind::Overlay;
        let known = self.state().registry.known(opened.seen, opened.version, overlay, clock::now());
        if let Some(what) = known {
            // So that the next of this container is known at first sight.
            self.state().registry.see(opened.seen, opened.version, what);
            return self.settle(mapping, &opened, what, desk);
        }
        let case = LocatedFile { mapping, opened, seat, overlay, desk };
        if kind == FileSystemKind::Fuse { self.refuse(&case, in_user_space()) } else { self.examine(&case) }
    }

    /// A file that is new, or has changed.
    fn examine(&self, case: &LocatedFile<'_>) {
        // An overlay is not read before it is known what lies below: that may be a server's, and a stranger's.
        let real = case.below();
        let below = real.as_ref().map(|real| case.kind_of(real));
        if below == Some(FileSystemKind::Fuse) {
            return self.refuse(case, in_user_space());
        }
        if below.is_none() && case.overlay && case.is_strangers() {
            return self.refuse(case, out_of_sight());
        }
        if let Some(id) = self.unchanged(case, real.as_ref()) {
            return self.settle(case.mapping, &case.opened, FileVerdict::Target(id), case.desk);
        }
        let file = match case.opened.read() {
            Ok(file) => file,
            Err(why) => return self.unopened(case.mapping, why, case.desk),
        };
        let image = match read_image(&file, case.desk) {
            Ok(Some(image)) => image,
            Ok(None) => return self.plain(case, OtherTlsStacks::default()),
            Err(ElfRefusal { reason, detail, spent }) => {
                return self
                    .refuse(case, FileRefusal { reason: UnseenReason::Elf(reason), detail, cpu_ns: spent.cpu_ns });
            }
        };
        if image.functions.is_empty()
            && stacks::may_hide(&image)
            && !case.desk.surveys()
            && self.kept(case, real.as_ref()).is_none()
            && !image.marks.go
        {
            return self.leave_to_surveys(FileJob::Survey(case.mapping.clone()));
        }
        let marks = image.marks;
        match self.found(case, image, file, real) {
            Ok(FileContents::Tls(found)) => self.probe(case, *found),
            Ok(FileContents::Plain) => self.plain(case, marks),
            Ok(FileContents::Hidden) => self.leave_to_surveys(FileJob::Survey(case.mapping.clone())),
            Err(why) => self.refuse(case, why),
        }
    }

    /// For the thread that looks through whole files.
    pub(super) fn leave_to_surveys(&self, job: FileJob) {
        self.state().queue.add_slow(job);
        self.work.notify_all();
    }

    /// The probed file that this is, if its probes still fit.
    fn unchanged(&self, case: &LocatedFile<'_>, real: Option<&UnderlyingFile>) -> Option<TargetId> {
        let own = real.map_or(case.own(), |real| Some(real.file.seen))?;
        let inode = InodeFacts { own: Some(own), ..case.inode(real, None) };
        let id = self.state().registry.find(&inode)?;
        let same =
            self.state().registry.targets.get(&id).is_some_and(|entry| entry.inode.version == case.opened.version);
        (same || self.fits(id, &case.opened.read().ok()?)).then_some(id)
    }

    /// Has the file still the code where this file's probes are? Read without a lock: a disk may be slow.
    fn fits(&self, id: TargetId, file: &File) -> bool {
        let code = self.state().registry.targets.get(&id).map(|entry| entry.target.code().to_vec());
        code.is_some_and(|code| ProbeTarget::has(file, &code))
    }

    /// Probes a file, unless it is one that is probed already; one that has changed gets its probes anew.
    fn probe(&self, case: &LocatedFile<'_>, found: TlsFile) {
        let _turn = self.attaching.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if case.desk.given_up() {
            return;
        }
        let known = self.state().registry.find(&found.inode);
        if let Some(id) = known {
            if self.fits(id, &found.file) {
                return self.settle(case.mapping, &case.opened, FileVerdict::Target(id), case.desk);
            }
            self.detach(id);
        }
        if !self.make_room() {
            return self.no_room(case);
        }
        let Some(path) = case.path(found.real.as_ref()) else { return self.no_room(case) };
        let seen = (case.mapping.path.clone(), case.mapping.at);
        let target = ProbeTarget::probe(&found, &path.path(), seen, self.strategy, &self.uprobes);
        let TlsFile { inode, real, .. } = found;
        self.add(case, known, target, inode, path.holds_mount || case.may_go(real.is_some()));
    }

    fn add(
        &self,
        case: &LocatedFile<'_>,
        known: Option<TargetId>,
        target: ProbeTarget,
        inode: InodeFacts,
        may_go: bool,
    ) {
        let mut state = self.state();
        let id = match known.filter(|id| state.registry.targets.contains_key(id)) {
            Some(id) => {
                state.registry.replace(id, target, inode);
                state.counters.replaced += 1;
                id
            }
            None => state.registry.add(target, inode, may_go),
        };
        state.holders.unheld(id, clock::now());
        if let Some(entry) = state.registry.targets.get_mut(&id).filter(|_| case.mapping.is_our_guess()) {
            entry.kept_by = Some(case.mapping.path.clone().into());
        }
        drop(state);
        self.settle(case.mapping, &case.opened, FileVerdict::Target(id), case.desk);
    }

    /// The old probes of a file that has changed go before new ones come.
    pub(super) fn detach(&self, id: TargetId) {
        let links = self.state().registry.targets.get_mut(&id).map(|entry| entry.target.take_links());
        release::detach(links.unwrap_or_default());
    }

    /// What a file is, is known: the process that has it mapped learns it.
    fn settle(&self, mapping: &NewMapping, opened: &PathHandle, what: FileVerdict, desk: &WorkerState) {
        let now = clock::now();
        let mut state = self.state();
        if desk.given_up() {
            return;
        }
        if let FileVerdict::Target(id) = what
            && !state.registry.show(id, opened.seen, opened.version, mapping.file())
        {
            // It was let go of meanwhile.
            return state.queue.add(FileJob::Look(mapping.clone()));
        }
        state.remember(mapping, opened.seen, what, now);
        state.uses(mapping, what);
    }

    fn plain(&self, case: &LocatedFile<'_>, marks: OtherTlsStacks) {
        let gone = {
            let mut state = self.state();
            if case.desk.given_up() {
                return;
            }
            state.registry.plain(case.opened.seen, case.opened.version, marks, case.overlay);
            // A file that was probed and is none any more.
            let inode = case.inode(None, None);
            let was = state.registry.find(&inode).filter(|_| case.own().is_some());
            was.and_then(|id| state.forget(id))
        };
        release::detach(gone.map(|mut entry| entry.target.take_links()).unwrap_or_default());
        self.settle(case.mapping, &case.opened, FileVerdict::Plain(marks), case.desk);
    }

    fn refuse(&self, case: &LocatedFile<'_>, why: FileRefusal) {
        let reason = why.reason;
        let refused = self.state().registry.is_refused(case.opened.seen, reason);
        if is_likely(&case.mapping.path) && !refused {
            let reason = reason.name();
            tracing::warn!(file = case.mapping.path, reason, detail = why.detail, "a mapped file is not looked at");
        } else {
            let reason = reason.name();
            tracing::debug!(file = case.mapping.path, reason, detail = why.detail, "a mapped file is not looked at");
        }
        let now = clock::now();
        self.state().registry.refuse(case.opened.seen, case.opened.version, &case.mapping.path, why, now);
        self.settle(case.mapping, &case.opened, FileVerdict::Refused(reason), case.desk);
    }

    /// No descriptor is left, and no idle file to take one from.
    fn no_room(&self, case: &LocatedFile<'_>) {
        self.unopened(case.mapping, OpenRefusal::NoRoom, case.desk);
    }

    /// It is looked at again later, and not seen until then.
    fn again(&self, mapping: &NewMapping, in_ns: u64, reason: UnseenReason, desk: &WorkerState) {
        let payer = payer(mapping.pid, 0);
        self.state().queue.park(Ns(clock::now().0 + in_ns), payer, FileJob::Look(mapping.clone()));
        self.unseen(mapping, reason, desk);
    }

    fn unopened(&self, mapping: &NewMapping, why: OpenRefusal, desk: &WorkerState) {
        match why {
            OpenRefusal::Gone | OpenRefusal::NoFile => {}
            OpenRefusal::Leased => self.again(mapping, LEASED_NS, UnseenReason::FileLeased, desk),
            OpenRefusal::NoRoom => {
                self.state().counters.lacks_room();
                self.again(mapping, NO_ROOM_NS, UnseenReason::NoDescriptors, desk);
            }
            OpenRefusal::Forbidden | OpenRefusal::Failed(_) => {
                self.state().counters.unreadable += 1;
                tracing::debug!(file = mapping.path, pid = mapping.pid, ?why, "a mapped file cannot be opened");
                // Libraries that have nothing to do with TLS say nothing of the process.
                if is_likely(&mapping.path) {
                    self.unseen(mapping, UnseenReason::FileUnreadable, desk);
                }
            }
        }
    }

    fn unseen(&self, mapping: &NewMapping, reason: UnseenReason, desk: &WorkerState) {
        let mut state = self.state();
        if !desk.given_up() {
            state.uses(mapping, FileVerdict::Refused(reason));
        }
    }
}

impl State {
    /// A file is not probed any more.
    pub(super) fn forget(&mut self, id: TargetId) -> Option<super::registry::ProbedFileEntry> {
        self.holders.forget(id);
        self.recent.retain(|_, (_, what)| *what != FileVerdict::Target(id));
        self.registry.remove(id)
    }
}

//! Probes whose captures cannot be right go back to the public symbols.

use super::super::procmaps;
use super::super::targets::ProbeTarget;
use super::super::watch::NewMapping;
use super::SharedFiles;
use super::case::{FileSystemKind, LocatedFile};
use super::found::{FileContents, read_image};
use super::layer;
use super::open::PathHandle;
use super::queue::FileJob;
use super::registry::{FileVerdict, TargetId};
use super::threads::WorkerState;
use crate::clock;
use capture::stacks::PlacementStrategy;

impl SharedFiles {
    /// The libraries of a process get their probes at the public symbols.
    pub(super) fn fall_back(&self, pid: u32, desk: &WorkerState) {
        let now = clock::now();
        for mapping in procmaps::executable(pid, now) {
            desk.begins(mapping.file());
            let Ok(opened) = PathHandle::of(&mapping) else { continue };
            let known = self.state().registry.known(opened.seen, opened.version, true, now);
            let Some(FileVerdict::Target(id)) = known else { continue };
            if self.state().registry.targets.get(&id).is_some_and(|entry| entry.target.can_fall_back()) {
                self.fall_back_at(id, &mapping, opened, desk);
            }
        }
    }

    fn fall_back_at(&self, id: TargetId, mapping: &NewMapping, opened: PathHandle, desk: &WorkerState) {
        let _turn = self.attaching.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Ok(file) = opened.read() else { return };
        let Ok(Some(image)) = read_image(&file, desk) else { return };
        let seat = layer::seat(&opened, mapping);
        let overlay = FileSystemKind::of(&opened, seat.as_ref()) == FileSystemKind::Overlay;
        let case = LocatedFile { mapping, opened, seat, overlay, desk };
        let found = match self.found(&case, image, file, case.below()) {
            Ok(FileContents::Tls(found)) => found,
            Ok(FileContents::Hidden) => return self.leave_to_surveys(FileJob::FallBack(mapping.pid)),
            Ok(FileContents::Plain) | Err(_) => return,
        };
        let is_it = self.state().registry.targets.get(&id).is_some_and(|entry| entry.inode.is(&found.inode));
        let Some(path) = case.path(found.real.as_ref()).filter(|_| is_it) else { return };
        tracing::warn!(library = mapping.path, "captured lengths cannot be right; falling back to the public symbols");
        self.detach(id);
        let seen = (mapping.path.clone(), mapping.at);
        let mut target = ProbeTarget::probe(&found, &path.path(), seen, PlacementStrategy::Symbol, &self.uprobes);
        target.explain_fall_back();
        let mut state = self.state();
        let Some(inode) = state.registry.targets.get(&id).map(|entry| entry.inode.clone()) else { return };
        state.registry.replace(id, target, inode);
    }
}

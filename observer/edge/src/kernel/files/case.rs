//! One file that was opened: where it lies, what lies below it, and which inode it is.

use super::super::watch::NewMapping;
use super::handle::InodeHandle;
use super::inode::InodeFacts;
use super::layer::{self, MountedPath, UnderlyingFile};
use super::open::{PathHandle, SeenAs};
use super::pin::{self, ProbePath};
use super::threads::WorkerState;

/// A file that was opened, with all that is known of where it lies.
pub(super) struct LocatedFile<'a> {
    pub(super) mapping: &'a NewMapping,
    pub(super) opened: PathHandle,
    pub(super) seat: Option<MountedPath>,
    /// It is seen through an overlay, or through something that we cannot tell from one.
    pub(super) overlay: bool,
    pub(super) desk: &'a WorkerState,
}

impl LocatedFile<'_> {
    /// The file in the layer; where that is an overlay's again, the one below it.
    pub(super) fn below(&self) -> Option<UnderlyingFile> {
        if !self.overlay {
            return None;
        }
        let mut real = layer::below(&self.opened, self.seat.as_ref(), self.mapping.pid)?;
        for _ in 1..STACKED {
            let seat = layer::seat(&real.file, self.mapping);
            if FileSystemKind::of(&real.file, seat.as_ref()) != FileSystemKind::Overlay {
                break;
            }
            let Some(deeper) = layer::below(&real.file, seat.as_ref(), self.mapping.pid) else { break };
            real = deeper;
        }
        Some(real)
    }

    pub(super) fn kind_of(&self, real: &UnderlyingFile) -> FileSystemKind {
        FileSystemKind::of(&real.file, layer::seat(&real.file, self.mapping).as_ref())
    }

    /// Could somebody else than the host's root have mounted what it is seen through? Whoever has a
    /// user namespace may mount overlays, over a file system of his own in user space if he likes.
    pub(super) fn is_strangers(&self) -> bool {
        let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
        self.seat.is_none() || space("self").is_none_or(|ours| space(&self.mapping.pid.to_string()) != Some(ours))
    }

    /// Device and number of the real inode, if this is it.
    pub(super) fn own(&self) -> Option<SeenAs> {
        (!self.overlay).then_some(self.opened.seen)
    }

    pub(super) fn inode(&self, real: Option<&UnderlyingFile>, build_id: Option<String>) -> InodeFacts {
        let file = real.map_or(&self.opened, |real| &real.file);
        InodeFacts {
            own: real.map(|real| real.file.seen).or(self.own()),
            handle: InodeHandle::of(file),
            number: file.seen.inode,
            version: file.version,
            build_id,
        }
    }

    /// A path for the probes.
    pub(super) fn path(&self, real: Option<&UnderlyingFile>) -> Option<ProbePath> {
        if let Some(real) = real {
            let seat = layer::seat(&real.file, self.mapping);
            return pin::path_to(&real.file, real.through, seat.as_ref());
        }
        pin::path_to(&self.opened, Some(self.mapping.pid), self.seat.as_ref().filter(|_| !self.overlay))
    }

    /// Does it lie on a file system that somebody may want to take away: not the one we live on, or
    /// an overlay itself? A layer of an image is nobody's to unmount.
    pub(super) fn may_go(&self, in_layer: bool) -> bool {
        if self.overlay {
            return !in_layer;
        }
        let ours = rustix::fs::stat("/").map(|root| (rustix::fs::major(root.st_dev), rustix::fs::minor(root.st_dev)));
        ours.is_ok_and(|ours| ours != self.opened.seen.device)
    }
}

/// Overlays of overlays: the kernel stacks no more than two file systems.
const STACKED: usize = 2;

/// Kinds of file systems that are to be treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystemKind {
    Overlay,
    /// Its server is a program, whoever started it.
    Fuse,
    Other,
}

impl FileSystemKind {
    /// Where the list of mounts does not tell (a mount that was taken away while its files are in
    /// use, or is in nobody's namespace), the file system itself is asked.
    pub(super) fn of(file: &PathHandle, seat: Option<&MountedPath>) -> FileSystemKind {
        match seat {
            Some(seat) => FileSystemKind::called(&seat.mount.kind),
            None => {
                rustix::fs::fstatfs(file).map_or(FileSystemKind::Fuse, |facts| FileSystemKind::numbered(facts.f_type))
            }
        }
    }

    /// `fuse`, `fuse.sshfs`, `fuseblk`; virtiofs is another kind: its server is the hypervisor.
    fn called(kind: &str) -> FileSystemKind {
        match kind {
            "overlay" => FileSystemKind::Overlay,
            "fuse" | "fuseblk" => FileSystemKind::Fuse,
            kind if kind.starts_with("fuse.") => FileSystemKind::Fuse,
            _ => FileSystemKind::Other,
        }
    }

    /// linux/magic.h
    fn numbered(magic: i64) -> FileSystemKind {
        match magic {
            0x794c_7630 => FileSystemKind::Overlay,
            0x6573_5546 => FileSystemKind::Fuse,
            _ => FileSystemKind::Other,
        }
    }
}

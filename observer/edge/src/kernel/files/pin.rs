//! A path by which the kernel finds a file to probe without holding anybody's mount.
//!
//! A probe's link holds the path it was attached by, mount and all, as long as it lives. So that a
//! container can be removed and a file system unmounted meanwhile, the path leads through a copy of
//! the mount that is in no namespace (`open_tree`, Linux 5.2): unmounting the original does not
//! wait for it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::layer::{MountedPath, find_in};
use super::open::PathHandle;
use capture::mounts::{self, MountEntry};

/// A path for as long as this lives.
#[derive(Debug)]
pub(super) struct ProbePath {
    held: OwnedFd,
    /// It keeps a mount of somebody else's busy: what is attached by it should go soon.
    pub(super) holds_mount: bool,
}

impl ProbePath {
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.held.as_raw_fd()))
    }
}

/// The best path to a file: by a copy of its mount here; by another name of it in our namespace; by
/// a copy made in the namespace it lies in; and only then by its mount itself. `None`: we ran out
/// of descriptors.
///
/// `through`: the process in whose namespace the file was found; `None`: ours. `seat`: where it lies, if that is known.
pub(super) fn path_to(file: &PathHandle, through: Option<u32>, seat: Option<&MountedPath>) -> Option<ProbePath> {
    let free = |held| ProbePath { held, holds_mount: false };
    if let Some(copy) = copy_of(file) {
        return Some(free(copy));
    }
    if let Some(copy) = seat.and_then(|seat| elsewhere(file, seat)).as_ref().and_then(copy_of) {
        return Some(free(copy));
    }
    if let Some(copy) = through.and_then(|pid| copied_there(pid, file)) {
        return Some(free(copy));
    }
    Some(ProbePath { held: file.as_fd().try_clone_to_owned().ok()?, holds_mount: true })
}

/// A copy of a file's mount, if that is in our namespace and we may (CAP_SYS_ADMIN).
fn copy_of(file: impl AsFd) -> Option<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(file, c"", flags).ok()
}

/// The same inode through a mount of our own namespace: another mount of the same file system that shows it.
fn elsewhere(file: &PathHandle, seat: &MountedPath) -> Option<PathHandle> {
    let shows = |mount: &MountEntry| {
        let below = seat.path.strip_prefix(&mount.root).ok()?;
        let place =
            open(mounts::joined_path(&mount.point, below), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        PathHandle::at(place).ok().filter(|found| found.seen == file.seen && found.version == file.version)
    };
    let mut found = None;
    find_in(Path::new("/proc/self/mountinfo"), |mount| {
        if mount.device == seat.mount.device {
            found = shows(mount);
        }
        found.is_some()
    });
    found
}

/// A copy of the mount, made by a thread that enters the namespace of `pid` and ends there.
fn copied_there(pid: u32, file: &PathHandle) -> Option<OwnedFd> {
    let space = open(format!("/proc/{pid}/ns/mnt"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let enter = || {
        // SAFETY: this thread alone gets root and working directory of its own; it uses neither, and ends here.
        (unsafe { libc::unshare(libc::CLONE_FS) } == 0).then_some(())?;
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Mount)).ok()?;
        copy_of(file)
    };
    std::thread::scope(|scope| scope.spawn(enter).join().ok().flatten())
}

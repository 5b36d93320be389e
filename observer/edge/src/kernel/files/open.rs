//! The one way in which a mapped file is opened: a handle first, which calls nothing of the file or
//! its server, then everything by that.
//!
//! The files are strangers'. A write lease, a FIFO in its place, a server that hangs or a name that
//! leads elsewhere in our own root must neither stop the daemon nor make it read what the process
//! did not map.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, open, openat2, statx};
use rustix::io::Errno;

use super::super::watch::NewMapping;

/// Device and inode by which a file shows itself through the mount it is seen through. An overlay shows its own device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SeenAs {
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
}

/// What a file's content may be told apart by without reading it. The kernel alone sets `changed_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileVersion {
    pub(super) size: u64,
    pub(super) modified_ns: i128,
    pub(super) changed_ns: i128,
}

/// A file that was opened as a place (`O_PATH`): it is held, but not in use.
#[derive(Debug)]
pub(super) struct PathHandle {
    place: OwnedFd,
    pub(super) seen: SeenAs,
    pub(super) version: FileVersion,
    /// Who owns the file: who may change it and its times.
    pub(super) owner: u32,
    /// The mount it was reached through, as `mountinfo` counts; `None` where the kernel does not tell.
    pub(super) mount: Option<u64>,
}

/// Why a file is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenRefusal {
    /// The process, the mapping or the name is gone: nothing is left to look at.
    Gone,
    /// The kernel refuses it to us: a capability is missing, or a file system that is for its owner alone.
    Forbidden,
    /// It is no regular file.
    NoFile,
    /// Somebody holds a lease on it, which the kernel takes back before anybody else may read.
    Leased,
    /// We ran out of descriptors.
    NoRoom,
    /// Anything else, by its number.
    Failed(i32),
}

impl From<Errno> for OpenRefusal {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::SRCH | Errno::NOTDIR | Errno::STALE => OpenRefusal::Gone,
            Errno::ACCESS | Errno::PERM => OpenRefusal::Forbidden,
            Errno::AGAIN => OpenRefusal::Leased,
            Errno::MFILE | Errno::NFILE => OpenRefusal::NoRoom,
            other => OpenRefusal::Failed(other.raw_os_error()),
        }
    }
}

impl PathHandle {
    /// The very file that is mapped: through the mapping itself (right even if the file was
    /// replaced); where the kernel does not show that, by its path in the root of the process, if
    /// the inode there is the one that is mapped.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn of(mapping: &NewMapping) -> Result<PathHandle, OpenRefusal> {
        let NewMapping { pid, start, end, .. } = mapping;
        if *pid == std::process::id() && *end == 0 {
            return PathHandle::at(open(mapping.path.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
        }
        let shown = format!("/proc/{pid}/map_files/{start:x}-{end:x}");
        match open(shown, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(place) => PathHandle::at(place),
            Err(first) => PathHandle::by_name(mapping).map_err(|second| match second {
                OpenRefusal::Gone if OpenRefusal::from(first) == OpenRefusal::Forbidden => OpenRefusal::Forbidden,
                _ => second,
            }),
        }
    }

    fn by_name(mapping: &NewMapping) -> Result<PathHandle, OpenRefusal> {
        let root = PathBuf::from(format!("/proc/{}/root", mapping.pid));
        let root = open(&root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let opened = PathHandle::below(root.as_fd(), mapping.path.as_str().as_ref())?;
        match mapping.inode {
            Some(inode) if inode != opened.seen.inode => Err(OpenRefusal::Gone),
            _ => Ok(opened),
        }
    }

    /// A path in another root, whose links cannot lead out of it.
    pub(super) fn below(root: BorrowedFd<'_>, path: &std::path::Path) -> Result<PathHandle, OpenRefusal> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        PathHandle::at(openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// What there is to know of a place without asking a server or a disk.
    pub(super) fn at(place: OwnedFd) -> Result<PathHandle, OpenRefusal> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let facts = statx(&place, c"", flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
        if u32::from(facts.stx_mode) & libc::S_IFMT != libc::S_IFREG {
            return Err(OpenRefusal::NoFile);
        }
        let told = facts.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        let ns = |at: rustix::fs::StatxTimestamp| i128::from(at.tv_sec) * 1_000_000_000 + i128::from(at.tv_nsec);
        Ok(PathHandle {
            seen: SeenAs { device: (facts.stx_dev_major, facts.stx_dev_minor), inode: facts.stx_ino },
            version: FileVersion {
                size: facts.stx_size,
                modified_ns: ns(facts.stx_mtime),
                changed_ns: ns(facts.stx_ctime),
            },
            owner: facts.stx_uid,
            mount: told.then_some(facts.stx_mnt_id),
            place,
        })
    }

    /// The number of its mount that is never given to another one (Linux 6.8).
    pub(super) fn mount_for_good(&self) -> Option<u64> {
        // Linux: include/uapi/linux/stat.h, STATX_MNT_ID_UNIQUE.
        let unique = StatxFlags::from_bits_retain(0x4000);
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let facts = statx(&self.place, c"", flags, unique).ok()?;
        (facts.stx_mask & unique.bits() != 0).then_some(facts.stx_mnt_id)
    }

    /// The file, to be read: never waits for a lease to be given back.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn read(&self) -> Result<File, OpenRefusal> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(open(self.path(), flags, Mode::empty())?))
    }

    /// A path that leads to this very file as long as this is held.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.place.as_raw_fd()))
    }

    /// Its path as the kernel tells it to us: from our root, or from the root of the mount namespace it lies in.
    pub(super) fn kernel_path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(self.path())
    }
}

impl AsFd for PathHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }
}

/// A folder, as a place.
pub(super) fn folder(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

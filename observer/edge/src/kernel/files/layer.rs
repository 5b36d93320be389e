//! The file below an overlay: the layer's own file, whose inode is the one that the kernel maps and probes.
//!
//! Every container of an image sees its files through an overlay mount of its own, with a device
//! number of its own. The kernel puts a probe on the inode in the layer, so the layer's file tells
//! which files are one, and it is the path by which probes are attached without holding the
//! container's mount. Whatever name leads to it is believed only if size and both times are those
//! that the overlay shows: an overlay shows those of the layer's inode, and the time of change
//! cannot be set by anybody.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::super::family::asked;
use super::super::watch::NewMapping;
use super::handle::InodeHandle;
use super::open::{PathHandle, folder};
use capture::mounts::{self, MountEntry};

/// A file where it really lies.
#[derive(Debug)]
pub(super) struct UnderlyingFile {
    pub(super) file: PathHandle,
    /// The process in whose mount namespace it was found; `None`: ours.
    pub(super) through: Option<u32>,
}

/// Where a file was seen: the mount, and the file's path in that file system.
#[derive(Debug)]
pub(super) struct MountedPath {
    pub(super) mount: MountEntry,
    pub(super) path: PathBuf,
}

/// A root from which the paths of layers may be meant.
struct Root {
    path: PathBuf,
    /// Whose root it is; `None`: ours.
    pid: Option<u32>,
}

/// Processes above one that are asked: a container engine in a container is a few steps up (client, shim, engine).
const ANCESTORS: usize = 6;

/// Folders that engines mount from with relative paths when the list of layers would not fit a page otherwise.
const ENGINES: &[&str] = &[
    "/var/lib/docker/overlay2",
    "/var/lib/containers/storage/overlay",
    "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
    "/var/lib/rancher/k3s/agent/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
    "/var/lib/rancher/rke2/agent/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
    "/var/lib/k0s/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
    "/var/snap/microk8s/common/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
];

/// Folders above an absolute layer that relative ones of the same mount may be meant from.
const ABOVE: usize = 4;

/// Where a file lies, by the lists of mounts of ours and of the process. `None`: its mount is in
/// neither (taken away lazily), or the file has no name any more.
pub(super) fn seat(opened: &PathHandle, mapping: &NewMapping) -> Option<MountedPath> {
    let told = living(opened.kernel_path().ok()?);
    let MountCandidate { mount, ours } = listed(opened, mapping.pid)?;
    let below = |path: &Path| mount.in_file_system(path);
    let path = if ours { below(&told) } else { below(Path::new(&mapping.path)).or_else(|| below(&told)) };
    Some(MountedPath { path: path?, mount })
}

/// A mount, and whether it is in our list: then its point is as seen from our root.
#[derive(Clone, Debug)]
struct MountCandidate {
    mount: MountEntry,
    ours: bool,
}

thread_local! {
    /// Mounts that this thread has found, by the number that is never given to another one: a
    /// container's start maps a hundred files through one mount, and a busy node has thousands of
    /// mounts to search.
    static FOUND: RefCell<HashMap<u64, MountCandidate>> = RefCell::default();
}

/// Mounts remembered; beyond it all are forgotten, and found again.
const MAX_FOUND: usize = 512;

fn listed(opened: &PathHandle, pid: u32) -> Option<MountCandidate> {
    let lasting = opened.mount_for_good();
    if let Some(found) = lasting.and_then(|id| FOUND.with_borrow(|found| found.get(&id).cloned())) {
        return Some(found);
    }
    let id = opened.mount?;
    let search = |list: &str| find_in(Path::new(list), |mount| mount.id == id);
    let ours = search("/proc/self/mountinfo").map(|mount| MountCandidate { mount, ours: true });
    let theirs = || search(&format!("/proc/{pid}/mountinfo")).map(|mount| MountCandidate { mount, ours: false });
    let listed = ours.or_else(theirs)?;
    if let Some(id) = lasting {
        FOUND.with_borrow_mut(|found| {
            if found.len() >= MAX_FOUND {
                found.clear();
            }
            found.insert(id, listed.clone());
        });
    }
    Some(listed)
}

/// The first mount of this list that is `wanted`.
pub(super) fn find_in(list: &Path, wanted: impl FnMut(&MountEntry) -> bool) -> Option<MountEntry> {
    mounts::find(BufReader::new(File::open(list).ok()?.take(MAX_LIST)), wanted)
}

/// Bytes read of a `mountinfo`: a hundred thousand mounts (the kernel's own limit for a namespace)
/// of ordinary length would be 20 MB; a busy node has 2 MB.
const MAX_LIST: u64 = 16 << 20;

/// The kernel marks a name that is gone, behind the name; in a layer the file may still be there.
fn living(told: PathBuf) -> PathBuf {
    match told.to_str().and_then(|told| told.strip_suffix(" (deleted)")) {
        Some(name) => PathBuf::from(name),
        None => told,
    }
}

/// The layer's file below an overlay's. `None`: no layer that we can reach has it.
pub(super) fn below(overlay: &PathHandle, seat: Option<&MountedPath>, pid: u32) -> Option<UnderlyingFile> {
    seat.and_then(|seat| by_name(overlay, seat, pid)).or_else(|| by_handle(overlay))
}

fn by_name(overlay: &PathHandle, seat: &MountedPath, pid: u32) -> Option<UnderlyingFile> {
    let layers = seat.mount.layers().dirs;
    let bases = bases(&layers, pid);
    roots(pid).into_iter().find_map(|root| {
        let dirs: Vec<_> = layers.iter().map(|layer| open_layer(&root, layer, &bases)).collect();
        let file = topmost(overlay, &dirs, &seat.path)?;
        Some(UnderlyingFile { file, through: root.pid })
    })
}

/// The layer's file by what its file system calls it, on one of the file systems that we have
/// mounted: for layers whose folders have no name that we can find.
fn by_handle(overlay: &PathHandle) -> Option<UnderlyingFile> {
    let handle = InodeHandle::of(overlay)?;
    let (mut asked, mut found) = (Vec::new(), None);
    find_in(Path::new("/proc/self/mountinfo"), |mount| {
        if !LAYERED.contains(&mount.kind.as_str()) || asked.contains(&mount.device) || asked.len() >= MAX_ASKED {
            return false;
        }
        asked.push(mount.device);
        // Not as a place: the kernel wants a folder that is open.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&mount.point, flags, Mode::empty()).ok();
        let file = folder.and_then(|folder| PathHandle::at(handle.open_on(folder)?).ok());
        found = file.filter(|file| file.version == overlay.version);
        found.is_some()
    });
    Some(UnderlyingFile { file: found?, through: None })
}

/// File systems that engines keep layers on, and that answer by themselves.
const LAYERED: &[&str] = &["ext4", "xfs", "btrfs", "f2fs", "tmpfs", "zfs", "bcachefs", "erofs"];

/// File systems asked for a handle; a node has a handful.
const MAX_ASKED: usize = 16;

/// The topmost layer that has the file; one that only has its attributes (metacopy) leads on to those below.
fn topmost(overlay: &PathHandle, dirs: &[Option<rustix::fd::OwnedFd>], path: &Path) -> Option<PathHandle> {
    let (mut path, mut attributes_alone) = (path.to_path_buf(), false);
    for dir in dirs.iter().flatten() {
        let Ok(found) = in_layer(dir, &path) else { continue };
        // A layer's path meant from a root that is this very overlay leads back to it.
        if found.seen.device == overlay.seen.device {
            continue;
        }
        if let Some(redirect) = metacopy(&found) {
            attributes_alone = true;
            path = redirected(&path, &redirect);
            continue;
        }
        let same = if attributes_alone {
            found.version.size == overlay.version.size
        } else {
            found.version == overlay.version
        };
        if same {
            return Some(found);
        }
    }
    None
}

/// The name is that of the merged tree, in which no component is a link.
fn in_layer(dir: impl AsFd, path: &Path) -> Result<PathHandle, super::open::OpenRefusal> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    PathHandle::at(openat2(dir, below, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Where the data of a file lies whose attributes alone were copied up: empty for the same name.
/// `None`: it has its data.
fn metacopy(file: &PathHandle) -> Option<Vec<u8>> {
    ["trusted.overlay", "user.overlay"].iter().find_map(|space| {
        let value = |name: &str, room: usize| {
            let mut value = vec![0; room];
            let len = rustix::fs::getxattr(file.path(), format!("{space}.{name}"), &mut value).ok()?;
            value.truncate(len);
            Some(value)
        };
        value("metacopy", METACOPY_BYTES)?;
        Some(value("redirect", libc::PATH_MAX as usize).unwrap_or_default())
    })
}

/// `struct ovl_metacopy` with the largest digest.
const METACOPY_BYTES: usize = 4 + 64;

/// `redirect` is an absolute path in the layers below, or another last component.
fn redirected(path: &Path, redirect: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let to = Path::new(std::ffi::OsStr::from_bytes(redirect));
    match redirect {
        [] => path.to_path_buf(),
        [b'/', ..] => to.to_path_buf(),
        _ => path.with_file_name(to),
    }
}

fn open_layer(root: &Root, layer: &Path, bases: &[PathBuf]) -> Option<rustix::fd::OwnedFd> {
    if layer.is_absolute() {
        return open_in(root, layer);
    }
    bases.iter().find_map(|base| open_in(root, &base.join(layer)))
}

fn open_in(root: &Root, dir: &Path) -> Option<rustix::fd::OwnedFd> {
    if root.pid.is_none() {
        return folder(dir).ok();
    }
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(folder(&root.path).ok()?, dir, flags, Mode::empty(), resolve).ok()
}

/// Folders that relative layers may be meant from: those above the absolute ones of the same mount,
/// where engines keep theirs, and where the processes that may have mounted it stand.
fn bases(layers: &[PathBuf], pid: u32) -> Vec<PathBuf> {
    if layers.iter().all(|layer| layer.is_absolute()) {
        return Vec::new();
    }
    let absolute = layers.iter().filter(|layer| layer.is_absolute());
    let above = absolute.flat_map(|layer| layer.ancestors().skip(1).take(ABOVE)).map(Path::to_path_buf);
    let stand = ancestors(pid).filter_map(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).ok());
    above.chain(ENGINES.iter().map(PathBuf::from)).chain(stand).collect()
}

/// Ours first, where probes can be attached without entering a namespace; then the host's, where we
/// live in a container; then that of the process and of those above it, one of which mounted the
/// overlay.
fn roots(pid: u32) -> Vec<Root> {
    let others = std::iter::once(1).chain(ancestors(pid)).filter(|pid| *pid != std::process::id());
    let of = |pid: u32| Root { path: format!("/proc/{pid}/root").into(), pid: Some(pid) };
    std::iter::once(Root { path: "/".into(), pid: None }).chain(others.map(of)).collect()
}

/// A process and those above it.
fn ancestors(pid: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(pid), |pid| asked(*pid).filter(|parent| *parent > 1)).take(ANCESTORS)
}

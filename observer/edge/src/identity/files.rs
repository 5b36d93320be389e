//! Files below the host's root, and below strangers' homes in it: opened without blocking, looked
//! at, then read up to a limit. Links lead nowhere outside of that root, so that an absolute one is
//! the host's and not ours.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};

/// Names taken from a folder: containerd's namespaces, storage drivers.
const MAX_NAMES: usize = 64;

/// The host's root.
pub(super) struct HostRoot {
    fd: OwnedFd,
    /// Who the host's own files belong to: root.
    owner: u32,
}

impl HostRoot {
    /// # Errors
    /// Those of the kernel: no such folder, or `/proc/1/root` where it is closed to us.
    pub(super) fn open(path: &Path) -> io::Result<HostRoot> {
        let fd = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let owner = fstat(&fd)?.st_uid;
        Ok(HostRoot { fd, owner })
    }

    /// A file of root's that nobody else can write to; `None`: there is none.
    pub(super) fn read(&self, path: &str, limit: u64) -> Option<String> {
        let file = openat2(&self.fd, relative(path), FLAGS, Mode::empty(), HOST).ok()?;
        let stat = fstat(&file).ok()?;
        // The user's own group may write to a user's files, but none to root's.
        rooted(&stat, self.owner).then(|| text(file, self.owner, limit)).flatten()
    }

    /// A file of `user`'s below his home, reached through none of his links. May block for as long
    /// as his file system does.
    pub(super) fn read_users(&self, home: &str, path: &str, user: u32, limit: u64) -> Option<String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let home = openat2(&self.fd, relative(home), flags, Mode::empty(), HOST).ok()?;
        let file = openat2(&home, relative(path), FLAGS, Mode::empty(), THEIRS).ok()?;
        text(file, user, limit)
    }

    /// Names in a folder.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(fd) = openat2(&self.fd, relative(path), flags, Mode::empty(), HOST) else { return Vec::new() };
        let Ok(dir) = Dir::new(fd) else { return Vec::new() };
        let names = dir.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        names.filter(|name| !name.starts_with('.')).take(MAX_NAMES).collect()
    }

    /// Whether there is such a folder.
    pub(super) fn has(&self, path: &str) -> bool {
        openat2(&self.fd, relative(path), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), HOST).is_ok()
    }

    /// Whether `path`, through no links, is the file `inode` of `device`, and root alone can change
    /// what lies there, from the root down.
    pub(super) fn is_own(&self, path: &str, (device, inode): (u64, u64)) -> bool {
        let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).collect();
        ends.push(path.len());
        let mut last = None;
        for end in ends {
            let Some(part) = path.get(..end) else { return false };
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let found = openat2(&self.fd, relative(part), flags, Mode::empty(), HOST | ResolveFlags::NO_SYMLINKS);
            let Ok(stat) = found.and_then(fstat) else { return false };
            if !rooted(&stat, self.owner) {
                return false;
            }
            last = Some((stat.st_dev, stat.st_ino));
        }
        last == Some((device, inode))
    }
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const HOST: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const THEIRS: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// `openat2` refuses an absolute path below a folder in some modes; below a root they mean the same.
fn relative(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    if path.is_empty() { "." } else { path }
}

fn rooted(stat: &rustix::fs::Stat, owner: u32) -> bool {
    let others = stat.st_mode & 0o002 != 0 || stat.st_mode & 0o020 != 0 && stat.st_gid != 0;
    stat.st_uid == owner && !others
}

/// What is in a regular file of `owner`'s; a longer one than `limit` is none of the files that are looked for here.
fn text(fd: OwnedFd, owner: u32, limit: u64) -> Option<String> {
    let stat = fstat(&fd).ok()?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular || stat.st_uid != owner || stat.st_mode & 0o002 != 0 {
        return None;
    }
    let mut bytes = Vec::new();
    let read = File::from(fd).take(limit.saturating_add(1)).read_to_end(&mut bytes).ok()?;
    // Not copied when it is text, as nearly always.
    let lossy = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    };
    (read as u64 <= limit).then(|| lossy(bytes))
}

/// Device and inode of the file behind a magic link of /proc, and whether root alone can write to it. May block.
pub(super) fn program(link: &Path) -> Option<((u64, u64), bool)> {
    let fd = rustix::fs::openat(CWD, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&fd).ok()?;
    Some(((stat.st_dev, stat.st_ino), rooted(&stat, 0)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn root() -> (tempfile::TempDir, HostRoot) {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn links_stay_in_the_hosts_root() {
        let (dir, root) = root();
        std::fs::create_dir_all(dir.path().join("data/docker")).unwrap();
        std::fs::create_dir_all(dir.path().join("var/lib")).unwrap();
        std::fs::write(dir.path().join("data/docker/a"), "here").unwrap();
        symlink("/data/docker", dir.path().join("var/lib/docker")).unwrap();
        symlink("/etc/passwd", dir.path().join("var/lib/out")).unwrap();
        assert_eq!(root.read("/var/lib/docker/a", 100).as_deref(), Some("here"));
        assert_eq!(root.read("/var/lib/out", 100_000), None, "ours is not the host's");
        assert_eq!(root.read("/../../../../etc/passwd", 100_000), None);
        assert_eq!(root.read("/var/lib/docker/a", 3), None, "too long");
        assert_eq!(root.list("/var/lib").len(), 2);
        assert!(root.has("/var/lib/docker") && !root.has("/var/lib/docker/b"));
    }

    /// No file of another kind is waited for, and none that others write to is believed.
    #[test]
    fn strange_files_are_none() {
        let (dir, root) = root();
        let pipe = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let file = dir.path().join("open");
        std::fs::write(&file, "x").unwrap();
        assert!(root.read("/open", 10).is_some());
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!((root.read("/fifo", 10), root.read("/open", 10)), (None, None));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o660)).unwrap();
        assert!(root.read("/open", 10).is_some(), "the group is root's own");
        if std::os::unix::fs::chown(&file, None, Some(1000)).is_ok() {
            assert_eq!(root.read("/open", 10), None, "a group may write to it");
        }
    }

    #[test]
    fn of_a_users_links_none_is_followed() {
        let (dir, root) = root();
        let user = std::fs::metadata(dir.path()).unwrap().uid();
        std::fs::create_dir_all(dir.path().join("home/me/.local")).unwrap();
        std::fs::create_dir_all(dir.path().join("secret")).unwrap();
        std::fs::write(dir.path().join("secret/list"), "root's").unwrap();
        std::fs::write(dir.path().join("home/me/.local/list"), "mine").unwrap();
        symlink("/secret", dir.path().join("home/me/share")).unwrap();
        symlink("../../secret/list", dir.path().join("home/me/list")).unwrap();
        assert_eq!(root.read_users("/home/me", ".local/list", user, 10).as_deref(), Some("mine"));
        assert_eq!(root.read_users("/home/me", ".local/list", user + 1, 10), None, "it is not his");
        for path in ["share/list", "list", "../../secret/list"] {
            assert_eq!(root.read_users("/home/me", path, user, 10), None, "{path}");
        }
    }

    #[test]
    fn a_program_is_the_hosts_own_only_where_root_alone_writes() {
        let (dir, root) = root();
        std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
        let file = dir.path().join("usr/bin/app");
        std::fs::write(&file, "x").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let stat = std::fs::metadata(&file).unwrap();
        let id = (stat.dev(), stat.ino());
        assert!(root.is_own("/usr/bin/app", id));
        assert!(!root.is_own("/usr/bin/app", (id.0, id.1 + 1)), "another file lies there");
        assert!(!root.is_own("/bin/app", id));
        std::fs::set_permissions(dir.path().join("usr/bin"), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(!root.is_own("/usr/bin/app", id), "anybody can put a file there");
    }
}

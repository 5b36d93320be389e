//! The cgroup trees of the host, as far as they are mounted here: who owns a group, and what a path
//! is from its tree's root when a cgroup namespace shows us paths from another place.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cgroup::{CgroupFacts, CgroupLine, CgroupOwner, lines, parts};
use super::grammar::{self, CgroupPart};

/// Groups looked at to find the one that we are in, once: hosts have a few hundred.
const MAX_GROUPS: usize = 20_000;

/// All trees.
#[derive(Debug, Default)]
pub(super) struct CgroupTrees {
    proc: PathBuf,
    roots: Vec<PathBuf>,
    known: HashMap<String, CgroupHierarchy>,
}

/// One hierarchy.
#[derive(Debug, Default)]
struct CgroupHierarchy {
    /// Its root folder, where it can be reached.
    at: Option<PathBuf>,
    /// What paths begin at: our namespace's root, below the tree's. `None` where it could not be found.
    base: Option<String>,
    /// The host itself is a container of another host's (kind): its first process is in this group.
    home: String,
}

impl CgroupTrees {
    /// `proc` is /proc; `roots`: where the host's root may be reached, for a tree that is not mounted here itself.
    #[must_use]
    pub(super) fn new(proc: PathBuf, roots: Vec<PathBuf>) -> CgroupTrees {
        CgroupTrees { proc, roots, known: HashMap::new() }
    }

    /// What the text of a `/proc/PID/cgroup` says.
    pub(super) fn read(&mut self, text: &str) -> CgroupFacts {
        CgroupFacts::of_all(lines(text).map(|line| self.line(line)).collect())
    }

    /// Whether owners can be asked for at all, for `doctor`.
    pub(super) fn readable(&mut self) -> bool {
        let text = text(&self.proc.join("self/cgroup"));
        lines(&text).any(|line| {
            let tree = self.tree(line.hierarchy);
            tree.at.is_some() && tree.base.is_some()
        })
    }

    fn line(&mut self, line: CgroupLine<'_>) -> CgroupFacts {
        // An older hierarchy that nothing is put into costs no look at folders.
        if line.path == "/" {
            return CgroupFacts::default();
        }
        let tree = self.tree(line.hierarchy);
        let Some(path) = tree.base.as_deref().and_then(|base| resolve(base, line.path)) else {
            return CgroupFacts::default();
        };
        // What is not below our host's own group is another host's.
        let Some(path) = path.strip_prefix(tree.home.as_str()) else { return CgroupFacts::default() };
        CgroupFacts::of_path(path, &|group| tree.owner(group))
    }

    fn tree(&mut self, hierarchy: &str) -> &CgroupHierarchy {
        if !self.known.contains_key(hierarchy) {
            let tree = CgroupHierarchy::find(&self.proc, &self.roots, hierarchy);
            self.known.insert(hierarchy.to_owned(), tree);
        }
        // Hierarchies are few: a kernel has a dozen controllers.
        self.known.entry(hierarchy.to_owned()).or_default()
    }
}

impl CgroupHierarchy {
    fn find(proc: &Path, roots: &[PathBuf], hierarchy: &str) -> CgroupHierarchy {
        let at = mounts(proc, roots, hierarchy).into_iter().find(|at| is_root(at, hierarchy));
        let path_of = |who: &str| {
            let text = text(&proc.join(who).join("cgroup"));
            lines(&text).find(|line| line.hierarchy == hierarchy).map(|line| line.path.to_owned())
        };
        let first = path_of("1").unwrap_or_default();
        let base = if first.starts_with("/..") {
            // Our cgroup namespace begins below the place of the host's first process: where, the tree says.
            let inside = path_of("self").unwrap_or_default();
            let whole = at.as_deref().and_then(|at| where_we_are(at, proc));
            whole.and_then(|whole| Some(whole.strip_suffix(inside.trim_end_matches('/'))?.to_owned()))
        } else {
            Some(String::new())
        };
        let home = base.as_deref().and_then(|base| resolve(base, &first)).map(|path| container_of(&path));
        CgroupHierarchy { at, base, home: home.unwrap_or_default() }
    }

    /// `group` is a path below our host's own group.
    fn owner(&self, group: &str) -> CgroupOwner {
        let Some(at) = &self.at else { return CgroupOwner::Unknown };
        let path = at.join(format!("{}{group}", self.home).trim_start_matches('/'));
        match fs::symlink_metadata(path) {
            Ok(found) if found.uid() != 0 => CgroupOwner::User(found.uid()),
            // Others may make groups there, too: nobody in particular did.
            Ok(found) if found.mode() & 0o002 != 0 || found.mode() & 0o020 != 0 && found.gid() != 0 => {
                CgroupOwner::Unknown
            }
            Ok(_) => CgroupOwner::Root,
            Err(_) => CgroupOwner::Unknown,
        }
    }
}

/// A text of /proc. A user may have mounted something of his at a place that is no text: the other lines are.
fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Where the hierarchy may be mounted, as we see it, and below the host's root.
fn mounts(proc: &Path, roots: &[PathBuf], hierarchy: &str) -> Vec<PathBuf> {
    let table = text(&proc.join("self/mounts"));
    let mut found: Vec<PathBuf> = table.lines().filter_map(|line| mounted(line, hierarchy)).map(Into::into).collect();
    for root in roots {
        let base = root.join("sys/fs/cgroup");
        let name = hierarchy.strip_prefix("name=").unwrap_or(hierarchy);
        found.push(base.join(if name.is_empty() { "unified" } else { name }));
        if name.is_empty() {
            found.push(base);
        }
    }
    found
}

/// The place of a line of a mount table, if it is this hierarchy's.
fn mounted<'a>(line: &'a str, hierarchy: &str) -> Option<&'a str> {
    let mut fields = line.split(' ');
    let (_, at, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let wanted = hierarchy.split(',').next().unwrap_or_default();
    let fits = match kind {
        "cgroup2" => hierarchy.is_empty(),
        "cgroup" => !hierarchy.is_empty() && options.split(',').any(|option| option == wanted),
        _ => false,
    };
    fits.then_some(at)
}

/// The root has files of its own, or lacks some, whatever a namespace calls it.
fn is_root(at: &Path, hierarchy: &str) -> bool {
    if !at.join("cgroup.procs").exists() {
        return false;
    }
    if hierarchy.is_empty() { !at.join("cgroup.events").exists() } else { at.join("cgroup.sane_behavior").exists() }
}

/// The group below `at` that this process is in, as a path from there. Root made it: what a user
/// owns is not looked into, so that his groups are not too many.
fn where_we_are(at: &Path, proc: &Path) -> Option<String> {
    let own = fs::read_link(proc.join("self")).ok()?;
    let own = own.to_str()?;
    let mut left = vec![at.to_owned()];
    for _ in 0..MAX_GROUPS {
        let group = left.pop()?;
        if fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|pids| pids.lines().any(|pid| pid == own)) {
            return Some(format!("/{}", group.strip_prefix(at).ok()?.to_str()?).trim_end_matches('/').to_owned());
        }
        let room = MAX_GROUPS.saturating_sub(left.len());
        let inner = fs::read_dir(&group).into_iter().flatten().flatten().take(MAX_GROUPS);
        let roots = inner.filter(|one| one.metadata().is_ok_and(|found| found.is_dir() && found.uid() == 0));
        left.extend(roots.map(|one| one.path()).take(room));
    }
    None
}

/// `path` as seen from `base`, from the root.
fn resolve(base: &str, path: &str) -> Option<String> {
    let mut whole: Vec<&str> = parts(base).collect();
    for part in parts(path) {
        if part == ".." {
            whole.pop()?;
        } else {
            whole.push(part);
        }
    }
    Some(whole.iter().flat_map(|part| ["/", part]).collect())
}

/// The outermost container on the path of the host's first process; empty where there is none, as nearly everywhere.
fn container_of(path: &str) -> String {
    let parts: Vec<&str> = parts(path).collect();
    let found = parts.iter().enumerate().position(|(at, part)| {
        let before = parts.get(..at).unwrap_or_default();
        matches!(grammar::part(part, before, true), CgroupPart::Container { .. } | CgroupPart::Sealed)
    });
    let own = found.and_then(|at| parts.get(..=at)).unwrap_or_default();
    own.iter().flat_map(|part| ["/", part]).collect()
}

/// For fuzzing: a text of `/proc/PID/cgroup` as a namespace shows it, each line seen from the one
/// before, then as a mount table. Nothing panics, and a path from the root is one.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut base = String::new();
    for line in lines(&text) {
        let Some(path) = resolve(&base, line.path) else { continue };
        assert!(path.is_empty() || path.starts_with('/') && !path.ends_with('/') && !path.contains("//"));
        assert!(parts(&path).all(|part| part != ".."));
        let home = container_of(&path);
        assert!(path.strip_prefix(home.as_str()).is_some_and(|below| below.is_empty() || below.starts_with('/')));
        assert_eq!(container_of(&home), home);
        base = path;
    }
    for line in text.lines() {
        for hierarchy in ["", "cpu,cpuacct", "name=systemd"] {
            assert!(mounted(line, hierarchy).is_none_or(|at| line.contains(at) && !at.contains(' ')));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_namespace_are_read_from_the_root() {
        let base = "/kubepods/burstable/poda/x";
        for (base, path, expected) in [
            ("", "/system.slice/a.service", Some("/system.slice/a.service")),
            ("", "/", Some("")),
            (base, "/../../podb/y", Some("/kubepods/burstable/podb/y")),
            (base, "/../../../../system.slice", Some("/system.slice")),
            (base, "/", Some(base)),
            (base, "/../../../../../out", None),
        ] {
            assert_eq!(resolve(base, path).as_deref(), expected, "{base} {path}");
        }
    }

    #[test]
    fn a_host_that_is_a_container_itself_is_no_container() {
        let id = "a".repeat(64);
        assert_eq!(container_of(&format!("/docker/{id}/init.scope")), format!("/docker/{id}"));
        assert_eq!(container_of("/init.scope"), "");
        assert_eq!(container_of(""), "");
    }

    #[test]
    fn the_mount_table_is_read() {
        let both = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0";
        assert_eq!(mounted(both, "cpu,cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mounted(both, ""), None);
        assert_eq!(mounted("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0", ""), Some("/sys/fs/cgroup"));
        assert_eq!(mounted("cgroup /c/systemd cgroup rw,xattr,name=systemd 0 0", "name=systemd"), Some("/c/systemd"));
        assert_eq!(mounted("x", ""), None);
    }

    /// A user's groups are not looked into, and a mount point that is no text does not hide the others.
    #[test]
    fn our_own_group_is_found_beside_those_of_users() {
        let dir = tempfile::tempdir().unwrap();
        let (at, proc) = (dir.path().join("cgroup"), dir.path().join("proc"));
        for group in ["", "a", "theirs/ours", "docker/ours"] {
            fs::create_dir_all(at.join(group)).unwrap();
            fs::write(at.join(group).join("cgroup.procs"), if group.ends_with("ours") { "7\n42\n" } else { "" })
                .unwrap();
        }
        fs::create_dir(&proc).unwrap();
        std::os::unix::fs::symlink("42", proc.join("self")).unwrap();
        if std::os::unix::fs::chown(at.join("theirs"), Some(1000), None).is_ok() {
            assert_eq!(where_we_are(&at, &proc).as_deref(), Some("/docker/ours"));
        }
        fs::remove_file(proc.join("self")).unwrap();
        fs::create_dir(proc.join("self")).unwrap();
        let table =
            [b"x /\xff fuse rw 0 0\ncgroup2 ", at.as_os_str().as_encoded_bytes(), b" cgroup2 rw 0 0\n"].concat();
        fs::write(proc.join("self/mounts"), table).unwrap();
        assert_eq!(mounts(&proc, &[], ""), [at]);
    }

    /// Whoever owns a folder is who makes what is in it.
    #[test]
    fn owners_are_those_of_the_folders() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), None, None).unwrap();
        let tree = CgroupHierarchy { at: Some(dir.path().into()), base: Some(String::new()), home: String::new() };
        let own = fs::metadata(dir.path()).unwrap().uid();
        let expected = if own == 0 { CgroupOwner::Root } else { CgroupOwner::User(own) };
        assert_eq!(tree.owner("/"), expected);
        assert_eq!(tree.owner("/gone"), CgroupOwner::Unknown);
        assert_eq!(CgroupHierarchy::default().owner("/"), CgroupOwner::Unknown);
    }
}

//! The cgroup that the socket programs hang on: the root of the v2 tree, which every socket of the host belongs to.

use std::fs;
use std::path::Path;

/// A cgroup v2 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CgroupV2Tree {
    /// Its topmost folder that we can reach.
    pub path: String,
    /// It is the root, not a part that a cgroup namespace shows as one.
    pub whole: bool,
}

/// The tree: as it is mounted here, or, where a cgroup namespace shows us a part alone, as the
/// host's first processes see it, if we share their pid namespace.
#[must_use]
pub(super) fn find() -> Option<CgroupV2Tree> {
    let here = mounts("/proc/self/mounts", "");
    let there = crate::namespaces::firsts().iter().flat_map(|first| {
        let dir = format!("/proc/{first}");
        mounts(&format!("{dir}/mounts"), &format!("{dir}/root"))
    });
    let mut all: Vec<CgroupV2Tree> =
        here.into_iter().chain(there).filter(|tree| Path::new(&tree.path).is_dir()).collect();
    let whole = all.iter().position(|tree| tree.whole);
    (!all.is_empty()).then(|| all.swap_remove(whole.unwrap_or(0)))
}

fn mounts(file: &str, root: &str) -> Vec<CgroupV2Tree> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let paths = cgroup2(&text).map(|at| format!("{root}{at}"));
    paths.map(|path| CgroupV2Tree { whole: is_root(Path::new(&path)), path }).collect()
}

/// Where cgroup v2 is mounted, by a mount table.
fn cgroup2(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then_some(at)
    })
}

/// The root alone has neither a type nor events of its own, whatever a namespace calls it.
fn is_root(path: &Path) -> bool {
    path.join("cgroup.procs").exists() && !path.join("cgroup.events").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_told_from_the_root() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_root(dir.path()), "no cgroup at all");
        fs::write(dir.path().join("cgroup.procs"), "").unwrap();
        assert!(is_root(dir.path()));
        fs::write(dir.path().join("cgroup.events"), "populated 1").unwrap();
        assert!(!is_root(dir.path()));
    }

    #[test]
    fn the_mount_table_is_read() {
        let table = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\nx\n";
        assert_eq!(cgroup2(table).collect::<Vec<_>>(), ["/sys/fs/cgroup/unified"]);
    }
}

//! Who is answerable for what a process has in the kernel's tables.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::cgroup;
use super::share::TableOwner;
use crate::namespaces::{FIRST, namespace};

/// Whose process this is. A process with mounts of its own is a container's, but for what users
/// unshare in their sessions: those may make groups of their own at will, and are told by their id.
/// `None`: it is gone.
pub(super) fn owner(pid: u32) -> Option<TableOwner> {
    let uid = uid(pid)?;
    let path = group(pid).unwrap_or_default();
    let strange = FIRST.iter().find_map(|first| namespace(first, "mnt")).or_else(|| namespace("self", "mnt"))
        != namespace(&pid.to_string(), "mnt");
    if strange && !path.split('/').any(|part| part == "user.slice") {
        return Some(id(&path).map_or(TableOwner::Process(pid), TableOwner::Group));
    }
    Some(if uid == 0 { TableOwner::Process(pid) } else { TableOwner::User(uid) })
}

/// The real user, which the kernel side is told as well: `Uid:` of proc(5).
fn uid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().next()?.parse().ok()
}

/// The group in the unified hierarchy, from where its tree is mounted.
fn group(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// The id of a group; `None` of the root, which is nobody's, and of one that cannot be reached from here.
fn id(path: &str) -> Option<u64> {
    let below = path.strip_prefix('/').filter(|below| !below.is_empty() && !below.contains(".."))?;
    let tree = cgroup::find().filter(|tree| tree.whole)?;
    fs::metadata(Path::new(&tree.path).join(below)).ok().map(|folder| folder.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_group_and_what_lies_elsewhere_have_no_id() {
        assert_eq!([id("/"), id(""), id("/../other"), id("/no such group")], [None; 4]);
    }

    #[test]
    fn a_process_that_is_gone_has_no_owner() {
        assert_eq!(owner(u32::MAX), None);
        assert!(owner(std::process::id()).is_some());
    }
}

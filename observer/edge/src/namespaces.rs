//! The namespaces that the host itself lives in, as far as this process can see them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Inode of the first pid namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h), the same on
/// every kernel since 3.8. The kernel's programs and perf number processes as that one does.
pub(crate) const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Processes that live in the host's own namespaces: the kernel's thread of threads, and init.
/// (Some hosts let nobody look at the latter.)
pub(crate) const FIRST: [&str; 2] = ["2", "1"];

/// Those of them that are what they are for us, too: in another pid namespace these are other processes' numbers.
#[must_use]
pub(crate) fn firsts() -> &'static [&'static str] {
    if namespace("self", "pid") == Some(FIRST_PID_NAMESPACE) { &FIRST } else { &[] }
}

/// The inode of a process's namespace of a kind (`pid`, `mnt`); `None` where it cannot be looked at.
#[must_use]
pub(crate) fn namespace(pid: &str, kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).map(|meta| meta.ino()).ok()
}

/// The root of a process.
#[must_use]
pub(crate) fn root_of(pid: &str) -> PathBuf {
    Path::new("/proc").join(pid).join("root")
}

/// Whether the files that this process sees are the host's: it has the kernel threads' mounts, or
/// some of its own on the very root of one of the host's first processes. A container has neither.
#[must_use]
pub(crate) fn has_the_hosts_files() -> bool {
    let mounts = namespace("self", "mnt");
    let root = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let own = root(Path::new("/"));
    firsts().first().is_some_and(|kernel| mounts.is_some() && namespace(kernel, "mnt") == mounts)
        || firsts().iter().any(|first| own.is_some() && root(&root_of(first)) == own)
}

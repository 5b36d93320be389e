//! How much memory the kernel's maps take, and how much there may be. Parsing is pure; `MapMemory::read` reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use aya_obj::Object;
use observer_common::programs as names;

use super::load::OBJECT;

/// What the maps take, and what limits memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapMemory {
    /// What the kernel's maps take, the ring among them.
    pub maps: u64,
    /// Those that can be seen from here.
    pub limits: Vec<MemoryLimit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Who sets it: `memory.max of /kubepods/…`, `RLIMIT_AS (ulimit -v)`.
    pub by: String,
    pub bytes: u64,
    /// What counts against it and cannot be taken back.
    pub used: u64,
    /// What must be allowed at the least.
    pub needed: u64,
}

/// Memory that the daemon itself takes beside the maps on a small host. (86 MiB were enough and 80
/// were not, on Linux 6.18.)
const OWN: u64 = 32 << 20;

/// Addresses that it takes beside the ring: threads, their stacks and heaps. (252 MiB on Linux 6.18 with glibc 2.36.)
const OWN_ADDRESSES: u64 = 256 << 20;

impl MapMemory {
    /// Reads it, for a ring of `ring` bytes.
    #[must_use]
    pub fn read(ring: u32) -> MapMemory {
        let maps = maps(ring);
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let groups = cgroups(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"));
        let limits = groups.into_iter().filter_map(|group| of_cgroup(&group, maps + OWN)).chain(address_space(ring));
        MapMemory { maps, limits: limits.collect() }
    }

    /// The limit that is too low, if one is.
    #[must_use]
    pub fn short(&self) -> Option<&MemoryLimit> {
        self.limits.iter().find(|limit| limit.bytes < limit.needed)
    }

    /// The limit that is almost used up, if one is.
    #[must_use]
    pub fn near(&self) -> Option<&MemoryLimit> {
        self.limits.iter().find(|limit| near(limit.used, limit.bytes))
    }

    /// `the kernel's maps take 59 MiB; memory.max of / allows 64 MiB, at least 91 MiB are needed`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("the kernel's maps take {}", mib(self.maps));
        for MemoryLimit { by, bytes, used, needed } in &self.limits {
            let more = if bytes < needed {
                format!("at least {} are needed", mib(*needed))
            } else {
                format!("{} in use", mib(*used))
            };
            text.push_str(&format!("; {by} allows {}, {more}", mib(*bytes)));
        }
        if self.limits.is_empty() {
            text.push_str("; no limit is set");
        }
        text
    }
}

/// Use of a limit, in percent, from which on it is told of.
const NEAR: u64 = 90;

/// Whether little is left.
#[must_use]
pub(super) fn near(used: u64, limit: u64) -> bool {
    u128::from(used) * 100 >= u128::from(limit) * u128::from(NEAR)
}

/// Rounded up: a figure to set a limit by.
#[must_use]
pub(super) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The address space: the ring is mapped twice in a row.
fn address_space(ring: u32) -> Option<MemoryLimit> {
    let bytes = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let used = procfs::process::Process::myself().and_then(|own| own.stat()).map_or(0, |stat| stat.vsize);
    Some(MemoryLimit { by: "RLIMIT_AS (ulimit -v)".into(), bytes, used, needed: 2 * u64::from(ring) + OWN_ADDRESSES })
}

/// A kernel before 5.11 counts maps against RLIMIT_MEMLOCK, which nothing but the hard limit holds
/// down; the soft limit of descriptors is meant for select(2), which nobody uses here.
pub(super) fn raise_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let endless = Rlimit { current: None, maximum: None };
    if setrlimit(Resource::Memlock, endless).is_err() {
        let hard = getrlimit(Resource::Memlock).maximum;
        let _ = setrlimit(Resource::Memlock, Rlimit { current: hard, maximum: hard });
    }
    let hard = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// A memory cgroup: its name, its folder, and how its files are called.
#[derive(Debug, PartialEq, Eq)]
struct MemoryCgroup {
    name: String,
    folder: PathBuf,
    /// Where the tree ends that we see.
    top: PathBuf,
    v2: bool,
}

/// The limit of a group or the narrowest above it, with what is in use there.
fn of_cgroup(group: &MemoryCgroup, needed: u64) -> Option<MemoryLimit> {
    let (limit, usage, idle) = if group.v2 {
        ("memory.max", "memory.current", "inactive_file")
    } else {
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    };
    let number = |folder: &Path, file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    let above = group.folder.ancestors().take_while(|folder| folder.starts_with(&group.top));
    // A group without a limit says `max`, or a number that no machine has.
    let limits = above.filter_map(|folder| Some((number(folder, limit).filter(|bytes| *bytes < 1 << 60)?, folder)));
    let (bytes, folder) = limits.min_by_key(|(bytes, _)| *bytes)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let file = stat.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse::<u64>().ok()).unwrap_or(0);
    let used = number(folder, usage).unwrap_or(0).saturating_sub(file);
    Some(MemoryLimit { by: format!("{limit} of {}", group.name), bytes, used, needed })
}

/// The memory cgroups of this process, by /proc/self/cgroup and /proc/self/mountinfo, that can be looked into.
fn cgroups(own: &str, mounts: &str) -> Vec<MemoryCgroup> {
    let line = |line: &str| -> Option<MemoryCgroup> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let v2 = controllers.is_empty();
        if !v2 && !controllers.split(',').any(|name| name == "memory") {
            return None;
        }
        let (root, at) = mounts.lines().find_map(|line| mount(line, v2))?;
        // A mount of a part of the tree; what lies above our own namespace (`/..`) has no name here.
        let below = if root == "/" { path } else { path.strip_prefix(root.as_str())? };
        let folder = at.join(below.trim_start_matches('/'));
        Some(MemoryCgroup { name: path.into(), folder, top: at, v2 })
    };
    own.lines().filter_map(line).collect()
}

/// Root and place of a mount of the memory tree.
fn mount(line: &str, v2: bool) -> Option<(String, PathBuf)> {
    let (first, second) = line.split_once(" - ")?;
    let (mut first, mut second) = (first.split(' ').skip(3), second.split(' '));
    let (root, at) = (first.next()?, first.next()?);
    let fits = match (second.next()?, v2) {
        ("cgroup2", true) => true,
        ("cgroup", false) => second.nth(1)?.split(',').any(|option| option == "memory"),
        _ => false,
    };
    fits.then(|| (root.to_owned(), PathBuf::from(at)))
}

/// What the kernel's maps take.
fn maps(ring: u32) -> u64 {
    static OTHERS: LazyLock<u64> = LazyLock::new(|| {
        let object = Object::parse(OBJECT).ok();
        let maps = object.iter().flat_map(|object| &object.maps).filter(|(name, _)| *name != names::MAP_RING);
        maps.map(|(_, map)| size(map.map_type(), map.key_size(), map.value_size(), map.max_entries(), map.map_flags()))
            .sum()
    });
    *OTHERS + u64::from(ring)
}

/// Memory of a map when it is made. Kinds and flags: include/uapi/linux/bpf.h; sizes of entries: kernel/bpf/hashtab.c.
fn size(kind: u32, key: u32, value: u32, entries: u32, flags: u32) -> u64 {
    const HASH: [u32; 2] = [1, 9];
    const NO_PREALLOC: u32 = 1;
    const ELEMENT: u64 = 48;
    const BUCKET: u64 = 16;
    let round = |bytes: u32| u64::from(bytes).next_multiple_of(8);
    let entries_long = u64::from(entries);
    if !HASH.contains(&kind) {
        return round(value) * entries_long;
    }
    let elements = if flags & NO_PREALLOC == 0 { entries_long * (ELEMENT + round(key) + round(value)) } else { 0 };
    elements + BUCKET * entries_long.next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 29 0:25 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
31 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
32 29 0:27 /docker/ab /srv/part rw - cgroup cgroup rw,cpu,cpuacct\n";

    #[test]
    fn the_memory_cgroup_is_found_in_both_trees() {
        let own = "5:cpu,cpuacct:/docker/ab\n4:memory:/pods/x\n0::/pods/y\n";
        let found = cgroups(own, MOUNTS);
        let folders: Vec<_> = found.iter().map(|group| (group.folder.to_str().unwrap(), group.v2)).collect();
        assert_eq!(folders, [("/sys/fs/cgroup/memory/pods/x", false), ("/sys/fs/cgroup/unified/pods/y", true)]);
    }

    #[test]
    fn of_a_tree_that_is_mounted_in_part_the_part_is_left_out_of_the_path() {
        let part = "31 29 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        let folder = |path| cgroups(&format!("0::{path}\n"), part).first().map(|group| group.folder.clone());
        assert_eq!(folder("/docker/ab/in"), Some("/sys/fs/cgroup/in".into()));
        assert_eq!(folder("/"), None, "outside of what is mounted");
        assert_eq!(cgroups("0::/\n", &part.replace("/docker/ab", "/../..")), [], "above our namespace");
    }

    #[test]
    fn the_narrowest_limit_above_counts() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = dir.path().join("a/b");
        fs::create_dir_all(&leaf).unwrap();
        fs::write(leaf.join("memory.max"), "max\n").unwrap();
        fs::write(dir.path().join("a/memory.max"), "1000\n").unwrap();
        fs::write(dir.path().join("a/memory.current"), "900\n").unwrap();
        fs::write(dir.path().join("a/memory.stat"), "anon 5\ninactive_file 300\n").unwrap();
        fs::write(dir.path().join("memory.max"), "5000\n").unwrap();
        let group = |top: &Path| MemoryCgroup { name: "/a/b".into(), folder: leaf.clone(), top: top.into(), v2: true };
        let limit = of_cgroup(&group(dir.path()), 1).unwrap();
        assert_eq!((limit.bytes, limit.used, limit.by.as_str()), (1000, 600, "memory.max of /a/b"));
        assert_eq!(of_cgroup(&group(&leaf), 1), None, "none below what we see");
    }

    #[test]
    fn maps_take_what_the_kernel_allots() {
        assert_eq!(size(2, 4, 8, 65_536, 0), 512 * 1024, "an array");
        assert_eq!(size(1, 8, 8, 1000, 1), 16 * 1024, "a hash that grows: its buckets");
        assert_eq!(size(9, 8, 8, 1024, 0), 1024 * 64 + 16 * 1024, "a hash made at once");
        assert!(maps(1 << 25) > (1 << 25) + (8 << 20), "the ring, and more than 8 MiB of others");
    }
}

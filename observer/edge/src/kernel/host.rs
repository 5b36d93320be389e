//! What this host shows of itself to this process: facts, read; what they mean is `sights`'.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::caps::PrivilegeFacts;
use super::memory::MapMemory;
use super::procmaps;
use crate::namespaces::{FIRST, firsts, namespace, root_of};

/// The facts.
#[derive(Clone, Debug)]
pub(super) struct HostFacts {
    pub standing: PrivilegeFacts,
    /// Inode of our pid namespace; `None`: there is no /proc.
    pub pid_namespace: Option<u64>,
    pub proc: ProcMount,
    pub others: OtherPrograms,
    /// Whether a mapping of a file leads to the file itself (`/proc/PID/map_files`).
    pub map_files: Result<(), ErrorKind>,
    pub mounts: MountNamespaces,
    pub memory: MapMemory,
    pub descriptors: DescriptorLimits,
}

/// What is mounted on /proc.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcMount {
    /// It calls this process by the number that this process has.
    pub ours: bool,
    /// Its options that hide: `hidepid=invisible`, `subset=pid`.
    pub hides: Vec<String>,
}

/// Other programs, by whether we may look into them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OtherPrograms {
    pub seen: usize,
    pub refused: usize,
    /// One of the latter, with its name.
    pub example: Option<(u32, String)>,
    /// The first process or the kernel's first thread is listed: nobody is left out.
    pub all: bool,
}

/// Mount namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MountNamespaces {
    pub own: Option<u64>,
    /// The host's; `None` if nothing tells.
    pub host: Option<u64>,
    /// Where the host's root can be reached from here.
    pub root: Option<PathBuf>,
}

/// File descriptors of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DescriptorLimits {
    pub used: u64,
    /// `None`: without limit.
    pub limit: Option<u64>,
}

/// Descriptors that reading takes at the same time, and some for whoever else opens one meanwhile.
const READING: usize = 8;

/// Programs looked at, at most: a share of a few hundred says as much as all of a host's thousands.
const LOOKED_AT: usize = 512;

impl HostFacts {
    /// Reads all of it: a few hundred short system calls, none of which waits for anybody else.
    /// `None`: there are too few descriptors left to read with.
    #[must_use]
    pub(super) fn read(ring: u32) -> Option<HostFacts> {
        let spare: io::Result<Vec<File>> = (0..READING).map(|_| File::open("/proc/self/stat")).collect();
        if spare.is_err_and(|error| matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))) {
            return None;
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Some(HostFacts {
            standing: PrivilegeFacts::own(),
            pid_namespace: namespace("self", "pid"),
            proc: ProcMount { ours: proc_is_ours(), hides: hiding_options(&mounts) },
            others: others(&procmaps::pids(), &|pid| fs::read_link(format!("/proc/{pid}/exe"))),
            map_files: map_files(),
            mounts: MountNamespaces {
                own: namespace("self", "mnt"),
                host: firsts().iter().find_map(|first| namespace(first, "mnt")),
                root: host_root(),
            },
            memory: MapMemory::read(ring),
            descriptors: DescriptorLimits::read(),
        })
    }
}

fn proc_is_ours() -> bool {
    fs::read_link("/proc/self").is_ok_and(|name| name.to_str() == Some(&std::process::id().to_string()))
}

/// Where the host's root is configured to be, or can be seen.
fn host_root() -> Option<PathBuf> {
    let told = crate::identity::host::configured().map(Path::to_owned);
    let seen = firsts().iter().rev().map(|first| root_of(first));
    told.into_iter().chain(seen).find(|root| root.join("usr").is_dir())
}

/// Options of the topmost /proc, as /proc/self/mountinfo tells them.
fn hiding_options(mounts: &str) -> Vec<String> {
    let proc = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let options = proc.and_then(|line| line.split_once(" - ")?.1.split(' ').nth(2)).unwrap_or_default();
    let hides = |option: &&str| {
        option.strip_prefix("hidepid=").is_some_and(|how| !matches!(how, "0" | "off")) || option.starts_with("subset=")
    };
    options.split(',').filter(hides).map(str::to_owned).collect()
}

/// Looks at programs spread over all process ids. The kernel's own threads have no program and do not count.
fn others(pids: &[u32], exe: &dyn Fn(u32) -> io::Result<PathBuf>) -> OtherPrograms {
    let own = std::process::id();
    let all = pids.iter().any(|pid| FIRST.contains(&pid.to_string().as_str()));
    let step = pids.len().div_ceil(LOOKED_AT).max(1);
    let mut others = OtherPrograms { all, ..OtherPrograms::default() };
    for pid in pids.iter().copied().step_by(step).filter(|pid| *pid != own) {
        match exe(pid).map_err(|error| error.kind()) {
            Ok(_) => others.seen += 1,
            Err(ErrorKind::PermissionDenied) => {
                others.refused += 1;
                // The youngest: the oldest belong to the host's own machinery.
                others.example = Some((pid, comm(pid)));
            }
            Err(_) => {}
        }
    }
    others
}

fn comm(pid: u32) -> String {
    // Anybody may give himself any name, and a page or a terminal shows it.
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().escape_debug().to_string()
}

/// Follows the first mapping of our own program: what it takes is a capability alone.
fn map_files() -> Result<(), ErrorKind> {
    let maps = procmaps::executable(std::process::id(), capture::units::Ns(0));
    let mapping = maps.first().ok_or(ErrorKind::NotFound)?;
    let way = format!("/proc/self/map_files/{:x}-{:x}", mapping.start, mapping.end);
    fs::metadata(way).map(drop).map_err(|error| error.kind())
}

impl DescriptorLimits {
    fn read() -> DescriptorLimits {
        let used = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        DescriptorLimits { used: used as u64, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_hide_are_told_from_others() {
        let line = |options: &str| {
            format!("1 2 0:9 / / rw - ext4 /dev/vda rw\n63 45 0:39 / /proc rw,relatime - proc proc {options}\n")
        };
        assert_eq!(hiding_options(&line("rw")), [] as [&str; 0]);
        assert_eq!(hiding_options(&line("rw,gid=4,hidepid=off")), [] as [&str; 0]);
        assert_eq!(hiding_options(&line("rw,hidepid=invisible,subset=pid")), ["hidepid=invisible", "subset=pid"]);
        assert_eq!(hiding_options(&(line("rw,hidepid=2") + &line("rw"))), [] as [&str; 0], "the topmost counts");
    }

    #[test]
    fn threads_of_the_kernel_and_ourselves_do_not_count() {
        let own = std::process::id();
        let exe = |pid: u32| match pid {
            2 => Err(ErrorKind::NotFound.into()),
            1 | 9 => Err(ErrorKind::PermissionDenied.into()),
            _ => Ok(PathBuf::new()),
        };
        let found = others(&[1, 2, 9, own, own + 1], &exe);
        assert_eq!((found.seen, found.refused, found.all), (1, 2, true));
        assert_eq!(found.example.map(|(pid, _)| pid), Some(9));
        assert!(!others(&[own], &exe).all);
    }

    #[test]
    fn thousands_of_programs_are_not_all_looked_at() {
        let pids: Vec<u32> = (10_000_000..10_020_000).collect();
        let found = others(&pids, &|_| Ok(PathBuf::new()));
        assert!(found.seen > LOOKED_AT / 2 && found.seen <= LOOKED_AT, "{}", found.seen);
    }
}

//! The part that reads: /proc, and the container runtimes' files.

use std::collections::HashMap;
use std::fs::{File, read_link};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::cgroup::Cgroup;
use super::oci::SOURCES;
use super::{ContainerNames, Identity};

/// Longest file read: /proc texts are tiny, an OCI config with many mounts is under 100 KiB.
const FILE_BYTES: u64 = 1024 * 1024;

/// Containers whose names are remembered; beyond it all are forgotten and looked up again.
const REMEMBERED: usize = 1024;

/// Reads identities. Keeps container names, since a container's processes share them.
#[derive(Debug)]
pub struct Reader {
    proc: PathBuf,
    /// The host's root, where the runtimes' files are.
    root: PathBuf,
    containers: HashMap<String, ContainerNames>,
}

impl Default for Reader {
    /// This host: `/proc`, and the root of process 1, which is the host's even when we live in a container with the
    /// host's pid namespace.
    fn default() -> Self {
        Reader::new("/proc".into(), "/proc/1/root".into())
    }
}

impl Reader {
    /// A reader over these trees.
    #[must_use]
    pub fn new(proc: PathBuf, root: PathBuf) -> Reader {
        Reader { proc, root, containers: HashMap::new() }
    }

    /// Who `pid` is, and its start in nanoseconds on CLOCK_BOOTTIME, cut to a clock tick (10 ms) as the kernel side does. `None`
    /// when the process is gone.
    pub fn read(&mut self, pid: u32) -> Option<(u64, Identity)> {
        let dir = self.proc.join(pid.to_string());
        let stat = text(&dir.join("stat"))?;
        let comm = text(&dir.join("comm")).map(|comm| comm.trim_end().to_owned()).unwrap_or_default();
        let exe = read_link(dir.join("exe"))
            .ok()
            .map(|path| path.to_string_lossy().trim_end_matches(" (deleted)").to_owned());
        let cgroup = text(&dir.join("cgroup")).map(|text| Cgroup::parse(&text)).unwrap_or_default();
        let names = self.names(cgroup.container_id.as_deref());
        Some((start_ns(&stat)?, Identity::new(pid, comm, exe, cgroup, names)))
    }

    /// The cgroup paths of `pid`, one for each hierarchy; none when the process is gone.
    #[must_use]
    pub fn cgroups(&self, pid: u32) -> Vec<String> {
        let text = text(&self.proc.join(pid.to_string()).join("cgroup")).unwrap_or_default();
        text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(str::to_owned).collect()
    }

    fn names(&mut self, id: Option<&str>) -> ContainerNames {
        let Some(id) = id else { return ContainerNames::default() };
        if let Some(names) = self.containers.get(id) {
            return names.clone();
        }
        let names = lookup(&self.root, id);
        if self.containers.len() >= REMEMBERED {
            self.containers.clear();
        }
        self.containers.insert(id.to_owned(), names.clone());
        names
    }
}

/// `id` is hex (see `Cgroup`), so it cannot lead out of a path.
fn lookup(root: &Path, id: &str) -> ContainerNames {
    SOURCES
        .iter()
        .find_map(|source| {
            let path = root.join(source.path.trim_start_matches('/').replace("{id}", id));
            (source.read)(&text(&path)?, id)
        })
        .unwrap_or_default()
}

/// Field 22 of `stat`, after the command name, which may hold anything.
fn start_ns(stat: &str) -> Option<u64> {
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ticks.saturating_mul(1_000_000_000 / ::procfs::ticks_per_second().max(1)))
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found() {
        let (start, identity) = Reader::default().read(std::process::id()).unwrap();
        let now = crate::clock::now().0;
        assert!(start <= now && start > now.saturating_sub(3600 * 1_000_000_000), "{start} {now}");
        assert_eq!(identity.pid, std::process::id());
        assert!(identity.exe.unwrap().contains("observer"));
        assert!(!identity.service.is_empty() && !identity.comm.is_empty());
    }

    #[test]
    fn a_process_that_is_gone_is_none() {
        assert_eq!(Reader::default().read(u32::MAX), None);
    }

    #[test]
    fn names_come_from_the_hosts_files() {
        let host = tempfile::tempdir().unwrap();
        let id = "c".repeat(64);
        let proc = host.path().join("proc/42");
        let docker = host.path().join("var/lib/docker/containers").join(&id);
        std::fs::create_dir_all(&proc).unwrap();
        std::fs::create_dir_all(&docker).unwrap();
        std::fs::write(proc.join("stat"), format!("42 (a) b) S {}100 0", "0 ".repeat(18))).unwrap();
        std::fs::write(proc.join("comm"), "agent\n").unwrap();
        std::fs::write(proc.join("cgroup"), format!("0::/system.slice/docker-{id}.scope\n")).unwrap();
        std::fs::write(docker.join("config.v2.json"), r#"{"Name":"/shop"}"#).unwrap();
        let (start, identity) = Reader::new(host.path().join("proc"), host.path().into()).read(42).unwrap();
        assert_eq!((start, identity.service.as_str()), (1_000_000_000, "shop"));
        assert_eq!(identity.container_id.as_deref(), Some(id.as_str()));
    }
}

//! CPU time of control groups: the daemon's own reading, data for the pressure detector.

use std::collections::{HashMap, HashSet};
use std::fs;

use capture::units::Ns;
use ledger::{CallTable, ModelConnection};

/// Where cgroup v2 may be mounted: alone, or beside v1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// How often it is read: one file of each process with a connection and one of each group.
const EVERY_NS: u64 = 5_000_000_000;

/// What each service's groups had used when they were read last.
#[derive(Debug, Default)]
pub(super) struct ServiceCpu {
    read_at: Ns,
    groups: HashMap<String, f64>,
}

impl ServiceCpu {
    /// Seconds since the last look, if it is time to look again.
    pub(super) fn due(&self, now: Ns) -> Option<f64> {
        (now - self.read_at >= EVERY_NS).then(|| now.seconds_since(self.read_at))
    }

    /// CPU seconds that the control groups of each service with a connection to a model have used
    /// since the last look. A group counts from its second look on.
    pub(super) fn used<'a>(
        &mut self,
        call_table: &CallTable,
        connections: impl Iterator<Item = &'a ModelConnection>,
        now: Ns,
    ) -> HashMap<String, f64> {
        self.read_at = now;
        let (mut used, mut groups) = (HashMap::<String, f64>::new(), HashMap::new());
        // A process may have thousands of streams, and files are read in the daemon's only thread.
        let mut known = HashSet::new();
        for identity in
            connections.map(|connection| &connection.identity).chain(call_table.open().map(|entry| &entry.identity))
        {
            if !known.insert(identity.pid) {
                continue;
            }
            let Some(path) = cgroup(identity.pid).filter(|path| !groups.contains_key(path)) else { continue };
            let Some(seconds) = seconds(&path) else { continue };
            if let Some(before) = self.groups.get(&path) {
                *used.entry(identity.service.clone()).or_default() += (seconds - before).max(0.0);
            }
            groups.insert(path, seconds);
        }
        self.groups = groups;
        used
    }
}

/// The process's group in the unified hierarchy. The root group is everybody's, so it says nothing of a service.
fn cgroup(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    (path != "/").then(|| path.to_owned())
}

fn seconds(path: &str) -> Option<f64> {
    let text = ROOTS.iter().find_map(|root| fs::read_to_string(format!("{root}{path}/cpu.stat")).ok())?;
    let usec: u64 = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()?;
    Some(usec as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    /// This test's own group, or none: on a machine without cgroup v2, or in its root, there is nothing to read.
    #[test]
    fn a_group_uses_cpu() {
        let Some(path) = super::cgroup(std::process::id()) else { return };
        let Some(before) = super::seconds(&path) else { return };
        let end = std::time::Instant::now() + std::time::Duration::from_millis(50);
        while std::time::Instant::now() < end {}
        assert!(super::seconds(&path).unwrap() > before);
    }
}

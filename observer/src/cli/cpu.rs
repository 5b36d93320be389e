//! CPU time of control groups: the daemon's own reading, data for the pressure metrics.

use std::collections::HashMap;
use std::fs;

use crate::export::divergence::{Sample, Service};
use crate::ledger::{Book, Link};

/// Where cgroup v2 may be mounted: alone, or beside v1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Open calls and CPU seconds of every service that has a connection to a model.
pub fn samples<'a>(book: &Book, links: impl Iterator<Item = &'a Link>) -> HashMap<Service, Sample> {
    let mut groups: HashMap<Service, HashMap<String, f64>> = HashMap::new();
    let mut samples: HashMap<Service, Sample> = HashMap::new();
    for identity in links.map(|link| &link.identity).chain(book.open().map(|entry| &entry.identity)) {
        let cpu = groups.entry(service(identity)).or_default();
        if let Some(path) = cgroup(identity.pid)
            && !cpu.contains_key(&path)
            && let Some(seconds) = seconds(&path)
        {
            cpu.insert(path, seconds);
        }
    }
    for (service, cpu) in groups {
        let sum = (!cpu.is_empty()).then(|| cpu.values().sum());
        samples.insert(service, Sample { open: 0, cpu: sum });
    }
    for entry in book.open() {
        samples.entry(service(&entry.identity)).or_default().open += 1;
    }
    samples
}

fn service(identity: &crate::identity::Identity) -> Service {
    let k8s = &identity.k8s;
    [
        identity.service.as_str().into(),
        k8s.namespace.as_deref().unwrap_or_default().into(),
        k8s.workload.as_deref().unwrap_or_default().into(),
    ]
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

//! Where the host's root is: what was configured, else our own outside a container, else that of
//! process 1. And what `doctor` says of it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::files::HostRoot;
use super::state;
use super::tree::CgroupTrees;
use crate::coverage::{CheckSeverity, HealthCheck};
use crate::namespaces::{firsts, has_the_hosts_files, root_of};

/// What `host.root` says; set once, before anything is read.
static CONFIGURED: OnceLock<PathBuf> = OnceLock::new();

/// The root of process 1: the host's, even when we live in a container with the host's pid
/// namespace. Closed on some hosts.
const FIRST: &str = "/proc/1/root";

/// Sets `host.root`; a second call changes nothing.
pub fn set_root(path: Option<&Path>) {
    if let Some(path) = path {
        let _ = CONFIGURED.set(path.to_owned());
    }
}

/// What `host.root` says, if anything does.
pub(crate) fn configured() -> Option<&'static Path> {
    CONFIGURED.get().map(PathBuf::as_path)
}

/// Whether this process lives in a container: the marks that engines leave, unless what it lives in
/// is the host's. The marks alone lie on a host whose disk was made of an image, `/.dockerenv` and
/// all.
#[must_use]
pub fn in_container() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    let marked = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        || std::env::var_os("container").is_some()
        || marks.iter().any(|mark| Path::new(mark).exists());
    marked && !has_the_hosts_files()
}

/// Places to look for the runtimes' files, in the order in which they are asked.
#[must_use]
pub fn roots() -> Vec<PathBuf> {
    candidates(configured(), in_container(), kernels_root())
}

fn candidates(configured: Option<&Path>, in_container: bool, kernels: Option<PathBuf>) -> Vec<PathBuf> {
    let (own, first) = (PathBuf::from("/"), PathBuf::from(FIRST));
    match configured {
        Some(path) => vec![path.to_owned()],
        // In a container our own root comes last: somebody may have mounted just the runtime's folder into it.
        None if in_container => [first].into_iter().chain(kernels).chain([own]).collect(),
        None => vec![own, first],
    }
}

/// The root of the kernel's threads, open where that of process 1 is closed: the host's, where it is
/// that of a whole system and not of what the kernel booted from.
fn kernels_root() -> Option<PathBuf> {
    firsts().first().map(|kernel| root_of(kernel)).filter(|root| root.join("usr").is_dir())
}

/// `doctor`'s line `names`: which source of names answers, and what is lost without one.
#[must_use]
pub fn check() -> HealthCheck {
    let roots = roots();
    let owners = CgroupTrees::new("/proc".into(), roots.clone()).readable();
    judge(&roots, in_container() && configured().is_none(), owners)
}

/// `alone`: we are in a container, whose runtime must be somewhere, and nobody said where the host's
/// root is.
fn judge(roots: &[PathBuf], alone: bool, owners: bool) -> HealthCheck {
    let (mut answers, mut closed) = (Vec::new(), Vec::new());
    for path in roots {
        match HostRoot::open(path) {
            Ok(root) => answers.push((path, state::found(&root))),
            Err(error) => closed.push(format!("{}: {error}", path.display())),
        }
    }
    let told = answers.iter().find(|(_, found)| !found.is_empty());
    let sources = "not asked in this version: API server, kubelet";
    let found = match (told, answers.first()) {
        (Some((path, found)), _) => format!("container runtimes' files below {}: {}", path.display(), found.join(", ")),
        (None, Some((path, _))) => format!("no container runtime's files below {}", path.display()),
        (None, None) => format!("the host's root cannot be read ({})", closed.join("; ")),
    };
    let found = format!("{found}; {sources}");
    let fault = if answers.is_empty() || alone && told.is_none() {
        Some((
            "names of containers and pods: `service` is the executable's, k8s labels stay empty, and only `pod_uid` tells pods apart",
            "mount the host's root read-only and say where: `-v /:/host:ro` with LLM_OBSERVER_HOST_ROOT=/host (or --host.root, or \
             `host: { root: /host }`), and share the host's pid namespace",
        ))
    } else if !owners {
        Some((
            "containers and pods altogether: who owns a cgroup cannot be looked up, and no path is believed without it",
            "mount the host's cgroup tree: `-v /sys/fs/cgroup:/sys/fs/cgroup:ro`",
        ))
    } else {
        None
    };
    let (severity, (lost, fix)) = fault.map_or((CheckSeverity::Ok, ("", "")), |fault| (CheckSeverity::Degraded, fault));
    HealthCheck { name: "names", severity, found, lost: lost.into(), fix: fix.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_is_the_only_place() {
        let kernels = || Some(root_of("2"));
        assert_eq!(candidates(Some(Path::new("/host")), true, kernels()), [PathBuf::from("/host")]);
        assert_eq!(candidates(None, false, kernels()), [PathBuf::from("/"), FIRST.into()]);
        assert_eq!(candidates(None, true, None), [PathBuf::from(FIRST), "/".into()]);
        assert_eq!(candidates(None, true, kernels()), [PathBuf::from(FIRST), root_of("2"), "/".into()]);
    }

    #[test]
    fn doctor_says_which_source_answers_and_what_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (here, gone) = (dir.path().to_owned(), dir.path().join("gone"));
        let none = judge(std::slice::from_ref(&gone), false, true);
        assert_eq!(none.severity, CheckSeverity::Degraded);
        assert!(none.found.contains("gone") && none.fix.contains("LLM_OBSERVER_HOST_ROOT"), "{none:?}");
        assert_eq!(
            judge(std::slice::from_ref(&here), false, true).severity,
            CheckSeverity::Ok,
            "a host without containers"
        );
        assert_eq!(
            judge(std::slice::from_ref(&here), true, true).severity,
            CheckSeverity::Degraded,
            "a container that sees itself alone"
        );
        let blind = judge(std::slice::from_ref(&here), false, false);
        assert!(blind.severity == CheckSeverity::Degraded && blind.fix.contains("/sys/fs/cgroup"), "{blind:?}");
        std::fs::create_dir_all(here.join("run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io")).unwrap();
        let some = judge(&[gone, here], true, true);
        assert_eq!(some.severity, CheckSeverity::Ok);
        assert!(some.found.contains("k3s") && some.found.contains("k8s.io"), "{}", some.found);
    }
}

//! Who a process is: the answer that labels and `inspect` show, and the parsers of what says so.
//! The edge reads. Who is believed about what: decision 0004.

pub mod cgroup;
pub mod grammar;
pub mod oci;
mod workload;

use std::sync::OnceLock;

use cgroup::CgroupFacts;
pub use cgroup::fuzz as fuzz_cgroup;
pub use oci::fuzz as fuzz_container_state;

/// A process as operators know it. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Process id in the initial namespace.
    pub pid: u32,
    /// Effective user id, as the host counts users; `None` for a process that was gone before it could be asked.
    pub uid: Option<u32>,
    /// The kernel's `comm`.
    pub comm: String,
    /// Path of the executable, as the process sees it.
    pub exe: Option<String>,
    /// systemd unit, container name or executable name, in that order. What a user could have chosen carries his id.
    pub service: String,
    /// Kubernetes, where the cgroup path and the runtime say so.
    pub k8s: K8sIdentity,
    /// Container id (full hex) where there is one.
    pub container_id: Option<String>,
}

/// The Kubernetes part of an identity; all `None` outside Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct K8sIdentity {
    /// Namespace.
    pub namespace: Option<String>,
    /// Workload (deployment, stateful set …); `None` where the pod's name does not tell it.
    pub workload: Option<String>,
    /// Kind of the workload; `None`: the pod's owners are known to the API server alone.
    pub workload_kind: Option<String>,
    /// Pod name.
    pub pod: Option<String>,
    /// Pod UID.
    pub pod_uid: Option<String>,
    /// Container name.
    pub container: Option<String>,
    /// Node name, where `NODE_NAME` says it.
    pub node: Option<String>,
}

/// What /proc says of a process itself.
#[derive(Clone, Debug, Default)]
pub struct ProcessFacts {
    pub pid: u32,
    pub comm: String,
    pub exe: Option<String>,
    pub uid: Option<u32>,
    /// Root, and as mighty as the host's first process.
    pub root: bool,
}

/// Whose an executable's name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutableOwner {
    /// The host's own file, which root alone can change, of a name that no unit and no container has.
    System,
    Strange,
}

/// What a container runtime calls a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerNames {
    pub container: Option<String>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
    pub pod_uid: Option<String>,
    /// Its pod is one of an indexed job.
    pub indexed: bool,
}

impl ProcessIdentity {
    /// Puts together what was read. `names`: what the container's runtime says; `own`: of the
    /// executable's name, where it is needed.
    #[must_use]
    pub fn new(
        facts: ProcessFacts,
        cgroup: CgroupFacts,
        names: Option<ContainerNames>,
        own: ExecutableOwner,
    ) -> ProcessIdentity {
        let service = service(&facts, &cgroup, names.as_ref(), own);
        // A user's word for his container's id is no more than that until his runtime knows it.
        let of_user = cgroup.container.as_ref().is_some_and(|container| container.user.is_some());
        let container_id = cgroup.container.filter(|_| !of_user || names.is_some()).map(|container| container.id);
        let names = names.filter(|_| !of_user).unwrap_or_default();
        let k8s = K8sIdentity::new(cgroup.pod_uid, names);
        ProcessIdentity { pid: facts.pid, uid: facts.uid, comm: facts.comm, exe: facts.exe, service, k8s, container_id }
    }

    /// A process that was gone before it could be looked at: only the name that it gave itself is left.
    #[must_use]
    pub fn gone(pid: u32, comm: String) -> ProcessIdentity {
        ProcessIdentity::new(
            ProcessFacts { pid, comm, ..ProcessFacts::default() },
            CgroupFacts::default(),
            None,
            ExecutableOwner::Strange,
        )
    }
}

impl K8sIdentity {
    fn new(pod_uid: Option<String>, names: ContainerNames) -> K8sIdentity {
        // Two words for one pod: neither is believed.
        if pod_uid.as_ref().zip(names.pod_uid.as_ref()).is_some_and(|(path, state)| path != state) {
            return K8sIdentity { pod_uid, ..K8sIdentity::default() };
        }
        let pod_uid = pod_uid.or(names.pod_uid);
        if pod_uid.is_none() && names.pod.is_none() {
            return K8sIdentity::default();
        }
        // Static pods have a hash for a UID, and no controller.
        let fixed = pod_uid.as_ref().is_some_and(|uid| !uid.contains('-'));
        K8sIdentity {
            namespace: names.namespace,
            workload: names.pod.as_deref().and_then(|pod| workload::of_pod(pod, fixed, names.indexed)),
            workload_kind: None,
            pod: names.pod,
            pod_uid,
            container: names.container,
            node: node(),
        }
    }
}

impl ProcessFacts {
    #[must_use]
    pub fn program(&self) -> &str {
        self.exe.as_deref().and_then(base_name).unwrap_or(&self.comm)
    }

    /// Whether the executable's name will be the service's, and a stranger may have chosen it.
    #[must_use]
    pub fn needs_own(&self, cgroup: &CgroupFacts, names: Option<&ContainerNames>) -> bool {
        let named = cgroup.unit.is_some() || names.is_some_and(|names| names.container.is_some());
        !named && !self.root && cgroup.container.is_none() && !cgroup.inside
    }
}

/// systemd unit, container name or executable name, in that order. What is in brackets cannot stand
/// in a unit's or a container's name, and comes last, so that no executable's name can make it up.
fn service(facts: &ProcessFacts, cgroup: &CgroupFacts, names: Option<&ContainerNames>, own: ExecutableOwner) -> String {
    let of = |name: &str, user: Option<u32>| user.map_or_else(|| name.to_owned(), |uid| format!("{name} (uid {uid})"));
    if let Some(unit) = &cgroup.unit {
        return of(&unit.name, unit.user);
    }
    let user = cgroup.container.as_ref().and_then(|container| container.user);
    if let Some(name) = names.and_then(|names| names.container.as_ref()) {
        return of(name, user);
    }
    let program = facts.program();
    if user.is_some() {
        return of(program, user);
    }
    if cgroup.container.is_some() || cgroup.pod_uid.is_some() || cgroup.inside {
        return format!("{program} (container)");
    }
    if facts.root || own == ExecutableOwner::System {
        return program.to_owned();
    }
    match facts.uid {
        Some(uid) => format!("{program} (uid {uid})"),
        None => format!("{program} (gone)"),
    }
}

/// The node's name, by the downward API.
fn node() -> Option<String> {
    static NODE: OnceLock<Option<String>> = OnceLock::new();
    NODE.get_or_init(|| std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty())).clone()
}

fn base_name(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;

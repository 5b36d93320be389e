//! Who a process is: the answer that labels and `inspect` show. `procfs` alone reads files; the rest is pure.

mod cgroup;
mod oci;
mod procfs;
mod workload;

pub use cgroup::Cgroup;
pub use procfs::Reader;

/// A process as operators know it. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Process id in the initial namespace.
    pub pid: u32,
    /// The kernel's `comm`.
    pub comm: String,
    /// Path of the executable, as the process sees it.
    pub exe: Option<String>,
    /// systemd unit, container name or executable name, in that order.
    pub service: String,
    /// Kubernetes, where the cgroup path says so.
    pub k8s: K8s,
    /// Container id (full hex) where there is one.
    pub container_id: Option<String>,
}

/// The Kubernetes part of an identity; all `None` outside Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct K8s {
    /// Namespace.
    pub namespace: Option<String>,
    /// Workload (deployment, stateful set …).
    pub workload: Option<String>,
    /// Pod name, or its UID where no API told the name.
    pub pod: Option<String>,
    /// Container name.
    pub container: Option<String>,
}

impl Identity {
    /// Puts together what was read. `names` is what the container runtime's own files say, if it is a container.
    #[must_use]
    pub fn new(pid: u32, comm: String, exe: Option<String>, cgroup: Cgroup, names: ContainerNames) -> Identity {
        let pod = names.pod.clone().or(cgroup.pod_uid);
        let k8s = K8s {
            workload: names.pod.as_deref().map(workload::of_pod),
            namespace: names.namespace,
            container: pod.as_ref().and(names.container.clone()),
            pod,
        };
        let program = exe.as_deref().and_then(base_name).unwrap_or(&comm).to_owned();
        let service = cgroup.unit.or(names.container).unwrap_or(program);
        Identity { pid, comm, exe, service, k8s, container_id: cgroup.container_id }
    }
}

/// What a container runtime calls a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerNames {
    pub container: Option<String>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
}

fn base_name(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cgroup: &str, names: ContainerNames) -> Identity {
        let exe = Some("/usr/bin/python3.11".to_owned());
        Identity::new(7, "python3".into(), exe, Cgroup::parse(cgroup), names)
    }

    #[test]
    fn unit_then_container_then_executable() {
        let named = ContainerNames { container: Some("shop".into()), ..Default::default() };
        assert_eq!(identity("0::/system.slice/agent.service", ContainerNames::default()).service, "agent");
        assert_eq!(identity(&format!("0::/docker/{}", "a".repeat(64)), named).service, "shop");
        assert_eq!(identity("0::/user.slice/session-1.scope", ContainerNames::default()).service, "python3.11");
        assert_eq!(Identity::new(1, "java".into(), None, Cgroup::default(), ContainerNames::default()).service, "java");
    }

    #[test]
    fn kubernetes_without_an_api_keeps_the_uid() {
        let uid = "0b1cd5a5-2a3b-4c5d-8e9f-001122334455";
        let path = format!("0::/kubepods/burstable/pod{uid}/{}", "b".repeat(64));
        let bare = identity(&path, ContainerNames::default());
        assert_eq!(bare.k8s.pod.as_deref(), Some(uid));
        assert_eq!((bare.k8s.workload, bare.service.as_str()), (None, "python3.11"));
        let names = ContainerNames {
            container: Some("web".into()),
            pod: Some("shop-7d9f8c6b5d-x2x4z".into()),
            namespace: Some("prod".into()),
        };
        let full = identity(&path, names);
        assert_eq!(full.k8s.workload.as_deref(), Some("shop"));
        assert_eq!((full.k8s.namespace.as_deref(), full.k8s.container.as_deref()), (Some("prod"), Some("web")));
        assert_eq!(full.service, "web");
    }
}

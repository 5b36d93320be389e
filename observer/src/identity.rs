//! Who a process is: the answer that labels and `inspect` show. Pure data; `kernel` fills it from /proc.

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

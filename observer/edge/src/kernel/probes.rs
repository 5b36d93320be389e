//! The programs that hook the host as a whole. Those that go into TLS stacks are named by `stacks`.

/// How a program hooks the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramHook {
    /// In a TLS stack; put into each file that carries it.
    Uprobe,
    /// A raw tracepoint (needs no tracefs).
    RawTracepoint(&'static str),
    /// connect() of the cgroup tree.
    CgroupConnect,
    /// Packets of the cgroup tree: incoming if true.
    CgroupSkb(bool),
    /// What TCP tells of the sockets of the cgroup tree.
    CgroupSockOps,
}

/// A program of the kernel object that hooks the host.
#[derive(Clone, Copy, Debug)]
pub struct KernelProgram {
    pub name: &'static str,
    pub hook: ProgramHook,
    /// What is lost where it cannot be attached.
    pub lost: &'static str,
}

/// All of them; a test compares their names and those of `stacks::programs` with the object's, both
/// ways.
pub const PROGRAMS: &[KernelProgram] = &[
    KernelProgram {
        name: "sched_process_exit",
        hook: ProgramHook::RawTracepoint("sched_process_exit"),
        lost: "streams cut by the end of their process are noticed up to a second late",
    },
    KernelProgram { name: "cgroup_connect4", hook: ProgramHook::CgroupConnect, lost: SOCKETS },
    KernelProgram { name: "cgroup_connect6", hook: ProgramHook::CgroupConnect, lost: "the same over IPv6" },
    KernelProgram { name: "cgroup_egress", hook: ProgramHook::CgroupSkb(false), lost: SOCKETS },
    KernelProgram { name: "cgroup_ingress", hook: ProgramHook::CgroupSkb(true), lost: SOCKETS },
    KernelProgram {
        name: "cgroup_sock_ops",
        hook: ProgramHook::CgroupSockOps,
        lost: "retransmissions while nothing is read, and sockets that end without a packet",
    },
];

impl ProgramHook {
    /// It is a part of the socket layer.
    #[must_use]
    pub fn is_of_sockets(self) -> bool {
        matches!(self, Self::CgroupConnect | Self::CgroupSkb(_) | Self::CgroupSockOps)
    }
}

/// Is the probe of this name a part of the socket layer?
#[must_use]
pub fn is_of_sockets(probe: &str) -> bool {
    PROGRAMS.iter().any(|program| program.name == probe && program.hook.is_of_sockets())
}

/// What goes without the socket layer.
pub const SOCKETS: &str = "plain HTTP, arrival times, remote addresses, resets told from orderly ends, retransmissions, and \
                           processes whose TLS no probe enters";

//! The probe table: what is hooked, by which program, and why. Attaching is one loop over it.

/// Where a function leaves the number of bytes it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LengthIn {
    /// It returns it (`SSL_read`, `SSL_write`).
    Result,
    /// It writes it where `rcx` points (fourth argument).
    Rcx,
    /// It writes it where `r8` points (fifth argument).
    R8,
}

/// What a probed function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Moves plaintext to the application.
    Read,
    /// Moves plaintext from the application.
    Write,
    /// Makes a TLS object.
    Birth,
    /// Asks for an orderly end.
    Shutdown,
    /// Frees a TLS object.
    Free,
}

/// A function of a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its exported name.
    pub symbol: &'static str,
    /// Name of the probe in `inspect probes`.
    pub probe: &'static str,
    pub role: Role,
    pub length: LengthIn,
}

/// The functions of OpenSSL and its relatives (LibreSSL, BoringSSL and AWS-LC export the same names). CPython calls only the
/// `_ex` pair, curl and Node the plain one.
pub const FUNCTIONS: &[Function] = &[
    Function { symbol: "SSL_read", probe: "ssl_read", role: Role::Read, length: LengthIn::Result },
    Function { symbol: "SSL_read_ex", probe: "ssl_read_ex", role: Role::Read, length: LengthIn::Rcx },
    Function { symbol: "SSL_write", probe: "ssl_write", role: Role::Write, length: LengthIn::Result },
    Function { symbol: "SSL_write_ex", probe: "ssl_write_ex", role: Role::Write, length: LengthIn::Rcx },
    Function { symbol: "SSL_write_ex2", probe: "ssl_write_ex2", role: Role::Write, length: LengthIn::R8 },
    Function { symbol: "SSL_new", probe: "ssl_new", role: Role::Birth, length: LengthIn::Result },
    Function { symbol: "SSL_shutdown", probe: "ssl_shutdown", role: Role::Shutdown, length: LengthIn::Result },
    Function { symbol: "SSL_free", probe: "ssl_free", role: Role::Free, length: LengthIn::Result },
];

/// The entry and return programs for a role and a place of the length. `inner`: at the function that the public ones call, whose
/// result tells the end of the stream (0) from a read that would block (negative); `SSL_read_ex` returns 0 for both.
#[must_use]
pub fn programs(role: Role, length: LengthIn, inner: bool) -> (Option<&'static str>, Option<&'static str>) {
    match (role, length) {
        (Role::Read, LengthIn::Result) => (Some("ssl_read"), Some("ssl_read_done")),
        // No known read takes the pointer in r8; the placement refuses it.
        (Role::Read, LengthIn::Rcx | LengthIn::R8) if inner => (Some("ssl_read_ex"), Some("ssl_read_done")),
        (Role::Read, LengthIn::Rcx | LengthIn::R8) => (Some("ssl_read_ex"), Some("ssl_read_ex_done")),
        (Role::Write, LengthIn::Result) => (Some("ssl_write"), Some("ssl_write_done")),
        (Role::Write, LengthIn::Rcx) => (Some("ssl_write_ex"), Some("ssl_write_done")),
        (Role::Write, LengthIn::R8) => (Some("ssl_write_ex2"), Some("ssl_write_done")),
        (Role::Birth, _) => (None, Some("ssl_new_done")),
        (Role::Shutdown, _) => (Some("ssl_shutdown"), None),
        (Role::Free, _) => (Some("ssl_free"), None),
    }
}

/// How a program hooks the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// In a TLS library; attached for each library found.
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

/// A program of the kernel object.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    pub hook: Hook,
    /// What is lost where it cannot be attached; empty: the daemon cannot run without it.
    pub lost: &'static str,
}

/// Every program of the object; a test compares the names both ways.
pub const PROGRAMS: &[Program] = &[
    Program { name: "ssl_read", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_read_ex", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_write", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_write_ex", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_write_ex2", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_read_done", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_read_ex_done", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_write_done", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_new_done", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_shutdown", hook: Hook::Uprobe, lost: "" },
    Program { name: "ssl_free", hook: Hook::Uprobe, lost: "" },
    Program {
        name: "sched_process_exit",
        hook: Hook::RawTracepoint("sched_process_exit"),
        lost: "streams cut by the end of their process are noticed up to a second late",
    },
    Program { name: "cgroup_connect4", hook: Hook::CgroupConnect, lost: SOCKETS },
    Program { name: "cgroup_connect6", hook: Hook::CgroupConnect, lost: "the same over IPv6" },
    Program { name: "cgroup_egress", hook: Hook::CgroupSkb(false), lost: SOCKETS },
    Program { name: "cgroup_ingress", hook: Hook::CgroupSkb(true), lost: SOCKETS },
    Program {
        name: "cgroup_sock_ops",
        hook: Hook::CgroupSockOps,
        lost: "retransmissions while nothing is read, and sockets that end without a packet",
    },
];

/// What goes without the socket layer.
pub const SOCKETS: &str = "plain HTTP, arrival times, remote addresses, resets told from orderly ends, retransmissions, and \
                           processes whose TLS no probe enters";

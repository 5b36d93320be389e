//! What this process may do, and why the kernel said no: the capability, the namespace or the
//! filter that is in the way. Pure but for `PrivilegeFacts::own`, which takes no descriptor, so that it
//! is right when none is left.

use std::os::unix::fs::MetadataExt;

/// A capability that some part of the daemon asks for. Numbers: include/uapi/linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Capability {
    DacOverride = 1,
    DacReadSearch = 2,
    NetAdmin = 12,
    SysPtrace = 19,
    SysAdmin = 21,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Capability::DacOverride => "CAP_DAC_OVERRIDE",
            Capability::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::SysPtrace => "CAP_SYS_PTRACE",
            Capability::SysAdmin => "CAP_SYS_ADMIN",
            Capability::Perfmon => "CAP_PERFMON",
            Capability::Bpf => "CAP_BPF",
        }
    }
}

/// All that bears on whether the kernel lets us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PrivilegeFacts {
    /// Effective capabilities, a bit each.
    pub caps: u64,
    /// A user namespace of our own (rootless): what is held there counts for nothing here.
    pub rootless: bool,
    /// A filter of system calls is in place.
    pub seccomp: bool,
    /// Locked memory that a kernel before 5.11 allows for maps; `None`: without limit.
    pub locked_bytes: Option<u64>,
}

/// Inode of the first user namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h), the same on
/// every kernel since 3.8.
const FIRST_USER_NAMESPACE: u64 = 0xefff_fffd;

impl PrivilegeFacts {
    /// This process's.
    #[must_use]
    pub(super) fn own() -> PrivilegeFacts {
        let namespace = std::fs::metadata("/proc/self/ns/user").map(|meta| meta.ino());
        // SAFETY: no pointers. A strict filter ends who asks, but under one nobody gets this far.
        let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) };
        PrivilegeFacts {
            caps: effective(),
            rootless: namespace.is_ok_and(|inode| inode != FIRST_USER_NAMESPACE),
            seccomp: mode > 0,
            locked_bytes: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
        }
    }

    /// Whether it holds `cap`, or what the kernel takes for it (CAP_SYS_ADMIN stands for what was split off it).
    #[must_use]
    pub(super) fn may(&self, cap: Capability) -> bool {
        let has = |cap: Capability| self.caps >> cap as u32 & 1 == 1;
        let split_off = matches!(cap, Capability::Bpf | Capability::Perfmon | Capability::NetAdmin);
        has(cap) || (split_off && has(Capability::SysAdmin))
    }

    /// Why the kernel refuses what needs `needs` with `error`, and what to do about it.
    #[must_use]
    pub(super) fn refusal(&self, needs: &[Capability], error: i32) -> PrivilegeRefusal {
        let missing: Vec<&str> = needs.iter().filter(|cap| !self.may(**cap)).map(|cap| cap.name()).collect();
        match error {
            libc::ENOSYS if self.seccomp => PrivilegeRefusal::new("the seccomp profile hides the system call", SECCOMP),
            libc::ENOSYS => PrivilegeRefusal::new("this kernel has no such system call", KERNEL),
            libc::ENOMEM => PrivilegeRefusal::new("memory does not suffice", MEMORY),
            libc::EPERM | libc::EACCES if !missing.is_empty() => {
                let verb = if missing.len() == 1 { "is" } else { "are" };
                PrivilegeRefusal::new(format!("{} {verb} missing", missing.join(" and ")), GIVE)
            }
            libc::EPERM | libc::EACCES if self.rootless => {
                PrivilegeRefusal::new("capabilities of a user namespace count for nothing here", ROOTLESS)
            }
            libc::EPERM | libc::EACCES if self.seccomp => {
                PrivilegeRefusal::new("the seccomp profile refuses it", SECCOMP)
            }
            libc::EPERM if self.locked_bytes.is_some_and(|bytes| bytes < LOCKED_ENOUGH) => {
                let kib = self.locked_bytes.unwrap_or(0) / 1024;
                PrivilegeRefusal::new(
                    format!("a security module, or RLIMIT_MEMLOCK ({kib} KiB) before Linux 5.11"),
                    LOCKED,
                )
            }
            libc::EPERM | libc::EACCES => {
                PrivilegeRefusal::new("a security module (SELinux, AppArmor) or lockdown refuses it", MODULE)
            }
            libc::EMFILE | libc::ENFILE => PrivilegeRefusal::new("no file descriptor is left", DESCRIPTORS),
            _ => PrivilegeRefusal::new(std::io::Error::from_raw_os_error(error).to_string(), KERNEL),
        }
    }
}

/// Effective capabilities of this thread. Layout: `struct __user_cap_header_struct` and two of
/// `__user_cap_data_struct`.
fn effective() -> u64 {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: header and sets are as long as version 3 has them.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    let [[low, ..], [high, ..]] = sets;
    if got == 0 { u64::from(low) | u64::from(high) << 32 } else { 0 }
}

/// Every map of the daemon fits into it.
const LOCKED_ENOUGH: u64 = 256 << 20;

const GIVE: &str = "run as root (sudo on a host), or give a pod or container BPF, PERFMON, NET_ADMIN, SYS_PTRACE and \
                    DAC_READ_SEARCH (securityContext.capabilities.add, --cap-add) or privileged: true";
const ROOTLESS: &str = "run outside of the user namespace: as root on the host, or in a container that is not rootless \
                        (Kubernetes: hostUsers: true)";
const SECCOMP: &str = "allow bpf and perf_event_open in the seccomp profile (Kubernetes: seccompProfile.type: Unconfined; \
                       docker and podman: --security-opt seccomp=unconfined)";
const KERNEL: &str = "use Linux 5.8 or newer with CONFIG_BPF_SYSCALL=y, CONFIG_PERF_EVENTS=y and CONFIG_UPROBES=y";
const MEMORY: &str = "raise the memory limit (Kubernetes: resources.limits.memory), or lower kernel.ring_bytes";
const LOCKED: &str =
    "run with `ulimit -l unlimited` (systemd: LimitMEMLOCK=infinity), or see the security module's log";
const MODULE: &str = "see the security module's log (ausearch, dmesg) and allow it bpf and perf_event_open";
const DESCRIPTORS: &str = "raise the hard limit of open files (systemd: LimitNOFILE, docker: --ulimit nofile)";

/// Why the kernel says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivilegeRefusal {
    pub why: String,
    pub fix: &'static str,
}

impl PrivilegeRefusal {
    fn new(why: impl Into<String>, fix: &'static str) -> PrivilegeRefusal {
        PrivilegeRefusal { why: why.into(), fix }
    }
}

/// The number of the system's error somewhere below `error`, if that is its cause.
#[must_use]
pub(super) fn system_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(number) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
            return Some(number);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: PrivilegeFacts = PrivilegeFacts { caps: 0, rootless: false, seccomp: false, locked_bytes: None };

    fn with(caps: &[Capability]) -> PrivilegeFacts {
        PrivilegeFacts { caps: caps.iter().fold(0, |bits, cap| bits | 1 << *cap as u32), ..BARE }
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_else() {
        let needs = [Capability::Bpf, Capability::Perfmon];
        assert_eq!(BARE.refusal(&needs, libc::EPERM).why, "CAP_BPF and CAP_PERFMON are missing");
        assert_eq!(with(&[Capability::Bpf]).refusal(&needs, libc::EACCES).why, "CAP_PERFMON is missing");
        for enough in [with(&needs), with(&[Capability::SysAdmin])] {
            assert!(!enough.refusal(&needs, libc::EPERM).why.contains("CAP_"), "{enough:?}");
        }
        assert!(!with(&[Capability::SysAdmin]).may(Capability::SysPtrace), "it stands for what was split off it alone");
    }

    #[test]
    fn this_process_may_what_the_kernel_says_it_may() {
        let status = procfs::process::Process::myself().and_then(|own| own.status()).unwrap();
        let own = PrivilegeFacts::own();
        assert_eq!((own.caps, own.seccomp), (status.capeff, status.seccomp != Some(0)));
    }

    #[test]
    fn with_every_capability_something_else_is_in_the_way() {
        let needs = [Capability::Bpf];
        let all = with(&needs);
        let why = |standing: PrivilegeFacts, error| standing.refusal(&needs, error).why;
        assert!(why(PrivilegeFacts { rootless: true, ..all }, libc::EPERM).contains("user namespace"));
        assert!(why(PrivilegeFacts { seccomp: true, ..all }, libc::EPERM).contains("seccomp"));
        assert!(why(PrivilegeFacts { seccomp: true, ..all }, libc::ENOSYS).contains("seccomp"));
        assert!(why(all, libc::ENOSYS).contains("no such system call"));
        assert!(
            why(PrivilegeFacts { locked_bytes: Some(65_536), ..all }, libc::EPERM).contains("RLIMIT_MEMLOCK (64 KiB)")
        );
        assert!(why(all, libc::EPERM).contains("security module"));
        for error in [libc::ENOMEM, libc::EMFILE, libc::E2BIG, libc::EINVAL] {
            assert!(!why(all, error).contains("CAP_") && !all.refusal(&needs, error).fix.contains("sudo"), "{error}");
        }
    }
}

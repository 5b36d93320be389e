//! The kernel side as the verbs see it: whether we may, and how it starts. A build without it says so.

use anyhow::bail;

use crate::config::Settings;
use crate::coverage::{Check, Edge};

/// Fails early, and with the fix, where the kernel side can only fail later.
#[cfg(feature = "bpf")]
pub fn may_observe(verb: &str) -> anyhow::Result<()> {
    /// CAP_SYS_ADMIN: probes on functions of other programs need it (`perf_event_open`).
    const SYS_ADMIN: u32 = 21;
    let capable = procfs::process::Process::myself()
        .and_then(|own| own.status())
        .is_ok_and(|status| status.capeff >> SYS_ADMIN & 1 == 1);
    if !capable {
        bail!("`{verb}` needs root (it lacks CAP_SYS_ADMIN, which probes need): run it as `sudo llm-observer {verb}`");
    }
    Ok(())
}

/// Attaches to this host.
#[cfg(feature = "bpf")]
pub fn start(settings: &Settings) -> anyhow::Result<Box<dyn Edge>> {
    let kernel = crate::kernel::Settings { ring_bytes: settings.ring_bytes, ..Default::default() };
    Ok(Box::new(crate::kernel::Session::start(&kernel)?))
}

/// What this host offers.
#[cfg(feature = "bpf")]
pub fn preflight() -> Vec<Check> {
    crate::kernel::preflight()
}

/// This build has no kernel side.
#[cfg(not(feature = "bpf"))]
pub fn may_observe(verb: &str) -> anyhow::Result<()> {
    bail!("`{verb}` needs the kernel part, which this binary was built without: build it with `cargo xtask setup`")
}

/// Cannot be reached: `may_observe` refuses before.
#[cfg(not(feature = "bpf"))]
pub fn start(_: &Settings) -> anyhow::Result<Box<dyn Edge>> {
    bail!("built without the kernel part")
}

/// What this build offers.
#[cfg(not(feature = "bpf"))]
pub fn preflight() -> Vec<Check> {
    vec![Check {
        name: "kernel part",
        severity: crate::coverage::Severity::Fatal,
        found: "built without it".into(),
        lost: "everything live; `replay` works".into(),
        fix: "build with `cargo xtask setup`".into(),
    }]
}

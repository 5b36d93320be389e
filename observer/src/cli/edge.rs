//! The kernel side as the verbs see it: whether we may, and how it starts.

use anyhow::Context;

use crate::config::DaemonSettings;
use edge::coverage::{CaptureEdge, HealthCheck};

/// Fails early, and with the fix, where the kernel side can only fail later: by trying what it
/// takes, not by capability.
pub(super) fn may_observe(verb: &str, settings: &DaemonSettings) -> anyhow::Result<()> {
    edge::kernel::may_observe(settings.ring_bytes).with_context(|| format!("`{verb}` cannot observe this host"))
}

/// Attaches to this host.
/// `layouts`: what an earlier process found in files.
pub(super) fn start(settings: &DaemonSettings, layouts: Option<Vec<u8>>) -> anyhow::Result<Box<dyn CaptureEdge>> {
    let kernel = edge::kernel::EdgeSettings { ring_bytes: settings.ring_bytes, layouts, ..Default::default() };
    Ok(Box::new(edge::kernel::EdgeSession::start(&kernel)?))
}

/// What this host shows, looked up anew.
pub(super) fn sights(settings: &DaemonSettings) -> Vec<HealthCheck> {
    edge::kernel::sights(settings.ring_bytes, edge::kernel::CheckStage::Running)
}

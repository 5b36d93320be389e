//! Programs with a TLS stack inside that no symbol names: when they are probed.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::ledger::Probe;
use crate::rig::Rig;
use crate::wait_for;

/// How long a file may wait to be looked through on a busy host.
const LOOKED_THROUGH: Duration = Duration::from_secs(30);

/// Starts a client that waits for its go, and is let go when its file has this probe. The rows of that file.
///
/// # Errors
/// It does not get the probe.
pub fn probed(rig: &Rig, client: &str, probe: &str) -> Result<Vec<Probe>> {
    let mut client = rig.run(client)?.env("CLIENT_GO", "1").start(&[])?;
    let pid = client.until(|said| said.ready)?.pid.context("it does not say who it is")?;
    let mapped = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let rows = wait_for("the client's probes", LOOKED_THROUGH, || {
        let rows = rig.daemon.probes().ok()?;
        let rows: Vec<Probe> =
            rows.into_iter().filter(|row| mapped.lines().any(|line| line.ends_with(&row.target))).collect();
        rows.iter().any(|row| row.probe == probe && row.processes.is_some_and(|count| count > 0)).then_some(rows)
    });
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => {
            let all: Vec<serde_json::Value> = rig.daemon.inspect_json(&["probes"])?;
            return Err(error.context(format!("{all:#?}\n{}", rig.daemon.log())));
        }
    };
    client.go()?;
    client.finish()?;
    Ok(rows)
}

//! Programs with a TLS stack inside that no symbol names: when they are probed.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::clients::{Client, Run};
use crate::daemon::Daemon;
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
    let (client, rows) = go_when(&rig.daemon, rig.run(client)?, &[], |row| row.probe == probe)?;
    client.finish()?;
    Ok(rows)
}

/// Starts a client that makes these calls as soon as a file of its own is probed: its first call is seen then.
///
/// # Errors
/// None of its files is probed.
pub fn start_probed(daemon: &Daemon, run: Run, models: &[String]) -> Result<Client> {
    let in_a_file = |row: &Probe| row.state == "ok" && !row.target.contains("libssl.so") && row.stack.is_some();
    go_when(daemon, run, models, in_a_file).map(|(client, _)| client)
}

/// Starts a client and lets it go when one of its files has such a probe; the rows of its files.
fn go_when(
    daemon: &Daemon,
    run: Run,
    models: &[String],
    wanted: impl Fn(&Probe) -> bool,
) -> Result<(Client, Vec<Probe>)> {
    let mut client = run.env("CLIENT_GO", "1").start(models)?;
    let pid = client.until(|said| said.ready)?.pid.context("it does not say who it is")?;
    let mapped = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let rows = wait_for("the client's probes", LOOKED_THROUGH, || {
        let rows = daemon.probes().ok()?;
        let rows: Vec<Probe> =
            rows.into_iter().filter(|row| mapped.lines().any(|line| line.ends_with(&row.target))).collect();
        rows.iter().any(|row| wanted(row) && row.processes.is_some_and(|count| count > 0)).then_some(rows)
    });
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => {
            let all: Vec<serde_json::Value> = daemon.inspect_json(&["probes"])?;
            return Err(error.context(format!("{all:#?}\n{}", daemon.log())));
        }
    };
    client.go()?;
    Ok((client, rows))
}

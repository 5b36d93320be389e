//! The daemon under test, as a process.

use std::fs::{self, File};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Where it listens for `inspect`.
pub(crate) const SOCKET: &str = "/run/inspect.sock";
const PROGRAM: &str = "/bin/llm-observer";
const LOG: &str = "/tmp/daemon.log";

/// A running daemon.
pub(crate) struct Daemon {
    child: Mutex<Child>,
}

impl Daemon {
    pub(crate) fn start() -> Result<Self> {
        let log = File::options().create(true).append(true).open(LOG).context("cannot write the daemon's log")?;
        let mut run = Command::new(PROGRAM);
        run.args(["run", "--inspect.socket", SOCKET]).stderr(log);
        Ok(Self { child: Mutex::new(run.spawn().context("cannot start the daemon")?) })
    }

    /// What it logged, both runs together.
    pub(crate) fn log() -> String {
        fs::read(LOG).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// `inspect WHAT -o json`.
    pub(crate) fn inspect(&self, what: &str) -> Result<Value> {
        let mut inspect = Command::new(PROGRAM);
        let out = inspect.args(["inspect", what, "-o", "json", "--inspect.socket", SOCKET]).output()?;
        ensure!(out.status.success(), "inspect {what}: {}", String::from_utf8_lossy(&out.stderr).trim());
        serde_json::from_slice(&out.stdout).with_context(|| format!("inspect {what} printed no JSON"))
    }

    /// Waits until it answers; an error when it ends or takes too long.
    pub(crate) fn wait_until_it_answers(&self, patience: Duration) -> Result<()> {
        self.wait_for("the daemon's answer", patience, |daemon| daemon.inspect("probes").map(|_| true))
    }

    /// Waits until a probe on a file with `name` in its path is attached and well.
    pub(crate) fn wait_for_probe(&self, name: &str, patience: Duration) -> Result<()> {
        self.wait_for("a probe on the library", patience, |daemon| {
            let probes = daemon.inspect("probes")?;
            let rows = probes.as_array().into_iter().flatten().map(Value::to_string);
            Ok(rows.into_iter().any(|row| row.contains(name) && row.contains("\"ok\"")))
        })
    }

    /// No probe of the table is missing on this kernel: every row is `ok`, or does not apply.
    pub(crate) fn every_probe_is_well(&self) -> Result<()> {
        let probes = self.inspect("probes")?;
        let state = |row: &&Value| row.get("state").and_then(Value::as_str).unwrap_or("none").to_owned();
        // The list of sockets is a module of Debian's kernels, which the guest does not have: said so, that is well.
        let listed = |row: &&Value| row.get("probe").is_some_and(|probe| probe == "sock_diag");
        // A file that is not looked at says nothing of the kernel: the guest's own programs, which are not optimised.
        let file = |row: &&Value| row.get("probe").is_some_and(|probe| probe == "file");
        let well = |row: &&Value| matches!(state(row).as_str(), "ok" | "not_applicable") || listed(row) || file(row);
        let ill: Vec<_> =
            probes.as_array().into_iter().flatten().filter(|row| !well(row)).map(Value::to_string).collect();
        ensure!(ill.is_empty(), "{}", ill.join(", "));
        Ok(())
    }

    /// `/metrics` at the default address tells of a stream that ended well.
    pub(crate) fn counts_a_complete_stream(&self) -> Result<()> {
        let mut wget = Command::new("/bin/busybox");
        let out = wget.args(["wget", "-q", "-O", "-", "http://127.0.0.1:9464/metrics"]).output()?;
        ensure!(out.status.success(), "wget: {}", String::from_utf8_lossy(&out.stderr).trim());
        let text = String::from_utf8_lossy(&out.stdout);
        let complete = |line: &&str| line.starts_with("llm_streams_total{") && line.contains(r#"outcome="complete""#);
        let line = text.lines().find(complete).context("no llm_streams_total with outcome complete")?;
        ensure!(!line.ends_with(" 0"), "{line}");
        Ok(())
    }

    /// Asks it to end and waits for it; it must end well.
    pub(crate) fn stop(self, patience: Duration) -> Result<()> {
        let id = self.child().id();
        Command::new("/bin/busybox").args(["kill", "-TERM", &id.to_string()]).status()?;
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child().try_wait()? {
                ensure!(status.success(), "the daemon ended with {status} on SIGTERM");
                return Ok(());
            }
            if Instant::now() > deadline {
                self.child().kill()?;
                bail!("the daemon did not end within {} s of SIGTERM", patience.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(self) -> Result<()> {
        let mut child = self.child();
        child.kill()?;
        child.wait().map(drop).context("cannot wait for the killed daemon")
    }

    /// Waits until `done`; an error when the daemon ends or it takes too long.
    pub(crate) fn wait_for(&self, what: &str, patience: Duration, done: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let now = done(self);
            if matches!(now, Ok(true)) {
                return Ok(());
            }
            if let Some(status) = self.child().try_wait()? {
                bail!("the daemon ended with {status} while {what} was waited for");
            }
            if Instant::now() > deadline {
                let last = now.err().map(|error| format!(": {error:#}")).unwrap_or_default();
                bail!("{what} did not come within {} s{last}", patience.as_secs());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

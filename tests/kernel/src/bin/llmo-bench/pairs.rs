//! `tests/programs/bench/pairs.py`, started and read.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use kernel_tests::clients::Clients;
use kernel_tests::places;
use serde::Deserialize;

/// What one run measured.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Measured {
    /// Median of the batches, nanoseconds a pair.
    pub pair_ns: f64,
    pub pairs: u64,
    /// TLS calls made, the unmeasured ones included.
    pub reads: u64,
    pub writes: u64,
}

/// A run that is set up and waits for `go`.
pub(crate) struct Pairs {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Pairs {
    /// Starts one; `mode` as in the program's own description.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(clients: &Clients, dir: &Path, mode: &str, seconds: u32) -> Result<Self> {
        let mut child = Command::new(clients.python())
            .arg(places::programs().join("bench/pairs.py"))
            .args([mode, &seconds.to_string()])
            .envs([("BENCH_CERT", dir.join("server.pem")), ("BENCH_KEY", dir.join("server.key"))])
            .env("CLIENT_GO", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start pairs.py")?;
        let lines = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut pairs = Self { child, lines };
        // `ready`: its connection is up and its kind known to the daemon.
        pairs.line()?;
        Ok(pairs)
    }

    /// Lets it run to its end. It stays alive, its last calls made, until it is dropped.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) fn go(&mut self) -> Result<Measured> {
        self.child.stdin.as_mut().context("no pipe")?.write_all(b"go\n")?;
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("pairs.py printed {line}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends with its input; an error means it has ended before.
        let _ = self.child.wait();
    }
}

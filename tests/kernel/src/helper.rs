//! Helper programs of the tests (`tests/programs`): they say a JSON line when they are ready, and end with their input.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::clients::Clients;
use crate::places;

/// A running one.
pub struct Helper {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts it and reads its first line.
    ///
    /// # Errors
    /// If it is not there or ends before it is ready.
    pub fn start(command: &mut Command) -> Result<(Self, Value)> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start a helper")?;
        let lines = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut helper = Self { child, lines };
        let first = helper.line()?;
        Ok((helper, first))
    }

    /// Somebody else's programs, which do nothing, on both packet hooks of the root cgroup: `multi`
    /// beside others, `exclusive` so that nobody else may.
    ///
    /// # Errors
    /// If there is no cgroup v2, or the kernel refuses them.
    pub fn other_programs(clients: &Clients, mode: &str) -> Result<Self> {
        let mut command = Command::new(clients.python());
        command.arg(places::programs().join("other_bpf.py")).arg(places::root_cgroup()?).arg(mode);
        Self::start(&mut command).map(|(helper, _)| helper)
    }

    /// The next line.
    ///
    /// # Errors
    /// If it ended.
    pub fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the helper said {line:?}"))
    }

    /// Asks it something; its answer.
    ///
    /// # Errors
    /// If it ended.
    pub fn ask(&mut self) -> Result<Value> {
        self.child.stdin.as_mut().context("no pipe")?.write_all(b"\n")?;
        self.line()
    }

    /// Tells it something; its answer.
    ///
    /// # Errors
    /// If it ended.
    pub fn tell(&mut self, what: &Value) -> Result<Value> {
        writeln!(self.child.stdin.as_mut().context("no pipe")?, "{what}")?;
        self.line()
    }

    /// Ends it; its last line.
    ///
    /// # Errors
    /// If it said none.
    pub fn end(mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        self.line()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

//! A provider at the far end of a path that delays, loses and dies: two network namespaces and
//! `path.py` between them; or behind a proxy.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use provider::script::Scenario;
use serde_json::json;

use crate::places;
use crate::rig::Rig;

/// Milliseconds that every packet takes.
const DELAY: &str = "5";

/// A program that is stopped with its owner, also when a test fails.
pub struct Stopped(pub Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The path, with the provider's program on its far side; both go with it.
pub struct Far {
    /// Stopped first: it lives in the namespaces that the path takes away.
    server: Stopped,
    path: Stopped,
    name: String,
    url: String,
    script: PathBuf,
    python: PathBuf,
    dir: PathBuf,
}

impl Far {
    /// `how`: what the path does, as `path.py` takes it (`--loss 0.35`, `--dead EVERY,FOR`).
    /// `scenarios` by name, over IPv4 or IPv6; `rig`'s certificates are used. `name` must be its
    /// own on this host, and short.
    ///
    /// # Errors
    /// If a part does not start.
    pub fn new(rig: &Rig, name: &str, how: &[&str], scenarios: &[(&str, Scenario)], ipv6: bool) -> Result<Self> {
        let name = format!("llmo{}{name}", std::process::id());
        let python = rig.clients.python();
        let mut path = Command::new(&python);
        path.arg(places::programs().join("path.py")).args([&name, "--delay", DELAY, "--seed", "7"]).args(how);
        let path = ready(path)?;
        let dir = rig.dir.path().to_owned();
        let file = dir.join("scenarios.json");
        let named: serde_json::Map<_, _> =
            scenarios.iter().map(|(name, scenario)| ((*name).to_owned(), json!(scenario))).collect();
        std::fs::write(&file, serde_json::to_string(&named)?)?;
        let address = if ipv6 { "[fd99::2]:4433" } else { "10.99.0.2:4433" };
        let mut server = within(&name, "b");
        server.arg(places::provider()?).args(["--listen", address, "--dir"]).arg(&dir).arg("--scenarios").arg(file);
        let server = ready(server)?;
        let script = places::programs().join("timelines.py");
        Ok(Far { server, path, name, url: format!("https://{address}"), script, python, dir })
    }

    /// One client on the near side, which calls these models one after the other.
    ///
    /// # Errors
    /// If it does not start.
    pub fn client(&self, how: &str, models: &[String]) -> Result<Stopped> {
        let mut client = within(&self.name, "a");
        client.arg(&self.python).arg(&self.script).arg(how).args(models);
        client.env("BASE_URL", &self.url).env("SSL_CERT_FILE", self.dir.join("ca.pem"));
        Ok(Stopped(client.stdout(Stdio::null()).spawn()?))
    }
}

impl Drop for Far {
    /// Ends the path by itself, so that it takes its namespaces away.
    fn drop(&mut self) {
        let _ = self.server.0.kill();
        drop(self.path.0.stdin.take());
        let _ = self.path.0.wait();
    }
}

/// A program that listens on this host (`proxy.py`, `sink.py`); it ends with its owner.
pub struct Listener {
    pub port: u16,
    _program: Stopped,
}

impl Listener {
    /// Starts one of `tests/programs`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(rig: &Rig, name: &str) -> Result<Self> {
        let mut command = Command::new(rig.clients.python());
        command.arg(places::programs().join(name)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Stopped(command.spawn()?);
        let mut line = String::new();
        BufReader::new(program.0.stdout.as_mut().context("no standard output")?).read_line(&mut line)?;
        let port = line.trim().parse().with_context(|| format!("{name} did not say its port"))?;
        Ok(Listener { port, _program: program })
    }
}

/// A program inside one end's namespace.
fn within(path: &str, side: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &format!("{path}-{side}")]);
    command
}

/// Starts a program that prints one line when it is ready and ends with its standard input.
fn ready(mut command: Command) -> Result<Stopped> {
    let mut child = Stopped(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    // The pipe stays open: its last words are nobody's, but it may say them.
    BufReader::new(child.0.stdout.as_mut().context("no standard output")?).read_line(&mut line)?;
    ensure!(!line.is_empty(), "{command:?} ended before it was ready");
    Ok(child)
}

//! Unmodified client programs (`tests/programs`), started as their users would start them.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use provider::Provider;
use serde::Deserialize;

use crate::places;

/// A program with the API it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Unique short name, part of the model names it asks for.
    pub name: &'static str,
    program: Program,
    api: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// A script on the venv's interpreter.
    Python(&'static str),
    /// The same on Debian's own interpreter.
    SystemPython(&'static str),
    Node(&'static str),
    Curl,
}

const fn kind(name: &'static str, program: Program, api: &'static str) -> Kind {
    Kind { name, program, api }
}

/// Every client.
pub const ALL: [Kind; 14] = [
    kind("openai-sync-chat", Program::Python("openai_sync.py"), "chat"),
    kind("openai-sync-responses", Program::Python("openai_sync.py"), "responses"),
    kind("openai-async-chat", Program::Python("openai_async.py"), "chat"),
    kind("openai-async-responses", Program::Python("openai_async.py"), "responses"),
    kind("anthropic-sync", Program::Python("anthropic_sync.py"), "messages"),
    kind("anthropic-async", Program::Python("anthropic_async.py"), "messages"),
    kind("openai-node-chat", Program::Node("openai_node.mjs"), "chat"),
    kind("openai-node-responses", Program::Node("openai_node.mjs"), "responses"),
    kind("anthropic-node", Program::Node("anthropic_node.mjs"), "messages"),
    kind("curl-chat", Program::Curl, "chat"),
    kind("curl-responses", Program::Curl, "responses"),
    kind("curl-messages", Program::Curl, "messages"),
    kind("debian-python", Program::SystemPython("openai_sync.py"), "chat"),
    // No SDK, and TLS loaded late.
    kind("stdlib", Program::Python("stdlib.py"), "chat"),
];

impl Kind {
    /// The client of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Self> {
        ALL.into_iter().find(|kind| kind.name == name).with_context(|| format!("no client is named {name}"))
    }

    /// Whether it is an SDK: that retries by itself, and asks for encodings and whole answers.
    #[must_use]
    pub fn is_sdk(&self) -> bool {
        self.program != Program::Curl && self.program != Program::Python("stdlib.py")
    }

    /// The model name by which it asks for a scenario.
    #[must_use]
    pub fn model(&self, scenario: &str) -> String {
        format!("{}{scenario}#{}", provider::PREFIX, self.name)
    }
}

/// The installed SDKs.
pub struct Clients {
    sdks: PathBuf,
}

impl Clients {
    /// Installs the SDKs if need be.
    ///
    /// # Errors
    /// If they cannot be installed.
    pub fn set_up() -> Result<Self> {
        Ok(Self { sdks: places::sdks()? })
    }

    /// The clients of [`ALL`] that this machine can run; why not, for the others.
    #[must_use]
    pub fn available(&self) -> (Vec<Kind>, Vec<String>) {
        let mut absent = Vec::new();
        let mut can = Vec::new();
        for kind in ALL {
            match self.obstacle(kind) {
                None => can.push(kind),
                Some(reason) => absent.push(format!("{}: {reason}", kind.name)),
            }
        }
        (can, absent)
    }

    fn obstacle(&self, kind: Kind) -> Option<String> {
        match kind.program {
            Program::Node(_) if !self.sdks.join("node/node_modules").is_dir() => Some("no Node SDKs".to_owned()),
            // Compiled wheels fit one minor version, so the venv's packages serve only the same one.
            Program::SystemPython(_) if self.site_packages().is_none() => {
                Some("/usr/bin/python3 is not there, or of another version than the venv".to_owned())
            }
            _ => None,
        }
    }

    /// The venv's packages, if Debian's interpreter has the venv's version.
    fn site_packages(&self) -> Option<PathBuf> {
        let version = Command::new("/usr/bin/python3")
            .args(["-c", "import sys; print('python%d.%d' % sys.version_info[:2])"])
            .output()
            .ok()?;
        let name = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        let path = self.sdks.join("venv/lib").join(name).join("site-packages");
        path.join("openai").is_dir().then_some(path)
    }

    /// The venv's interpreter.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.sdks.join("venv/bin/python")
    }

    /// A run of `kind`, to be shaped and started.
    #[must_use]
    pub fn run(&self, kind: Kind, provider: &Provider) -> Run {
        self.run_at(kind, &provider.url(), provider.ca().map(PathBuf::as_path))
    }

    /// The same against any address.
    #[must_use]
    pub fn run_at(&self, kind: Kind, url: &str, ca: Option<&Path>) -> Run {
        let mut command = self.command(kind.program);
        command.env("BASE_URL", url).env("CLIENT_API", kind.api).env_remove("CLIENT_GO");
        if let Some(ca) = ca {
            command.env("SSL_CERT_FILE", ca).env("NODE_EXTRA_CA_CERTS", ca);
        }
        Run { kind, command }
    }

    fn command(&self, program: Program) -> Command {
        let source = |name: &str| places::programs().join(name);
        match program {
            Program::Python(script) => with_argument(self.python(), &source(script)),
            Program::SystemPython(script) => {
                let mut command = with_argument(PathBuf::from("/usr/bin/python3"), &source(script));
                command.envs(self.site_packages().map(|path| ("PYTHONPATH", path)));
                command
            }
            Program::Node(script) => with_argument(PathBuf::from("node"), &self.sdks.join("node").join(script)),
            Program::Curl => with_argument(PathBuf::from("sh"), &source("curl.sh")),
        }
    }
}

fn with_argument(program: PathBuf, script: &Path) -> Command {
    let mut command = Command::new(program);
    // Byte code beside the sources would dirty the tree.
    command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A client about to be started.
pub struct Run {
    kind: Kind,
    command: Command,
}

impl Run {
    /// Sets an environment variable (see `tests/programs/common.py`).
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it; one call a model.
    ///
    /// # Errors
    /// If the program is not there.
    pub fn start(mut self, models: &[String]) -> Result<Client> {
        self.command.args(models).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = self.command.spawn().with_context(|| format!("cannot start {}", self.kind.name))?;
        let lines = BufReader::new(child.stdout.take().context("no pipe")?);
        let stdin = child.stdin.take();
        Ok(Client { kind: self.kind, child, lines, stdin })
    }
}

/// A running client.
pub struct Client {
    kind: Kind,
    child: Child,
    lines: BufReader<ChildStdout>,
    stdin: Option<ChildStdin>,
}

/// A line that a client prints.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Said {
    /// With `CLIENT_GO=1`: set up, and waiting.
    pub ready: bool,
    /// The model whose call begins.
    pub begin: Option<String>,
    /// The model whose call ended.
    pub end: Option<String>,
    pub pid: Option<u32>,
    /// Visible characters the SDK handed out.
    pub chars: Option<u64>,
    /// Name of the exception.
    pub error: Option<String>,
}

impl Client {
    /// Its process id (of the shell, for curl).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets a client that was started with `CLIENT_GO=1` begin.
    ///
    /// # Errors
    /// If it is gone.
    pub fn go(&mut self) -> Result<()> {
        let mut stdin = self.stdin.take().context("it has begun already")?;
        writeln!(stdin, "go").context("the client is gone")
    }

    /// The next line it prints; `None` at the end.
    ///
    /// # Errors
    /// If the line is not of the agreed form.
    pub fn next_line(&mut self) -> Result<Option<Said>> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).map(Some).with_context(|| format!("{} printed {line}", self.kind.name))
    }

    /// Reads on until a line fits.
    ///
    /// # Errors
    /// If it ends before.
    pub fn until(&mut self, wanted: impl Fn(&Said) -> bool) -> Result<Said> {
        while let Some(said) = self.next_line()? {
            if wanted(&said) {
                return Ok(said);
            }
        }
        bail!("{} ended without saying what was awaited", self.kind.name)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        crate::daemon::send(&self.child, signal);
    }

    /// Waits for its end; the lines it printed when calls ended.
    ///
    /// # Errors
    /// If it printed something else.
    pub fn finish(mut self) -> Result<(Vec<Said>, ExitStatus)> {
        drop(self.stdin.take());
        let mut ended = Vec::new();
        while let Some(said) = self.next_line()? {
            if said.end.is_some() {
                ended.push(said);
            }
        }
        let status = self.child.wait()?;
        Ok((ended, status))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A client whose test failed in the middle must not stay; one that ended is unaffected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

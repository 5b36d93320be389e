//! Unmodified client programs (`tests/programs`), started as their users would start them.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use provider::Provider;
use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::kinds::Program;
pub use crate::kinds::{ALL, Kind, SDKS, hosts};
use crate::{golang, places};

/// The installed SDKs.
pub struct Clients {
    sdks: PathBuf,
    hosts: NamedTempFile,
}

impl Clients {
    /// Installs the SDKs if need be.
    ///
    /// # Errors
    /// If they cannot be installed.
    pub fn set_up() -> Result<Self> {
        Ok(Self { sdks: places::sdks()?, hosts: hosts_file()? })
    }

    /// The clients of [`ALL`] that this machine can run; why not, for the others.
    #[must_use]
    pub fn available(&self) -> (Vec<Kind>, Vec<String>) {
        self.available_of(&ALL)
    }

    /// Those of `kinds` that this machine can run; why not, for the others.
    #[must_use]
    pub fn available_of(&self, kinds: &[Kind]) -> (Vec<Kind>, Vec<String>) {
        let mut absent = Vec::new();
        let mut can = Vec::new();
        for kind in kinds.iter().copied() {
            match self.obstacle(kind) {
                None => can.push(kind),
                Some(reason) => absent.push(format!("{}: {reason}", kind.name)),
            }
        }
        (can, absent)
    }

    /// Why this machine cannot run a client; `None`: it can.
    #[must_use]
    pub fn obstacle(&self, kind: Kind) -> Option<String> {
        match kind.program {
            Program::Node(_) if !self.sdks.join("node/node_modules").is_dir() => Some("no Node SDKs".to_owned()),
            // Compiled wheels fit one minor version, so the venv's packages serve only the same one.
            Program::SystemPython(_) if self.site_packages().is_none() => {
                Some("/usr/bin/python3 is not there, or of another version than the venv".to_owned())
            }
            Program::Inside(how) if !places::inside().join(how).is_file() => {
                Some("its OpenSSL is not there: `cargo xtask setup` says why".to_owned())
            }
            Program::Go(way) if !golang::place(way).is_file() => {
                Some("it is not built: `cargo xtask test` builds it, in a minute".to_owned())
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

    /// A run of `kind`, to be shaped and started. Where the hosts file may not be changed for it
    /// (without root), it goes to this host by its own name, and the vendor is the first segment of
    /// its path.
    #[must_use]
    pub fn run(&self, kind: Kind, provider: &Provider) -> Run {
        let url = match kind.host.filter(|_| rustix::process::geteuid().is_root()) {
            Some(host) => provider.url().replace("localhost", host),
            None => kind.host.map_or_else(|| provider.url(), |host| format!("{}/{host}", provider.url())),
        };
        self.run_at(kind, &url, provider.ca().map(PathBuf::as_path))
    }

    /// The same against any address.
    #[must_use]
    pub fn run_at(&self, kind: Kind, url: &str, ca: Option<&Path>) -> Run {
        let named = kind.host.is_some_and(|host| url.contains(&format!("//{host}")));
        let mut command =
            if named { with_hosts(&self.command(kind.program), self.hosts.path()) } else { self.command(kind.program) };
        command.env("BASE_URL", url).env("CLIENT_API", kind.api).env_remove("CLIENT_GO");
        command.envs(kind.settings.iter().copied());
        if let Some(ca) = ca {
            // OpenSSL's and httpx's, requests', botocore's, Node's.
            for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
                command.env(name, ca);
            }
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
            Program::Inside(how) => {
                let mut command = Command::new(places::inside().join(how));
                command.env("CLIENT_ADDON", places::inside().join("addon-trixie.so"));
                command
            }
            Program::Go(way) => Command::new(golang::place(way)),
            Program::Curl => with_argument(PathBuf::from("sh"), &source("curl.sh")),
            Program::Wget => with_argument(PathBuf::from("sh"), &source("wget.sh")),
        }
    }
}

/// The machine's own hosts file, with the vendors' hosts on this one.
fn hosts_file() -> Result<NamedTempFile> {
    let mut text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    for host in hosts() {
        text.push_str(&format!("\n127.0.0.1 {host}"));
    }
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), text + "\n")?;
    Ok(file)
}

/// The command in a mount namespace of its own, where `hosts` is the hosts file.
fn with_hosts(inner: &Command, hosts: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#]).arg(hosts);
    command.arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    command
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

    /// The same program started by another: `with`, then the program and its arguments.
    #[must_use]
    pub fn within(mut self, mut with: Command) -> Self {
        with.arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => with.env(name, value),
                None => with.env_remove(name),
            };
        }
        self.command = with;
        self
    }

    /// Another program that understands the same, with all that this one was set.
    #[must_use]
    pub fn as_program(mut self, mut program: Command) -> Self {
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        self.command = program;
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

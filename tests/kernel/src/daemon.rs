//! The daemon under test: started with its own socket and port, and always stopped.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::ledger::{Ledger, Probe, Process};
use crate::{places, wait_for};

/// Tests of one program take turns: two daemons' probes would slow the clients, and disturb the times.
static TURN: Mutex<()> = Mutex::new(());

/// Longest time from SIGTERM to the end: the kernel takes its time over every probe, more so on a busy host.
const STOPPED: Duration = Duration::from_secs(30);

/// Longest time from start to ready: on a busy host every process's maps are read first.
const READY: Duration = Duration::from_secs(60);

/// A running daemon; it is told to stop when dropped.
pub struct Daemon {
    child: Child,
    binary: PathBuf,
    dir: TempDir,
    web: SocketAddr,
    _turn: MutexGuard<'static, ()>,
}

impl Daemon {
    /// Starts one that observes the whole host, and waits until it is ready.
    ///
    /// # Errors
    /// If there is no binary, or it does not become ready; the error carries its log.
    pub fn start() -> Result<Self> {
        Self::start_with(&[], &[])
    }

    /// The same with further arguments and environment.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_with(args: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        Self::start_through(&[], args, environment)
    }

    /// The same, started by another program (`prlimit --nofile=256`) that becomes it.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_through(through: &[&str], args: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let binary = places::daemon()?;
        let dir = tempfile::tempdir()?;
        let web = free_port()?;
        let child = run_command(through, &binary, dir.path(), web, args)?
            .envs(environment.iter().copied())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut daemon = Self { child, binary, dir, web, _turn: turn };
        // Dropped, and so stopped, if it does not get ready.
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// One that `wrapper` (a command and its arguments) starts, in a folder that anybody may write
    /// to, so that it may be another user. Waits until it says that it is ready, or why it is not.
    ///
    /// # Errors
    /// As `start`; also if it ends.
    pub fn start_under(wrapper: &[&str]) -> Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (program, before) = wrapper.split_first().context("no wrapper")?;
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777))?;
        let binary = dir.path().join("llm-observer");
        // Not by this process: what another test starts meanwhile would hold the copy open for
        // writing, and it could not be run.
        Command::new("cp").arg(places::daemon()?).arg(&binary).status()?;
        let web = free_port()?;
        let own = run_command(&[], &binary, dir.path(), web, &[])?;
        let mut command = Command::new(program);
        command.args(before).arg(&binary).args(own.get_args()).stdin(Stdio::null());
        command.stdout(File::create(dir.path().join("stdout"))?).stderr(File::create(dir.path().join("stderr"))?);
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let mut daemon = Self { child, binary, dir, web, _turn: turn };
        let told = |(_, page): &(u16, String)| !page.contains("not in place yet");
        wait_for("the daemon's first word", READY, || {
            let gone = daemon.child.try_wait().ok().flatten().is_some();
            (gone || get(web, "/readyz").as_ref().is_ok_and(told)).then_some(())
        })?;
        match daemon.child.try_wait()? {
            Some(status) => bail!("the daemon ended with {status}; its log:\n{}", daemon.log()),
            None => Ok(daemon),
        }
    }

    /// Status and text of a page.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        get(self.web, path)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let mut exited = None;
        let ready = wait_for("the daemon's readiness", READY, || {
            exited = self.child.try_wait().ok().flatten();
            (exited.is_some() || get(self.web, "/-/ready").is_ok_and(|(status, _)| status == 200)).then_some(())
        });
        match (exited, ready) {
            (Some(status), _) => bail!("the daemon ended with {status}; its log:\n{}", self.log()),
            (None, Err(error)) => bail!("{error}; its log:\n{}", self.log()),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves `/metrics`.
    #[must_use]
    pub fn web(&self) -> SocketAddr {
        self.web
    }

    /// What it wrote to standard output and standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        ["stdout", "stderr"].map(|name| read_lossy(&self.dir.path().join(name))).concat()
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("inspect.sock")
    }

    /// The file that keeps a second daemon out.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.path().join("lock")
    }

    /// Its program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs `llm-observer inspect ARGS`.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn inspect(&self, args: &[&str]) -> Result<Output> {
        self.inspect_command(args).output().context("cannot run inspect")
    }

    /// The command of `inspect`, to be started by the caller.
    #[must_use]
    pub fn inspect_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("inspect").args(args).arg("--inspect.socket").arg(self.socket());
        command
    }

    /// `inspect ARGS -o json`, decoded.
    ///
    /// # Errors
    /// If it fails or its output has another form.
    pub fn inspect_json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let output = self.inspect(&[args, &["-o", "json"]].concat())?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("inspect {args:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_str(&text).with_context(|| format!("inspect {args:?} printed {text}"))
    }

    /// `doctor -o json`, beside this daemon: exit code and what it printed.
    ///
    /// # Errors
    /// If the program cannot be started or prints something else.
    pub fn doctor(&self) -> Result<(Option<i32>, serde_json::Value)> {
        let mut command = Command::new(&self.binary);
        command.args(["doctor", "-o", "json", "--inspect.socket"]).arg(self.socket());
        let output = command.output().context("cannot run doctor")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value = serde_json::from_str(&text).with_context(|| format!("doctor printed {text}"))?;
        Ok((output.status.code(), value))
    }

    /// All streams it knows.
    ///
    /// # Errors
    /// As `inspect_json`.
    pub fn streams(&self) -> Result<Vec<Ledger>> {
        self.inspect_json(&["streams"])
    }

    /// One stream with its timeline.
    ///
    /// # Errors
    /// As `inspect_json`.
    pub fn stream(&self, id: &str) -> Result<Ledger> {
        let found: serde_json::Value = self.inspect_json(&["stream", id])?;
        // One object, or an array of one.
        let one = found.get(0).cloned().unwrap_or(found);
        serde_json::from_value(one).context("inspect stream printed another form")
    }

    /// Processes that use TLS.
    ///
    /// # Errors
    /// As `inspect_json`.
    pub fn processes(&self) -> Result<Vec<Process>> {
        self.inspect_json(&["processes"])
    }

    /// Probes.
    ///
    /// # Errors
    /// As `inspect_json`.
    pub fn probes(&self) -> Result<Vec<Probe>> {
        self.inspect_json(&["probes"])
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    /// If it cannot be fetched.
    pub fn metrics(&self) -> Result<String> {
        let (status, body) = get(self.web, "/metrics")?;
        if status != 200 {
            bail!("/metrics answered {status}: {body}");
        }
        Ok(body)
    }

    /// Ends it with `signal` and waits.
    ///
    /// # Errors
    /// If it is still there after `STOPPED`.
    pub fn stop(&mut self, signal: Signal) -> Result<ExitStatus> {
        send(&self.child, signal);
        wait_for("the daemon's end", STOPPED, || self.child.try_wait().ok().flatten())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.stop(Signal::TERM).is_err() {
            eprintln!("the daemon did not stop when told to; its log:\n{}", self.log());
            // Killed, then reaped: nothing is left behind.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `run` with everything of its own, the host's lock too: daemons of other test programs, or the user's, may be there.
fn run_command(through: &[&str], binary: &Path, dir: &Path, web: SocketAddr, args: &[&str]) -> Result<Command> {
    let mut words = through.iter().map(OsStr::new).chain([binary.as_os_str()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).arg("run").arg("--inspect.socket").arg(dir.join("inspect.sock"));
    // What one test's daemon learned must not reach another's.
    if !args.contains(&"--state.file") {
        command.arg("--state.file").arg(dir.join("baselines.json"));
    }
    command.arg("--lock.file").arg(dir.join("lock")).arg(format!("--web.listen-address={web}")).args(args);
    command.stdin(Stdio::null()).stdout(File::create(dir.join("stdout"))?).stderr(File::create(dir.join("stderr"))?);
    Ok(command)
}

/// One request: status and body.
///
/// # Errors
/// If there is no answer within 10 s.
pub fn get(web: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut socket = TcpStream::connect(web)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no HTTP status")?;
    Ok((status, dechunk(head, body)))
}

/// Whether a daemon other than `own` observes this host: it has breakpoints in libraries too.
#[must_use]
pub fn another_runs(own: Option<&Daemon>) -> bool {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| Some(*pid) != own.map(Daemon::pid)).any(is_daemon)
}

fn is_daemon(pid: u32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    words.next().unwrap_or_default().ends_with(b"llm-observer") && words.next() == Some(b"run")
}

/// Sends a signal to a child that has not been waited for (so the id is still its own).
pub fn send(child: &Child, signal: Signal) {
    // It may have ended by itself meanwhile, which is what was wanted.
    let _ = kill_process(Pid::from_child(child), signal);
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn dechunk(head: &str, body: &str) -> String {
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let mut rest = body;
    let mut out = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let (Some(chunk), true) = (tail.get(..size), size > 0) else { break };
        out.push_str(chunk);
        rest = tail.get(size + 2..).unwrap_or_default();
    }
    out
}

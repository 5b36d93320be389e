//! Long steps, shown: what runs, for how long, and where its log is when it fails.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bpf_build;

/// How often a running step is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How often a step that is not on a terminal says that it still runs.
const REMIND: Duration = Duration::from_secs(15);
/// Lines of the log that a failed step shows.
const SHOWN_LINES: usize = 15;

/// Runs a command to its end under a one-line title. Its output goes to a log in the cache; on failure the log's
/// end is shown, and the error is `{failure}` with the exit status and the log's place.
pub(crate) fn step(title: &str, failure: &str, command: &mut Command) -> Result<()> {
    let log = log_path(title)?;
    let out = File::create(&log).with_context(|| format!("cannot write the log {}", log.display()))?;
    let err = out.try_clone().context("cannot share the log between stdout and stderr")?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
    let mut line = Line::new(title);
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a step")? {
            break status;
        }
        line.tick(&log);
        thread::sleep(POLL);
    };
    line.end(status);
    if status.success() {
        return Ok(());
    }
    show_tail(&log);
    bail!("{failure} ({} ended with {status}; whole log: {})", shown(command), log.display())
}

/// The last non-empty line of a file, as a person may read it.
pub(crate) fn last_line(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().chars().filter(|c| !c.is_control()).take(100).collect()
}

/// The program and its arguments, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn log_path(title: &str) -> Result<PathBuf> {
    let folder = bpf_build::cache_root().map_err(anyhow::Error::msg)?.join("logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let slug: String = title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    Ok(folder.join(format!("{slug}.log")))
}

fn show_tail(log: &Path) {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
        eprintln!("    {line}");
    }
}

/// The one line of a step: rewritten on a terminal, repeated now and then elsewhere.
struct Line {
    title: String,
    started: Instant,
    said: Instant,
    tty: bool,
}

impl Line {
    fn new(title: &str) -> Self {
        let now = Instant::now();
        let line = Self { title: title.to_owned(), started: now, said: now, tty: io::stderr().is_terminal() };
        if !line.tty {
            eprintln!("- {title} …");
        }
        line
    }

    fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn tick(&mut self, log: &Path) {
        let due = if self.tty { Duration::from_secs(1) } else { REMIND };
        if self.said.elapsed() < due {
            return;
        }
        self.said = Instant::now();
        let text = format!("{} … {} s  {}", self.title, self.seconds(), last_line(log));
        if self.tty {
            eprint!("\r\x1b[2K- {}", text.chars().take(100).collect::<String>());
            io::stderr().flush().ok();
        } else {
            eprintln!("  {text}");
        }
    }

    fn end(&self, status: ExitStatus) {
        let how = if status.success() { "done" } else { "FAILED" };
        let back = if self.tty { "\r\x1b[2K" } else { "" };
        eprintln!("{back}- {}: {how} in {} s", self.title, self.seconds());
    }
}

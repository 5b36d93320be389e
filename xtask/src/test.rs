//! `cargo xtask test`: every tier that this machine can run; a failing one does not stop the others.
//!
//! A test that cannot run here prints `SKIPPED: reason` and returns; it is then counted as skipped, with its reason.

mod count;

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::count::Count;
use crate::bpf_build;
use crate::setup::{self, Scope};
use crate::{apt, programs};

/// Longest time of one command, build included: a hang must fail, and leave time for the other tiers.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// Some commands under one name.
struct Tier {
    name: &'static str,
    commands: Vec<Command>,
    /// Whether the commands print `test result:` lines; else each command counts as one test.
    counts: bool,
    /// Why it cannot run on this machine.
    barred: Option<String>,
}

/// Sets up, runs all tiers, prints the table and, alone on the last line, the sum; false when anything failed.
pub fn run() -> Result<bool> {
    let ready = setup::run(Scope::Tests);
    if let Err(error) = &ready {
        eprintln!("error: {error:#}\nonly the tiers that need no set-up are run");
    }
    let mut rows = Vec::new();
    let mut sum = Count::default();
    for tier in tiers(ready.is_ok()) {
        let (row, count) = run_tier(&tier)?;
        rows.push(row);
        sum = sum + count;
    }
    println!("\n{}", rows.join("\n"));
    println!("kernel matrix       not part of this command: `cargo xtask kernels`\n");
    println!("{sum}");
    Ok(ready.is_ok() && sum.failed == 0)
}

fn tiers(ready: bool) -> Vec<Tier> {
    let unready = (!ready).then(|| "the set-up failed".to_owned());
    let no_root = (!apt::is_root()).then(|| "attaching probes needs root".to_owned());
    let pure = &["test", "--no-default-features", "--no-fail-fast", "--", "--show-output"];
    let full = &["test", "--package", "observer", "--no-fail-fast", "--", "--show-output"];
    let kernel = &["test", "--package", "kernel-tests", "--no-fail-fast", "--", "--show-output"];
    vec![
        Tier { name: "format", commands: formats(), counts: false, barred: None },
        Tier { name: "pure", commands: vec![cargo(pure)], counts: true, barred: None },
        Tier { name: "lints", commands: lints(), counts: false, barred: unready.clone() },
        Tier { name: "with kernel parts", commands: vec![cargo(full)], counts: true, barred: unready.clone() },
        Tier {
            name: "kernel",
            commands: vec![build_daemon(), cargo(kernel)],
            counts: true,
            barred: unready.or(no_root),
        },
    ]
}

/// The workspace, and the two crates that are no part of it.
fn formats() -> Vec<Command> {
    let beside = ["observer-ebpf", "tests/fuzz"].map(|folder| {
        let mut fmt = cargo(&["fmt", "--check"]);
        fmt.current_dir(root().join(folder));
        fmt
    });
    [cargo(&["fmt", "--all", "--check"])].into_iter().chain(beside).collect()
}

/// The host's clippy in both feature sets, and the kernel side's own, for the BPF target.
fn lints() -> Vec<Command> {
    let strict = ["--", "-D", "warnings"];
    let host = |features: &[&str]| {
        let mut clippy = cargo(&["clippy", "--workspace", "--all-targets"]);
        clippy.args(features).args(strict);
        clippy
    };
    let target_dir = bpf_build::cache_root().map(|root| root.join("bpf-clippy"));
    let kernel_side = bpf_build::find().ok().zip(target_dir.ok());
    let kernel_side = kernel_side.and_then(|(toolchain, dir)| toolchain.clippy(&root().join("observer-ebpf"), &dir));
    let kernel_side = kernel_side.map(|mut clippy| {
        clippy.args(strict);
        clippy
    });
    [host(&[]), host(&["--no-default-features"])].into_iter().chain(kernel_side).collect()
}

/// The kernel tier starts the daemon's binary, which is another package's and so not built by its tests.
fn build_daemon() -> Command {
    cargo(&["build", "--package", "observer", "--package", "provider"])
}

/// A cargo command in the workspace. Intermediate files go to the cache, so that a fresh clone starts warm; who sets
/// CARGO_TARGET_DIR has chosen a place already.
pub fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(args);
    if let Ok(cache) = bpf_build::cache_root()
        && env::var_os("CARGO_TARGET_DIR").is_none()
    {
        let build_dir = cache.join("build");
        own(&build_dir);
        cargo.env("CARGO_BUILD_BUILD_DIR", build_dir);
    }
    if let Ok(path) = programs::path() {
        cargo.env("PATH", path);
    }
    cargo
}

/// Our own packages, which a shared build directory must not hand from one checkout to another.
pub const PACKAGES: [&str; 6] = ["observer", "observer-common", "provider", "kernel-tests", "guest-init", "xtask"];

/// Makes a shared build directory this checkout's: what another one built of our packages goes.
pub fn own(build_dir: &Path) {
    if bpf_build::is_owner(build_dir, &root()) {
        return;
    }
    if build_dir.exists() {
        let mut clean = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        clean.current_dir(root()).arg("clean").env("CARGO_BUILD_BUILD_DIR", build_dir);
        PACKAGES.iter().for_each(|package| {
            clean.args(["--package", package]);
        });
        // A failure shows in the build that follows.
        let _ = clean.output();
    }
    if let Err(error) = bpf_build::own(build_dir, &root()) {
        eprintln!("{} cannot be marked as this checkout's: {error}", build_dir.display());
    }
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Runs a tier; returns its row of the table and what it counted.
fn run_tier(tier: &Tier) -> Result<(String, Count)> {
    let started = Instant::now();
    if let Some(reason) = &tier.barred {
        return Ok((format!("{:<20}not run: {reason}", tier.name), Count::one_skipped(reason)));
    }
    let mut count = Count::default();
    for command in &tier.commands {
        println!("\n== {}: {}", tier.name, crate::progress::shown(command));
        count = count + run_command(command, tier.counts)?;
    }
    let seconds = started.elapsed().as_secs();
    let reasons: String = count.reasons.iter().map(|reason| format!("\n{:20}  skipped: {reason}", "")).collect();
    Ok((format!("{:<20}{seconds:>4} s  {count}{reasons}", tier.name), count))
}

/// Runs one command with its output shown and read. A command that fails without a failed test (it did not build, or
/// hung) counts as one failure.
fn run_command(command: &Command, counts: bool) -> Result<Count> {
    let mut child = limited(command).stdout(Stdio::piped()).spawn().context("cannot start setpriv and timeout")?;
    let mut count = Count::default();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).split(b'\n')) {
        let line = line.context("cannot read a test's output")?;
        let mut out = io::stdout().lock();
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).context("cannot write to stdout")?;
        count.read(&String::from_utf8_lossy(&line));
    }
    let status = child.wait().context("cannot wait for a test")?;
    say_hang(status);
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    if !counts && status.success() {
        count.passed = 1;
    }
    Ok(count)
}

/// The same command under a time limit that ends it with all its children, and that dies with xtask.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("setpriv");
    limited.args(["--pdeathsig", "TERM", "timeout", "--kill-after", "10"]).arg(LIMIT.as_secs().to_string());
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited
}

fn say_hang(status: ExitStatus) {
    if status.code() == Some(124) {
        println!("FAILED: it hung, and was ended after {} s", LIMIT.as_secs());
    }
}

//! `cargo xtask test`: every tier that this machine can run; a failing one does not stop the others.
//!
//! A test that cannot run here prints `SKIPPED: reason` and returns; it is then counted as skipped, with its reason.

mod count;

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::count::Count;
use crate::setup::{self, Scope};
use crate::{apt, bpf_build, deny, programs};

/// Longest time of one command, build included: a hang must fail, and leave time for the other tiers.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Some commands under one name.
struct Tier {
    name: &'static str,
    /// Made when their turn comes: some look for what the set-up brings.
    commands: fn() -> Vec<Command>,
    /// Whether the commands print `test result:` lines; else each command counts as one test.
    counts: bool,
    needs: Needs,
}

/// What a tier cannot run without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// What the set-up installs.
    SetUp,
    /// cargo-deny, which the set-up brings where it can.
    Deny,
    /// The set-up, and the right to attach probes.
    Root,
}

const TIERS: [Tier; 7] = [
    Tier { name: "format", commands: formats, counts: false, needs: Needs::Nothing },
    Tier {
        name: "pure",
        commands: || vec![cargo(&["pure", "--no-fail-fast", "--", "--show-output"])],
        counts: true,
        needs: Needs::Nothing,
    },
    Tier { name: "rules", commands: || vec![own_verb(&["tidy"])], counts: false, needs: Needs::Nothing },
    Tier {
        name: "dependencies",
        commands: || vec![own_verb(&["deny", "crates"]), own_verb(&["deny", "advisories"])],
        counts: false,
        needs: Needs::Deny,
    },
    Tier { name: "lints", commands: lints, counts: false, needs: Needs::SetUp },
    Tier {
        name: "with kernel parts",
        commands: || {
            vec![cargo(&[
                "test",
                "--package",
                "edge",
                "--package",
                "observer",
                "--no-fail-fast",
                "--",
                "--show-output",
            ])]
        },
        counts: true,
        needs: Needs::SetUp,
    },
    Tier {
        name: "kernel",
        commands: || {
            vec![build_daemon(), cargo(&["test", "--package", "kernel-tests", "--no-fail-fast", "--", "--show-output"])]
        },
        counts: true,
        needs: Needs::Root,
    },
];

/// Sets up where a tier wants it, runs the tiers of these names (none: all), prints the table and,
/// alone on the last line, the sum; false when anything failed.
pub(crate) fn run(names: &[String]) -> Result<bool> {
    if let Some(name) = names.iter().find(|name| TIERS.iter().all(|tier| tier.name != **name)) {
        bail!("there is no tier {name:?}; these are: {}", TIERS.map(|tier| tier.name).join(", "));
    }
    let wanted = || TIERS.iter().filter(|tier| names.is_empty() || names.iter().any(|name| name == tier.name));
    let ready = if wanted().any(|tier| tier.needs != Needs::Nothing) { setup::run(Scope::Tests) } else { Ok(()) };
    if let Err(error) = &ready {
        eprintln!("error: {error:#}\nonly the tiers that need no set-up are run");
    }
    let mut rows = Vec::new();
    let mut sum = Count::default();
    for tier in wanted() {
        let (row, count) = run_tier(tier, barred(tier.needs, ready.is_ok()))?;
        rows.push(row);
        sum = sum + count;
    }
    sum.failures.iter().for_each(|failure| println!("\nfailed: {failure}"));
    println!("\n{}", rows.join("\n"));
    println!("kernel matrix       not part of this command: `cargo xtask kernels`\n");
    println!("{sum}");
    Ok(ready.is_ok() && sum.failed == 0)
}

/// Why a tier cannot run on this machine.
fn barred(needs: Needs, ready: bool) -> Option<String> {
    let unready = (!ready).then(|| "the set-up failed".to_owned());
    match needs {
        Needs::Nothing => None,
        Needs::SetUp => unready,
        Needs::Deny => deny::barred(),
        Needs::Root => unready.or_else(|| (!apt::is_root()).then(|| "attaching probes needs root".to_owned())),
    }
}

/// Another verb of this program: the file that runs, whatever became of its name since (a build may
/// have replaced or removed it).
fn own_verb(args: &[&str]) -> Command {
    let mut verb = Command::new(format!("/proc/{}/exe", std::process::id()));
    verb.args(args);
    verb
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

/// The host's clippy, and the kernel side's own, for the BPF target.
fn lints() -> Vec<Command> {
    let strict = ["--", "-D", "warnings"];
    let mut host = cargo(&["clippy", "--workspace", "--all-targets"]);
    host.args(strict);
    let target_dir = bpf_build::cache_root().map(|root| root.join("bpf-clippy"));
    let kernel_side = bpf_build::find().ok().zip(target_dir.ok());
    let kernel_side = kernel_side.and_then(|(toolchain, dir)| toolchain.clippy(&root().join("observer-ebpf"), &dir));
    let kernel_side = kernel_side.map(|mut clippy| {
        clippy.args(strict);
        clippy
    });
    [host].into_iter().chain(kernel_side).collect()
}

/// The kernel tier starts the daemon's binary, which is another package's and so not built by its tests.
fn build_daemon() -> Command {
    cargo(&["build", "--package", "observer", "--package", "provider"])
}

/// A cargo command in the workspace. Intermediate files go to the cache, so that a fresh clone starts warm; who sets
/// CARGO_TARGET_DIR has chosen a place already.
pub(crate) fn cargo(args: &[&str]) -> Command {
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
pub(crate) const PACKAGES: &[&str] = &[
    "capture",
    "dialects",
    "ledger",
    "detectors",
    "edge",
    "observer",
    "testkit",
    "observer-common",
    "provider",
    "throughput",
    "kernel-tests",
    "guest-init",
    "xtask",
];

/// Makes a shared build directory this checkout's: what another one built of our packages goes.
pub(crate) fn own(build_dir: &Path) {
    if bpf_build::is_owner(build_dir, &root()) {
        return;
    }
    if build_dir.exists() {
        let mut clean = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Finished programs are looked for beside the rest: those in this checkout's own `target` are its own, this
        // running one among them.
        clean
            .current_dir(root())
            .arg("clean")
            .env("CARGO_BUILD_BUILD_DIR", build_dir)
            .env("CARGO_TARGET_DIR", build_dir);
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
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Runs a tier; returns its row of the table and what it counted.
fn run_tier(tier: &Tier, barred: Option<String>) -> Result<(String, Count)> {
    let started = Instant::now();
    if let Some(reason) = barred {
        return Ok((format!("{:<20}not run: {reason}", tier.name), Count::one_skipped(&reason)));
    }
    let mut count = Count::default();
    for command in &(tier.commands)() {
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

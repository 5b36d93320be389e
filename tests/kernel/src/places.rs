//! Where things are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The daemon's binary: `LLM_OBSERVER_BIN`, else the one beside this test in the target directory.
///
/// # Errors
/// If there is none; the error says how to build it.
pub fn daemon() -> Result<PathBuf> {
    match env::var_os("LLM_OBSERVER_BIN") {
        Some(path) => Ok(path.into()),
        None => sibling("llm-observer", "cargo build -p observer"),
    }
}

/// The provider's binary, beside this one.
///
/// # Errors
/// If there is none.
pub fn provider() -> Result<PathBuf> {
    sibling("llmo-provider", "cargo build -p provider")
}

/// Beside this program (`target/PROFILE/NAME`), beside its folder (tests lie in `deps`), or in the target directory of
/// the same profile (cargo may keep tests in a build directory elsewhere).
fn sibling(name: &str, build: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let folders = own.ancestors().skip(1).take(2).map(Path::to_owned).chain([target.join(profile)]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("no {name} beside {}: build it with `{build}`", own.display()))
}

/// The folder of the client programs' sources.
#[must_use]
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

/// The folder of the SDKs (`venv`, `node`), set up first if need be.
///
/// # Errors
/// If they cannot be installed; the script's own message goes to standard error.
pub fn sdks() -> Result<PathBuf> {
    let script = programs().join("setup.sh");
    let output = Command::new("sh").arg(&script).stderr(Stdio::inherit()).output().context("cannot run sh")?;
    if !output.status.success() {
        bail!("{} failed", script.display());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

/// Roots of other Debian suites with a curl of their own, as set-up unpacked them; none if it did not.
#[must_use]
pub fn roots() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(cache().join("roots")).into_iter().flatten().flatten();
    let mut roots: Vec<PathBuf> =
        folders.map(|folder| folder.path()).filter(|root| root.join("usr/bin/curl").is_file()).collect();
    roots.sort();
    roots
}

/// A program on PATH or among those that set-up unpacked.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([cache().join("tools/usr/bin")]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Where set-up keeps what lies outside the tree.
fn cache() -> PathBuf {
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    env::var_os("LLM_OBSERVER_CACHE").map_or_else(|| home.join(".cache/llm-observer"), PathBuf::from)
}

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

/// In the target directory of this program's profile, else beside this program or its folder. The target directory
/// comes first: it is where this checkout's `cargo build` puts programs. Tests may lie in a build directory that other
/// checkouts share, and what lies beside them there can be old, and built with other features.
fn sibling(name: &str, build: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let found = find(name, &own, &target);
    found.with_context(|| {
        format!("no {name} in {}, nor beside {}: build it with `{build}`", target.display(), own.display())
    })
}

fn find(name: &str, own: &Path, target: &Path) -> Option<PathBuf> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let beside = own.ancestors().skip(1).take(2).map(Path::to_owned);
    [target.join(profile)].into_iter().chain(beside).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The folder of the client programs' sources.
#[must_use]
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

/// Where cgroup v2 is mounted.
///
/// # Errors
/// If it is not.
pub fn root_cgroup() -> Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let of_kind = |fields: &Vec<String>| fields.get(2).is_some_and(|kind| kind == "cgroup2");
    let found = mounts.lines().map(fields).find(of_kind).context("no cgroup v2 is mounted")?;
    found.get(1).map(PathBuf::from).context("a mount without a place")
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

/// Programs with a stripped OpenSSL inside, as set-up linked them.
#[must_use]
pub fn inside() -> PathBuf {
    cache().join("inside")
}

/// Where set-up keeps what lies outside the tree.
#[must_use]
pub fn cache() -> PathBuf {
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    env::var_os("LLM_OBSERVER_CACHE").map_or_else(|| home.join(".cache/llm-observer"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_program_in_a_shared_build_directory_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let [build, target] = ["build", "target"].map(|name| folder.path().join(name));
        for place in [build.join(profile), target.join(profile)] {
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("program"), "").unwrap();
        }
        let own = build.join(profile).join("deps/test-0123");
        assert_eq!(find("program", &own, &target), Some(target.join(profile).join("program")));
        std::fs::remove_dir_all(&target).unwrap();
        assert_eq!(find("program", &own, &target), Some(build.join(profile).join("program")));
    }
}

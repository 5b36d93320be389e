//! The machine's own packages, through its own apt.

use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use crate::progress;

/// Package lists are refreshed at most once a run.
static UPDATED: AtomicBool = AtomicBool::new(false);

/// Installs what is missing of `packages`; nothing is asked of the network when nothing is missing.
///
/// Errors: not root, no apt, apt's own failure; each says what to do.
pub(crate) fn install(why: &str, packages: &[&str]) -> Result<()> {
    let missing: Vec<_> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !has_apt() {
        bail!("this machine has no apt-get, and {why} needs what Debian calls {names}: install it by hand");
    }
    if !is_root() {
        bail!("{why} needs the packages {names}, and only root may install them: run this command as root");
    }
    update()?;
    // --no-remove: set-up must never take a user's package away; apt then fails and says which one is in the way.
    let mut apt = apt_get();
    apt.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(&missing);
    let failure = format!("apt could not install {names}: look at apt's own reason above, mend it and run this again");
    progress::step(&format!("apt: {names}"), &failure, &mut apt)
}

/// Refreshes the package lists, once a run.
pub(crate) fn update() -> Result<()> {
    if UPDATED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let failure = "apt could not refresh its package lists: check the network and /etc/apt, then run this again";
    progress::step("apt: package lists", failure, apt_get().arg("update"))
}

/// The version that apt would install, `None` when it knows no such package.
pub(crate) fn candidate(package: &str) -> Option<String> {
    let out = Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let version = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// Whether a program is on PATH.
pub(crate) fn on_path(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file())
}

pub(crate) fn has_apt() -> bool {
    on_path("apt-get") && on_path("dpkg-query")
}

pub(crate) fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}\n", package]).output();
    query.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).lines().any(|line| line == "installed"))
}

/// Never asks a question; waits for another apt instead of failing on its lock.
fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    apt.args(["--quiet", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]);
    apt
}

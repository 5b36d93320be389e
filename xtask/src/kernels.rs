//! `cargo xtask kernels`: the real daemon on real kernels, in virtual machines without hardware help.

mod initramfs;
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::debs::{self, Suite};
use crate::setup::{self, Scope};
use crate::{bpf_build, progress, test};

/// The kernels, by the name that the command takes, and the suite whose cloud kernel that is. Each runs with its own
/// suite's OpenSSL and curl.
const KERNELS: [(&str, &str); 4] = [("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie"), ("newest", "sid")];

/// Longest life of a virtual machine, seconds: a boot takes 4, the whole check about 60.
const LIMIT: &str = "300";
/// What the guest's last line begins with.
const VERDICT: &str = "GUEST-VERDICT: ";
/// The target that static programs are built for; naming it keeps build scripts dynamic.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Runs the named kernels, all without names; one verdict line each, then the sum; false when any is not `ok`.
pub(crate) fn run(versions: &[String]) -> Result<bool> {
    let kernels = chosen(versions)?;
    setup::run(Scope::Matrix)?;
    let programs = build()?;
    let verdicts: Vec<_> = kernels.iter().map(|(name, suite)| (name, verdict(suite, &programs))).collect();
    println!();
    for (name, verdict) in &verdicts {
        match verdict {
            Ok(said) => println!("kernel {name:<7} {said}"),
            Err(error) => println!("kernel {name:<7} FAILED: {error:#}"),
        }
    }
    let failed = verdicts.iter().filter(|(_, verdict)| verdict.is_err()).count();
    println!("{} passed, {failed} failed, 0 skipped", verdicts.len() - failed);
    Ok(failed == 0)
}

fn chosen(versions: &[String]) -> Result<Vec<(&'static str, &'static str)>> {
    if versions.is_empty() {
        return Ok(KERNELS.to_vec());
    }
    let find = |version: &String| {
        let names = KERNELS.map(|(name, _)| name).join(", ");
        let found = KERNELS.into_iter().find(|(name, suite)| name == version || suite == version);
        found.ok_or_else(|| anyhow!("there is no kernel {version} in the matrix: it has {names}"))
    };
    versions.iter().map(find).collect()
}

/// Builds the static programs that run in the guest; returns their folder.
fn build() -> Result<PathBuf> {
    let target_dir = cache()?.join("guest-target");
    test::own(&target_dir);
    let mut cargo = test::cargo(&["build", "--profile", "guest", "--target", TARGET]);
    cargo.args(["--package", "observer", "--package", "guest-init"]);
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static");
    cargo.env_remove("CARGO_BUILD_BUILD_DIR").env("CARGO_TARGET_DIR", &target_dir);
    progress::step("cargo: static daemon and guest", "the static programs do not build: see above", &mut cargo)?;
    Ok(target_dir.join(TARGET).join("guest"))
}

/// Boots one kernel; the guest's verdict without its mark.
fn verdict(suite: &str, programs: &Path) -> Result<String> {
    let started = Instant::now();
    let folder = cache()?.join("guest").join(suite);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let debian = Suite::open(suite)?;
    let kernel = debian.kernel().context("no kernel")?;
    let tools = debs::matrix()?;
    let modules = [debian.module("overlay").context("no overlayfs")?];
    let initramfs = initramfs::make(&folder, &debian.root(&debs::CLIENTS)?, programs, &tools, &modules)?;
    let console = folder.join("console.log");
    boot(suite, &tools, &kernel, &initramfs, &console)?;
    let text = String::from_utf8_lossy(&fs::read(&console).context("the guest left no console")?).into_owned();
    let said = text.lines().rev().find_map(|line| line.trim().strip_prefix(VERDICT));
    let said = said.ok_or_else(|| no_verdict(&text, &console))?;
    match said.split_once(": ") {
        Some((kernel, ok)) if ok.starts_with("ok") => Ok(format!("{kernel}: {ok} ({} s)", started.elapsed().as_secs())),
        _ => bail!("{} (console: {})", said.replace("FAILED: ", ""), console.display()),
    }
}

/// A guest that died: its last words are the best there is.
fn no_verdict(text: &str, console: &Path) -> anyhow::Error {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(5);
    let last = lines.get(from..).unwrap_or_default().join(" | ");
    anyhow!("no verdict within {LIMIT} s, it hung or crashed: {last} (console: {})", console.display())
}

/// Runs the virtual machine to its end, its console in a file. The time limit ends a hung one, which then simply has
/// no verdict.
fn boot(suite: &str, tools: &Path, kernel: &Path, initramfs: &Path, console: &Path) -> Result<()> {
    let mut qemu = qemu::command(tools, LIMIT);
    qemu.arg("-serial").arg(format!("file:{}", console.display()));
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs).stdin(Stdio::null());
    let failure = "qemu ended badly";
    progress::step(&format!("qemu: kernel of Debian {suite}"), failure, &mut qemu).or_else(|error| {
        let said = fs::read_to_string(console).unwrap_or_default();
        if said.trim().is_empty() { Err(error) } else { Ok(()) }
    })
}

fn cache() -> Result<PathBuf> {
    bpf_build::cache_root().map_err(anyhow::Error::msg)
}

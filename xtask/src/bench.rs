//! `cargo xtask bench`: the figures of the README's table, measured here. The benchmarks proper are
//! `tests/kernel/src/bin/llmo-bench` (see `demo` for why).

use anyhow::{Result, bail};

use crate::setup::{self, Scope};
use crate::test::cargo;
use crate::{apt, progress};

/// Sets up, builds for release, measures; an error when a goal was missed.
pub fn run() -> Result<()> {
    if !apt::is_root() {
        bail!("the benchmarks attach probes, which needs root: run them as root");
    }
    setup::run(Scope::Programs)?;
    let failure = "the daemon and the benchmarks could not be built: see the compiler's error above";
    let mut build = cargo(&["build", "--release", "--package", "observer", "--package", "kernel-tests"]);
    progress::step("build for release (minutes, the first time)", failure, &mut build)?;
    let status =
        cargo(&["run", "--release", "--quiet", "--package", "kernel-tests", "--bin", "llmo-bench"]).status()?;
    if !status.success() {
        bail!("the benchmarks ended with {status}; the table above tells which goal was missed");
    }
    Ok(())
}

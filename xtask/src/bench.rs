//! `cargo xtask bench`: the figures of `observer/docs/understand/cost.md`, measured here. The
//! benchmarks proper are `tests/throughput` (the pure pipeline: no kernel, no root) and
//! `tests/kernel/src/bin/llmo-bench` (see `demo` for why).

use anyhow::{Result, bail};

use crate::setup::{self, Scope};
use crate::test::cargo;
use crate::{apt, progress};

/// Sets up, builds for release, measures; an error when a goal was missed.
pub(crate) fn run() -> Result<()> {
    // Its metrics are the program's, and the program needs the BPF compiler.
    if apt::is_root() {
        setup::run(Scope::Programs)?;
    }
    let throughput = cargo(&["run", "--release", "--quiet", "--package", "throughput"]).status()?;
    if !apt::is_root() {
        bail!("the other benchmarks attach probes, which needs root: run them as root");
    }
    let failure = "the daemon and the benchmarks could not be built: see the compiler's error above";
    let mut build = cargo(&["build", "--release", "--package", "observer", "--package", "kernel-tests"]);
    progress::step("build for release (minutes, the first time)", failure, &mut build)?;
    let status =
        cargo(&["run", "--release", "--quiet", "--package", "kernel-tests", "--bin", "llmo-bench"]).status()?;
    if !status.success() {
        bail!("the benchmarks ended with {status}; the table above tells which goal was missed");
    }
    if !throughput.success() {
        bail!("the pure pipeline missed a goal: see the first table");
    }
    Ok(())
}

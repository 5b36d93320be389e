//! `cargo xtask demo`: what the program is for, seen in half a minute.
//!
//! The demo proper is `tests/kernel/src/bin/llmo-demo.rs`: it needs the tests' provider and clients, and with them TLS
//! and much else that `xtask`, which must start at once on a fresh machine, does without.

use anyhow::{Result, bail};

use crate::setup::{self, Scope};
use crate::test::cargo;
use crate::{agents, apt, progress};

/// Sets up, builds, and hands over to the demo; then to the agents. True: all of those were seen exactly.
pub(crate) fn run(with_agents: bool) -> Result<bool> {
    if !apt::is_root() {
        bail!("the demo attaches probes, which needs root: run it as root");
    }
    setup::run(Scope::Programs)?;
    let failure = "the daemon and the demo could not be built: see the compiler's error above";
    let mut build = cargo(&["build", "--package", "observer", "--package", "kernel-tests"]);
    progress::step("build: daemon and demo (minutes, the first time)", failure, &mut build)?;
    let status = cargo(&["run", "--quiet", "--package", "kernel-tests", "--bin", "llmo-demo"]).status()?;
    if !status.success() {
        bail!("the demo ended with {status}; everything it started is stopped");
    }
    if with_agents { agents::run(&agents::SHOWN.map(str::to_owned)) } else { Ok(true) }
}

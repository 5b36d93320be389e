//! The harness of the kernel tier: starts the daemon and unmodified clients, and compares each ledger with the
//! provider's log.
//!
//! ```text
//! provider log ─ truth::exchanges ─┐
//!                                  compare ─ mismatches (must be none), timing errors (within a bound)
//! inspect -o json ─ ledger ────────┘
//! ```
//! The demo and the benchmarks are made of the same parts.

pub mod cases;
pub mod clients;
pub mod compare;
pub mod daemon;
pub mod exact;
pub mod far;
pub mod first;
pub mod golang;
pub mod helper;
pub mod inside;
pub mod kinds;
pub mod kmsg;
pub mod layer;
pub mod ledger;
pub mod library;
pub mod matrix;
pub mod overlay;
pub mod places;
pub mod podman;
pub mod pods;
pub mod pty;
pub mod raw;
pub mod rig;
pub mod room;
pub mod siege;
pub mod steady;
pub mod truth;
pub mod verdicts;
pub mod watch;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Why the kernel tier cannot run here, if it cannot. Prints it in the form that `cargo xtask test` counts as skipped.
#[must_use]
pub fn skipped() -> bool {
    let barred = !rustix::process::geteuid().is_root();
    if barred {
        println!("SKIPPED: attaching probes needs root");
    }
    barred
}

/// Tries until `attempt` gives a value; an error that names `what` after `limit`.
///
/// # Errors
/// If `limit` passes.
pub fn wait_for<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = attempt() {
            return Ok(value);
        }
        if Instant::now() > end {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! Stage 7: verdicts. `Happening` in; findings with their evidence, and samples, out.
//!
//! ```text
//! Happening ─► Detectors ─► each Detector of the table ─► Out ─┬─ Sample   (export makes series of it)
//!                                                              ├─ Finding  (`inspect findings`)
//!                                                              └─ evaluated / withheld, so that silence is no verdict
//! ```
//! A detector is one file and one row of the table in `table.rs`: [how](README.md). Time and the wall clock are arguments, memory
//! is bounded (`Recent`, caps in `limits`), baselines go out and come in as values that the edge keeps in a file.
#![deny(clippy::disallowed_methods, reason = "pure stage: time is an argument, no files")]

mod activity;
mod chunks;
mod claims;
mod clocks;
pub mod config;
mod failover;
mod finding;
mod first_token;
mod out;
mod pressure;
mod quota;
mod reasoning;
mod recent;
mod retry;
mod runner;
mod sketch;
mod stale;
mod subject;
mod table;
mod tool_rot;
mod voice;

pub use finding::{Fact, Finding, Findings, Report, Severity, number};
pub use out::{Change, Now, Out, Sample};
pub use quota::QuotaRow;
pub use recent::Recent;
pub use runner::{Detectors, Saved};
pub use sketch::Sketch;
pub use subject::Subject;
pub use table::{DETECTORS, Row, Settings, Typed};

use crate::ledger::Happening;

/// One detector. Pure, bounded, never panics.
pub trait Detector: Send {
    /// One thing that happened.
    fn hear(&mut self, happening: &Happening<'_>, out: &mut Out<'_>);
    /// It judges calls of which only the shape is seen, too: their times, ends and hosts, never their words.
    fn judges_shapes(&self) -> bool {
        false
    }
    /// Time passed (a few times a second).
    fn tick(&mut self, _out: &mut Out<'_>) {}
    /// A scrape: say what every gauge of the row is now. They were cleared before.
    fn publish(&mut self, _out: &mut Out<'_>) {}
    /// The control groups of a service that had streams used so many CPU seconds in the last so many seconds.
    fn cpu(&mut self, _service: &str, _used: f64, _seconds: f64) {}
    /// Quotas it knows, for `inspect quota`.
    fn quota(&self, _now: crate::units::Ns) -> Vec<QuotaRow> {
        Vec::new()
    }
    /// What must outlive a restart. Times in it are wall-clock seconds: the boot clock starts anew.
    fn save(&self, _now: Now) -> Option<serde_json::Value> {
        None
    }
    /// What `save` gave, perhaps by another version or damaged: what cannot be read is ignored.
    fn restore(&mut self, _saved: serde_json::Value, _now: Now) {}
    /// Things held now, to hold the caps to their word.
    fn held(&self) -> usize;
    /// Keys that were forgotten, since its tables were full.
    fn forgotten(&self) -> u64;
}

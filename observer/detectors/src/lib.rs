//! Stage 7: verdicts. Events of the ledger in; findings with their evidence, and samples, out.
//!
//! ```text
//! CallEvent, HostEvent ─► DetectorSet ─► each Detector that wants its kind ─► DetectorOutput
//! DetectorOutput ─┬─ Sample  ─► SampleSink (the store)
//!                 ├─ Finding (`inspect findings`)
//!                 └─ evaluated / withheld, so that silence is no verdict
//! ```
//! A detector is one file and one row of the table in `table.rs`: [how](README.md). Time and the
//! wall clock are arguments, memory is bounded (`RecentMap`, caps in `limits`), baselines go out and
//! come in as values that the edge keeps in a file.
//!
//! ```
//! use detectors::QuantileSketch;
//!
//! let mut sketch = QuantileSketch::default();
//! for characters in [4.0, 5.0, 4.0, 6.0] {
//!     sketch.add(0, characters);
//! }
//! let median = sketch.median().expect("there are values");
//! assert!((3.9..5.2).contains(&median), "{median}");
//! ```
#![deny(clippy::disallowed_methods, reason = "pure stage: time is an argument, no files")]
#![forbid(unsafe_code)]

mod activity;
mod chunk_regression;
mod claims;
mod clocks;
mod common;
pub mod config;
mod detector_set;
mod failover;
mod finding;
mod first_token;
pub mod metrics;
mod output;
mod pressure;
mod quota;
mod reasoning;
mod recent;
mod retry;
mod sketch;
mod stale_results;
mod subject;
mod table;
mod tool_rot;
mod voice;

pub use detector_set::{DetectorFeed, DetectorSet, SavedBaselines};
pub use finding::{EvidenceFact, Finding, FindingReport, FindingSeverity, FindingTable, number};
pub use output::{DetectorNow, DetectorOutput};
pub use quota::QuotaRow;
pub use recent::RecentMap;
pub use sketch::QuantileSketch;
pub use table::{DETECTORS, DetectorRow, DetectorSettings, RawDetectorSettings};

use ledger::{CallEvent, HostEvent};

/// One detector. Pure, bounded, never panics.
pub trait Detector: Send {
    /// Something happened to a call. Only of the kinds that its row of the table names.
    fn on_call_event(&mut self, event: &CallEvent<'_>, out: &mut DetectorOutput<'_>);
    /// Something happened on the host. Only of the kinds that its row of the table names.
    fn on_host_event(&mut self, _event: &HostEvent<'_>, _out: &mut DetectorOutput<'_>) {}
    /// Whether the detector judges calls of which only the shape is seen, too: their times, ends
    /// and hosts, never their words.
    fn judges_shapes(&self) -> bool {
        false
    }
    /// Time passed (a few times a second).
    fn tick(&mut self, _out: &mut DetectorOutput<'_>) {}
    /// A scrape: say what every gauge of the row is now. They were cleared before.
    fn publish(&mut self, _out: &mut DetectorOutput<'_>) {}
    /// Quotas it knows, for `inspect quota`.
    fn quota(&self, _now: capture::units::Ns) -> Vec<QuotaRow> {
        Vec::new()
    }
    /// What must outlive a restart. Times in it are wall-clock seconds: the boot clock starts anew.
    fn save(&self, _now: DetectorNow) -> Option<serde_json::Value> {
        None
    }
    /// What `save` gave, perhaps by another version or damaged. False when it cannot be read:
    /// nothing of it is taken then.
    fn restore(&mut self, _saved: serde_json::Value, _now: DetectorNow) -> bool {
        false
    }
    /// Things held now, to hold the caps to their word.
    fn held(&self) -> usize;
    /// Keys that were forgotten, since its tables were full.
    fn forgotten(&self) -> u64;
}

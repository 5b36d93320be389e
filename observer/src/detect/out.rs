//! Where a detector puts what it found out.

use super::finding::{Findings, Report};
use super::subject::Subject;
use crate::ledger::Entry;
use crate::record::ConnKey;
use crate::units::Ns;

/// The moment at which something is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// On the boot clock, as all stamps.
    pub at: Ns,
    /// Wall clock minus boot clock, nanoseconds. `None`: nobody told.
    pub wall: Option<i128>,
}

impl Now {
    /// The wall time of a moment, seconds since the epoch.
    #[must_use]
    pub fn unix(self, at: Ns) -> Option<f64> {
        Some((i128::from(at.0) + self.wall?) as f64 / 1e9)
    }

    /// The moment of a wall time; `None` if it lies before the boot.
    #[must_use]
    pub fn moment(self, unix: f64) -> Option<Ns> {
        let ns = std::time::Duration::try_from_secs_f64(unix).ok()?.as_nanos();
        u64::try_from(i128::try_from(ns).ok()? - self.wall?).ok().map(Ns)
    }
}

/// What becomes of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    Add(f64),
    Observe(f64),
    Set(f64),
}

/// One number for one series.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// A name in the catalogue.
    pub metric: &'static str,
    /// The common labels, where the metric has them.
    pub subject: Option<&'a Subject>,
    /// Its own labels.
    pub own: &'a [&'a str],
    pub change: Change,
}

/// One detector's way out.
pub struct Out<'a> {
    now: Now,
    detector: &'static str,
    findings: &'a mut Findings,
    samples: &'a mut dyn FnMut(Sample<'_>),
}

impl<'a> Out<'a> {
    pub(super) fn new(
        now: Now,
        detector: &'static str,
        findings: &'a mut Findings,
        samples: &'a mut dyn FnMut(Sample<'_>),
    ) -> Self {
        Out { now, detector, findings, samples }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// Adds to a counter.
    pub fn add(&mut self, metric: &'static str, subject: &Subject, own: &[&str], by: f64) {
        (self.samples)(Sample { metric, subject: Some(subject), own, change: Change::Add(by) });
    }

    /// One sample of a histogram.
    pub fn observe(&mut self, metric: &'static str, subject: &Subject, own: &[&str], sample: f64) {
        (self.samples)(Sample { metric, subject: Some(subject), own, change: Change::Observe(sample) });
    }

    /// Sets a gauge.
    pub fn set(&mut self, metric: &'static str, subject: &Subject, own: &[&str], to: f64) {
        (self.samples)(Sample { metric, subject: Some(subject), own, change: Change::Set(to) });
    }

    /// A sample of a metric without the common labels.
    pub fn bare(&mut self, metric: &'static str, own: &[&str], change: Change) {
        (self.samples)(Sample { metric, subject: None, own, change });
    }

    /// A case was judged, whatever the verdict.
    pub fn evaluated(&mut self) {
        self.bare("llm_detector_evaluated_total", &[self.detector], Change::Add(1.0));
    }

    /// A case could not be judged.
    pub fn withheld(&mut self, reason: &'static str) {
        self.bare("llm_detector_withheld_total", &[self.detector, reason], Change::Add(1.0));
    }

    /// A verdict that someone should act on: opens a finding, or adds to the open one of the same key.
    pub fn report(&mut self, report: Report<'_>) {
        let severity = report.severity.name();
        match self.findings.report(self.detector, report, self.now) {
            Some(true) => self.bare("llm_findings_total", &[self.detector, severity], Change::Add(1.0)),
            Some(false) => {}
            None => self.withheld("too_many_findings"),
        }
    }

    /// What was reported under this key is over.
    pub fn over(&mut self, key: &str) {
        self.findings.over(self.detector, key, self.now.at);
    }

    /// An open finding has this key.
    #[must_use]
    pub fn is_open(&self, key: &str) -> bool {
        self.findings.is_open(self.detector, key)
    }

    /// `entry` is the continuation of the call with the id `of` at another place.
    pub fn hop(&mut self, entry: &Entry, of: &str) {
        self.hop_call((entry.conn, entry.exchange), of);
    }

    /// The same, of a call whose entry is not at hand.
    pub fn hop_call(&mut self, call: CallKey, of: &str) {
        self.findings.hop(call, of);
    }
}

/// A call, for the maps of detectors that follow it while it is open.
pub type CallKey = (ConnKey, u64);

//! Where a detector puts what it found out.

use super::finding::{FindingReport, FindingTable};
use super::metrics;
use capture::record::ConnKey;
use capture::units::Ns;
use ledger::Entry;
use ledger::metric::{Sample, SampleSink, SeriesChange, SeriesName};

/// The moment at which something is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectorNow {
    /// On the boot clock, as all stamps.
    pub at: Ns,
    /// Wall clock minus boot clock, nanoseconds. `None`: nobody told.
    pub wall: Option<i128>,
}

impl DetectorNow {
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

/// One detector's way out.
pub struct DetectorOutput<'a> {
    now: DetectorNow,
    detector: &'static str,
    findings: &'a mut FindingTable,
    samples: &'a mut dyn SampleSink,
}

impl<'a> DetectorOutput<'a> {
    pub(super) fn new(
        now: DetectorNow,
        detector: &'static str,
        findings: &'a mut FindingTable,
        samples: &'a mut dyn SampleSink,
    ) -> Self {
        DetectorOutput { now, detector, findings, samples }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> DetectorNow {
        self.now
    }

    /// Adds to a counter.
    pub fn add(&mut self, series: SeriesName<'_>, by: f64) {
        self.samples.take(Sample { series, change: SeriesChange::Add(by) });
    }

    /// One sample of a histogram.
    pub fn observe(&mut self, series: SeriesName<'_>, sample: f64) {
        self.samples.take(Sample { series, change: SeriesChange::Observe(sample) });
    }

    /// Sets a gauge.
    pub fn set(&mut self, series: SeriesName<'_>, to: f64) {
        self.samples.take(Sample { series, change: SeriesChange::Set(to) });
    }

    /// A case was judged, whatever the verdict.
    pub fn evaluated(&mut self) {
        self.add(metrics::DETECTOR_EVALUATED.with(&[self.detector]), 1.0);
    }

    /// A case could not be judged.
    pub fn withheld(&mut self, reason: &'static str) {
        self.add(metrics::DETECTOR_WITHHELD.with(&[self.detector, reason]), 1.0);
    }

    /// A verdict that someone should act on: opens a finding, or adds to the open one of the same key.
    pub fn report(&mut self, report: FindingReport<'_>) {
        let severity = report.severity.name();
        match self.findings.report(self.detector, report, self.now) {
            Some(true) => self.add(metrics::FINDINGS.with(&[self.detector, severity]), 1.0),
            Some(false) => {}
            None => self.withheld("too_many_findings"),
        }
    }

    /// What was reported under this key is over.
    pub fn end(&mut self, key: &str) {
        self.findings.end(self.detector, key, self.now.at);
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
pub(crate) type CallKey = (ConnKey, u64);

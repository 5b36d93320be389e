//! Verdicts with their evidence, kept for `inspect findings`.

use ledger::CallLabels;
use std::collections::VecDeque;

use super::output::{CallKey, DetectorNow};
use super::recent::RecentMap;
use capture::hash::short_name;
use capture::limits;
use capture::units::Ns;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingSeverity {
    /// Worth knowing.
    Info,
    /// Look at it in working hours.
    Warning,
    /// Users suffer now.
    Critical,
}

impl FindingSeverity {
    /// Every severity.
    pub const ALL: [FindingSeverity; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The value of the `severity` label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A named number or word of the evidence.
pub type EvidenceFact = (&'static str, serde_json::Value);

/// A number of the evidence, rounded to four significant digits: nobody acts on the fifth.
#[must_use]
pub fn number(value: f64) -> serde_json::Value {
    if value == 0.0 || !value.is_finite() {
        return serde_json::Number::from_f64(value).map_or(serde_json::Value::Null, serde_json::Value::Number);
    }
    #[expect(clippy::cast_possible_truncation, reason = "between -308 and 308")]
    let digits = 3 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits.min(300));
    serde_json::json!((value * scale).round() / scale)
}

/// What a detector reports.
pub struct FindingReport<'a> {
    /// What tells this finding from others of the detector; reports with the same key are one finding.
    pub key: &'a str,
    /// The verdict as a word.
    pub kind: &'static str,
    pub severity: FindingSeverity,
    /// Since when it is so.
    pub since: Ns,
    pub subject: &'a CallLabels,
    /// The verdict as a sentence, numbers included: what an on-call engineer reads first.
    pub verdict: String,
    /// What was measured now.
    pub inputs: Vec<EvidenceFact>,
    /// What the inputs were compared with.
    pub baseline: Vec<EvidenceFact>,
    /// Explanations that were ruled out.
    pub excluded: Vec<&'static str>,
    /// Calls to look at.
    pub streams: Vec<String>,
    /// Without a further report for this long, it is over by itself.
    pub quiet_ns: Option<u64>,
}

/// A verdict someone should act on.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Twelve hexadecimal digits, stable across replays.
    pub id: String,
    pub detector: &'static str,
    pub kind: &'static str,
    pub severity: FindingSeverity,
    pub since: Ns,
    /// The last evidence.
    pub seen: Ns,
    /// When it was over; `None` while it lasts.
    pub ended: Option<Ns>,
    /// Reports that it is made of.
    pub count: u64,
    pub subject: CallLabels,
    pub verdict: String,
    pub inputs: Vec<EvidenceFact>,
    pub baseline: Vec<EvidenceFact>,
    pub excluded: Vec<&'static str>,
    /// The first ones and the last one.
    pub streams: Vec<String>,
    key: String,
    quiet_ns: Option<u64>,
}

/// Findings that last, and the last ones that are over.
#[derive(Debug)]
pub struct FindingTable {
    open: Vec<Finding>,
    ended: VecDeque<Finding>,
    hops: RecentMap<CallKey, String>,
}

impl Default for FindingTable {
    fn default() -> Self {
        FindingTable { open: Vec::new(), ended: VecDeque::new(), hops: RecentMap::new(limits::ENDED_STREAMS) }
    }
}

impl FindingTable {
    /// All, those that last first, the newest evidence first.
    #[must_use]
    pub fn list(&self) -> Vec<&Finding> {
        let mut all: Vec<&Finding> = self.open.iter().chain(&self.ended).collect();
        all.sort_by_key(|finding| (finding.ended.is_some(), std::cmp::Reverse(finding.seen), finding.id.clone()));
        all
    }

    /// Of which call this one is the continuation.
    #[must_use]
    pub fn hop_of(&self, call: &CallKey) -> Option<&str> {
        self.hops.get(call).map(String::as_str)
    }

    /// Open findings of one detector and severity.
    #[must_use]
    pub fn open(&self, detector: &str, severity: FindingSeverity) -> usize {
        self.open.iter().filter(|finding| finding.detector == detector && finding.severity == severity).count()
    }

    /// Whether it is new; `None` when the detector has too many open.
    pub(super) fn report(
        &mut self,
        detector: &'static str,
        report: FindingReport<'_>,
        now: DetectorNow,
    ) -> Option<bool> {
        let same = |finding: &&mut Finding| finding.detector == detector && finding.key == report.key;
        if let Some(open) = self.open.iter_mut().find(same) {
            open.update(report, now.at);
            return Some(false);
        }
        if self.open.iter().filter(|finding| finding.detector == detector).count() >= limits::OPEN_FINDINGS {
            return None;
        }
        self.open.push(Finding::new(detector, report, now.at));
        Some(true)
    }

    pub(super) fn end(&mut self, detector: &str, key: &str, at: Ns) {
        self.end_where(at, |finding| finding.detector == detector && finding.key == key);
    }

    pub(super) fn is_open(&self, detector: &str, key: &str) -> bool {
        self.open.iter().any(|finding| finding.detector == detector && finding.key == key)
    }

    pub(super) fn hop(&mut self, call: CallKey, of: &str) {
        self.hops.insert(call, of.to_owned());
    }

    pub(super) fn tick(&mut self, now: Ns) {
        self.end_where(now, |finding| finding.quiet_ns.is_some_and(|quiet| now - finding.seen >= quiet));
    }

    fn end_where(&mut self, at: Ns, over: impl Fn(&Finding) -> bool) {
        for mut finding in self.open.extract_if(.., |finding| over(finding)) {
            finding.ended = Some(at);
            self.ended.push_back(finding);
        }
        while self.ended.len() > limits::ENDED_FINDINGS {
            self.ended.pop_front();
        }
    }
}

impl Finding {
    fn new(detector: &'static str, report: FindingReport<'_>, now: Ns) -> Finding {
        let FindingReport {
            key,
            kind,
            severity,
            since,
            subject,
            verdict,
            inputs,
            baseline,
            excluded,
            streams,
            quiet_ns,
        } = report;
        Finding {
            id: id(detector, key, since),
            detector,
            kind,
            severity,
            since,
            seen: now,
            ended: None,
            count: 1,
            subject: subject.clone(),
            verdict,
            inputs,
            baseline,
            excluded,
            streams: streams.into_iter().take(limits::FINDING_STREAMS).collect(),
            key: key.to_owned(),
            quiet_ns,
        }
    }

    /// More of the same: the newest numbers count, the worst severity stays.
    fn update(&mut self, report: FindingReport<'_>, now: Ns) {
        self.kind = report.kind;
        self.severity = self.severity.max(report.severity);
        self.seen = now;
        self.count += 1;
        self.verdict = report.verdict;
        self.inputs = report.inputs;
        self.excluded = report.excluded;
        for id in report.streams {
            if self.streams.contains(&id) {
                continue;
            }
            if self.streams.len() >= limits::FINDING_STREAMS {
                self.streams.pop();
            }
            self.streams.push(id);
        }
    }
}

/// What a finding is called: of what makes it that one.
fn id(detector: &str, key: &str, since: Ns) -> String {
    short_name(detector.bytes().chain([0]).chain(key.bytes()).chain(since.0.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report<'a>(key: &'a str, subject: &'a CallLabels) -> FindingReport<'a> {
        FindingReport {
            key,
            kind: "smaller",
            severity: FindingSeverity::Warning,
            since: Ns(5),
            subject,
            verdict: format!("about {key}"),
            inputs: vec![("ratio", number(0.123_456))],
            baseline: Vec::new(),
            excluded: Vec::new(),
            streams: vec!["s".into()],
            quiet_ns: None,
        }
    }

    #[test]
    fn the_name_of_a_finding_is_the_same_in_every_build() {
        assert_eq!(id("retry", "k", Ns(7)), "29bdf1df90fc");
    }

    #[test]
    fn one_key_is_one_finding_until_it_is_over() {
        let (mut findings, subject) = (FindingTable::default(), CallLabels::default());
        let at = |ns| DetectorNow { at: Ns(ns), wall: None };
        assert_eq!(findings.report("d", report("a", &subject), at(10)), Some(true));
        assert_eq!(findings.report("d", report("a", &subject), at(20)), Some(false));
        assert_eq!(findings.report("e", report("a", &subject), at(20)), Some(true));
        findings.end("d", "a", Ns(30));
        let all = findings.list();
        assert_eq!((all[0].detector, all[0].ended), ("e", None));
        assert_eq!((all[1].count, all[1].seen, all[1].ended), (2, Ns(20), Some(Ns(30))));
        assert_ne!(all[0].id, all[1].id);
    }

    #[test]
    fn a_flood_of_findings_is_bounded_and_refused_openly() {
        let (mut findings, subject) = (FindingTable::default(), CallLabels::default());
        for n in 0..10_000_u64 {
            let opened = findings.report("d", report(&n.to_string(), &subject), DetectorNow { at: Ns(n), wall: None });
            assert_eq!(opened.is_some(), n < limits::OPEN_FINDINGS as u64);
        }
        for n in 0..limits::OPEN_FINDINGS {
            findings.end("d", &n.to_string(), Ns(1));
        }
        assert_eq!(findings.list().len(), limits::OPEN_FINDINGS.min(limits::ENDED_FINDINGS));
    }

    #[test]
    fn numbers_have_four_digits() {
        for (value, text) in [(0.123_456, "0.1235"), (123_456.0, "123500.0"), (0.0, "0.0"), (-1.0, "-1.0")] {
            assert_eq!(number(value).to_string(), text);
        }
        assert_eq!(number(f64::NAN), serde_json::Value::Null);
    }
}

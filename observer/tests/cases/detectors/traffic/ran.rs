//! What came of a host's traffic: findings and metrics.

use detectors::Finding;
use ledger::pipeline::Pipeline;
use observer::export::catalogue;
use observer::export::store::{MetricsSnapshot, SeriesValue};
use observer::sinks::DaemonSinks;

/// What came of it.
pub(crate) struct Ran {
    pub pipeline: Pipeline<DaemonSinks>,
    pub(super) snapshot: MetricsSnapshot,
    /// Of the first finding.
    pub delay: Option<Delay>,
}

/// How long it went wrong before it was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    /// Calls begun in that time.
    pub streams: usize,
    pub seconds: f64,
}

impl Ran {
    pub(crate) fn findings(&self) -> Vec<&Finding> {
        self.pipeline.sink().detectors.findings().list()
    }

    /// The one finding there must be.
    pub(crate) fn finding(&self) -> &Finding {
        match self.findings().as_slice() {
            [one] => one,
            many => panic!("{} findings\n{}", many.len(), self.explain()),
        }
    }

    /// The sum of the series with these labels; of a histogram, its count.
    pub(crate) fn number(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(metric, labels)
            .iter()
            .map(|value| match value {
                SeriesValue::Number(number) => *number,
                SeriesValue::Buckets { counts, .. } => counts.iter().sum::<u64>() as f64,
            })
            .sum()
    }

    /// Whether the metric has any series.
    pub(crate) fn fed(&self, metric: &str) -> bool {
        !self.series(metric, &[]).is_empty()
    }

    /// The sum of a histogram's samples.
    pub(crate) fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(metric, labels)
            .iter()
            .map(|value| match value {
                SeriesValue::Number(_) => panic!("{metric} is no histogram"),
                SeriesValue::Buckets { sum, .. } => *sum,
            })
            .sum()
    }

    fn series(&self, metric: &str, labels: &[(&str, &str)]) -> Vec<&SeriesValue> {
        let row = catalogue::rows().find(|row| row.name == metric).unwrap_or_else(|| panic!("no metric {metric}"));
        let names: Vec<&str> = row.labels().map(|label| label.name()).collect();
        let at = |name: &str| names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("{metric} has no {name}"));
        self.snapshot.families[catalogue::place(row.id)]
            .iter()
            .filter(|(values, _)| labels.iter().all(|(name, value)| &*values[at(name)] == *value))
            .map(|(_, value)| value)
            .collect()
    }

    /// Everything that detectors said, for a failed test.
    pub(crate) fn explain(&self) -> String {
        let mut text = String::new();
        for finding in self.findings() {
            text += &format!("{finding:#?}\n");
        }
        for row in catalogue::rows().filter(|row| row.name.starts_with("llm_detector")) {
            for (labels, value) in &self.snapshot.families[catalogue::place(row.id)] {
                text += &format!("{} {labels:?} {value:?}\n", row.name);
            }
        }
        let outcomes =
            self.pipeline.call_table().ended().take(20).map(|e| format!("{} {:?} {:?}\n", e.id, e.outcome, e.notes));
        text + &outcomes.collect::<String>()
    }
}

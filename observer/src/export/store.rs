//! The numbers behind `/metrics`: series by label values, capped, owned by the pipeline's thread.
//!
//! A stranger chooses model names, so nothing a stranger sends may grow memory: for each metric, an
//! open label takes at most `SeriesCaps::values` distinct values and the metric at most
//! `SeriesCaps::series` series; what comes beyond is folded into the value `_OTHER` and counted. A
//! scrape gets a `MetricsSnapshot`, so that encoding never blocks the pipeline.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::export::catalogue::{self, observer::SERIES_OVERFLOW};
use ledger::metric::{MetricId, MetricKind, MetricRow, Sample, SampleSink, SeriesChange, SeriesName};

/// The value that stands for all values beyond a cap.
pub const OTHER: &str = "_OTHER";

/// Longest label value kept: names are capped at 256 bytes by the pipeline, paths may be longer.
const VALUE_BYTES: usize = 256;

/// How much a metric may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesCaps {
    /// Distinct values of one open label of one metric.
    pub values: usize,
    /// Series of one metric.
    pub series: usize,
}

impl Default for SeriesCaps {
    fn default() -> Self {
        // A host talks to tens of models; 2,000 series of a 20-bucket histogram are 46,000 lines.
        SeriesCaps { values: 100, series: 2000 }
    }
}

/// Label values of one series, in the order of `MetricRow::labels`.
pub type LabelValues = Arc<[Box<str>]>;

/// One series' number(s).
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesValue {
    /// Counter or gauge.
    Number(f64),
    /// Count per bucket (not cumulative; the last one is +Inf) and the sum.
    Buckets { counts: Box<[u64]>, sum: f64 },
}

/// Where a series lies; valid for the life of the store, for metrics that are added to and not replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesHandle {
    id: MetricId,
    index: usize,
}

/// What a scrape gets.
#[derive(Clone, Debug)]
pub struct MetricsSnapshot {
    /// Series of each metric, in the order of the catalogue.
    pub families: Vec<Vec<(LabelValues, SeriesValue)>>,
}

/// All series.
#[derive(Debug)]
pub struct SeriesStore {
    families: Vec<MetricFamily>,
    caps: SeriesCaps,
}

#[derive(Debug)]
struct MetricFamily {
    metric: &'static MetricRow,
    series: Vec<(LabelValues, SeriesValue)>,
    index: HashMap<LabelValues, usize, foldhash::fast::RandomState>,
    /// Values seen, for each label that is open.
    seen: Vec<HashSet<Box<str>, foldhash::fast::RandomState>>,
    overflow: u64,
}

impl SeriesStore {
    /// An empty store. Metrics without labels start at 0 only once they are set.
    #[must_use]
    pub fn new(caps: SeriesCaps) -> SeriesStore {
        SeriesStore { families: catalogue::rows().map(MetricFamily::new).collect(), caps }
    }

    /// The series of this name, made at 0 if it is new.
    pub fn series(&mut self, name: SeriesName<'_>) -> SeriesHandle {
        let (id, caps) = (name.id(), self.caps);
        SeriesHandle { id, index: self.family(id).map_or(0, |family| family.series(&name, caps)) }
    }

    /// Adds to a counter or gauge.
    pub fn add(&mut self, series: SeriesHandle, by: f64) {
        if let Some(SeriesValue::Number(number)) = self.value(series) {
            *number += by;
        }
    }

    /// Sets a counter or gauge.
    pub fn set(&mut self, series: SeriesHandle, to: f64) {
        if let Some(SeriesValue::Number(number)) = self.value(series) {
            *number = to;
        }
    }

    /// Adds one sample to a histogram.
    pub fn observe(&mut self, series: SeriesHandle, sample: f64) {
        let Some(family) = self.family(series.id) else { return };
        let MetricKind::Histogram(bounds) = family.metric.kind else { return };
        if let Some((_, SeriesValue::Buckets { counts, sum })) = family.series.get_mut(series.index) {
            let bucket = bounds.partition_point(|bound| *bound < sample);
            if let Some(count) = counts.get_mut(bucket) {
                *count += 1;
                *sum += sample;
            }
        }
    }

    /// `add` to the series of these labels.
    pub fn add_to(&mut self, name: SeriesName<'_>, by: f64) {
        let series = self.series(name);
        self.add(series, by);
    }

    /// `set` of the series of these labels.
    pub fn set_to(&mut self, name: SeriesName<'_>, to: f64) {
        let series = self.series(name);
        self.set(series, to);
    }

    /// Raises the gauge of these labels to `to`, if it is lower.
    pub fn raise_to(&mut self, name: SeriesName<'_>, to: f64) {
        let series = self.series(name);
        if let Some(SeriesValue::Number(number)) = self.value(series) {
            *number = number.max(to);
        }
    }

    /// `observe` in the series of these labels.
    pub fn observe_in(&mut self, name: SeriesName<'_>, sample: f64) {
        let series = self.series(name);
        self.observe(series, sample);
    }

    /// Forgets every series of a metric that is filled anew at each scrape, so that what is gone disappears.
    pub fn clear(&mut self, id: MetricId) {
        if let Some(family) = self.family(id) {
            family.clear();
        }
    }

    /// A copy of everything, for the encoder.
    #[must_use]
    pub fn snapshot(&mut self) -> MetricsSnapshot {
        self.publish_overflow();
        MetricsSnapshot { families: self.families.iter().map(|family| family.series.clone()).collect() }
    }

    fn publish_overflow(&mut self) {
        let counts: Vec<_> =
            self.families.iter().filter(|f| f.metric.capped()).map(|f| (f.metric.name, f.overflow)).collect();
        for (name, overflow) in counts {
            self.set_to(SERIES_OVERFLOW.with(&[name]), overflow as f64);
        }
    }

    fn family(&mut self, id: MetricId) -> Option<&mut MetricFamily> {
        self.families.get_mut(catalogue::place(id))
    }

    fn value(&mut self, series: SeriesHandle) -> Option<&mut SeriesValue> {
        self.family(series.id)?.series.get_mut(series.index).map(|(_, value)| value)
    }
}

/// What detectors measure.
impl SampleSink for SeriesStore {
    fn take(&mut self, sample: Sample<'_>) {
        match sample.change {
            SeriesChange::Add(by) => self.add_to(sample.series, by),
            SeriesChange::Observe(value) => self.observe_in(sample.series, value),
            SeriesChange::Set(to) => self.set_to(sample.series, to),
        }
    }

    fn clear_gauge(&mut self, id: MetricId) {
        if let Some(family) = self.family(id).filter(|family| family.metric.kind == MetricKind::Gauge) {
            family.clear();
        }
    }
}

impl MetricFamily {
    fn new(metric: &'static MetricRow) -> MetricFamily {
        let seen = metric.labels().map(|_| HashSet::default()).collect();
        MetricFamily { metric, series: Vec::new(), index: HashMap::default(), seen, overflow: 0 }
    }

    fn series(&mut self, name: &SeriesName<'_>, caps: SeriesCaps) -> usize {
        let mut folded = false;
        let mut key: Vec<Box<str>> = Vec::with_capacity(self.seen.len());
        for ((value, label), seen) in name.values(self.metric).zip(self.metric.labels()).zip(&mut self.seen) {
            let kept = if label.open() { admit(seen, shorten(value), caps.values) } else { value };
            folded |= kept == OTHER && value != OTHER;
            key.push(kept.into());
        }
        let at = match self.index.get(key.as_slice()) {
            Some(at) => Some(*at),
            None if self.series.len() >= caps.series => {
                folded = true;
                self.fold(&mut key);
                self.index.get(key.as_slice()).copied()
            }
            None => None,
        };
        self.overflow += u64::from(folded);
        at.unwrap_or_else(|| self.insert(key.into()))
    }

    /// All open labels to `_OTHER`: what is left can only be as many series as our own words combine to.
    fn fold(&self, key: &mut [Box<str>]) {
        for (value, label) in key.iter_mut().zip(self.metric.labels()) {
            if label.open() {
                *value = OTHER.into();
            }
        }
    }

    fn insert(&mut self, key: LabelValues) -> usize {
        let value = match self.metric.kind {
            MetricKind::Histogram(bounds) => {
                SeriesValue::Buckets { counts: vec![0; bounds.len() + 1].into(), sum: 0.0 }
            }
            MetricKind::Counter | MetricKind::Gauge => SeriesValue::Number(0.0),
        };
        self.index.insert(key.clone(), self.series.len());
        self.series.push((key, value));
        self.series.len() - 1
    }

    fn clear(&mut self) {
        self.series.clear();
        self.index.clear();
        self.seen.iter_mut().for_each(HashSet::clear);
    }
}

/// The value itself while there is room for it, `_OTHER` after. The empty value (unknown) is always admitted.
fn admit<'a>(seen: &mut HashSet<Box<str>, foldhash::fast::RandomState>, value: &'a str, cap: usize) -> &'a str {
    if value.is_empty() || seen.contains(value) {
        return value;
    }
    if seen.len() >= cap {
        return OTHER;
    }
    seen.insert(value.into());
    value
}

fn shorten(value: &str) -> &str {
    value.get(..value.floor_char_boundary(VALUE_BYTES)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::catalogue::calls::{CHUNK_CHARS, STREAMS};
    use crate::export::catalogue::observer::PROBE_STATE;
    use ledger::CallLabels;

    fn labels(model: &str) -> CallLabels {
        let host = "api.openai.com".into();
        CallLabels { provider: "openai".into(), model: model.into(), server: host, ..CallLabels::default() }
    }

    fn family(snapshot: &MetricsSnapshot, id: MetricId) -> &Vec<(LabelValues, SeriesValue)> {
        &snapshot.families[catalogue::place(id)]
    }

    #[test]
    fn a_series_is_made_once() {
        let mut store = SeriesStore::new(SeriesCaps::default());
        let first = store.series(STREAMS.of(&labels("gpt"), &["complete"]));
        assert_eq!(store.series(STREAMS.of(&labels("gpt"), &["complete"])), first);
        store.add(first, 2.0);
        store.add_to(STREAMS.of(&labels("gpt"), &["complete"]), 1.0);
        let snapshot = store.snapshot();
        let series = family(&snapshot, STREAMS.id());
        assert_eq!(series.len(), 1);
        assert_eq!(series[0].1, SeriesValue::Number(3.0));
    }

    #[test]
    fn buckets_include_their_upper_bound() {
        let mut store = SeriesStore::new(SeriesCaps::default());
        let labels = labels("m");
        for sample in [1.0, 1.0001, 4096.0, 5000.0] {
            store.observe_in(CHUNK_CHARS.of(&labels, &[]), sample);
        }
        let snapshot = store.snapshot();
        let SeriesValue::Buckets { counts, sum } = &family(&snapshot, CHUNK_CHARS.id())[0].1 else { panic!() };
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (1, 1, 1, 1));
        assert!((sum - 9098.0001).abs() < 1e-9);
    }

    /// A million distinct models from a hostile client: neither memory nor series grow, and each is counted.
    #[test]
    fn a_million_models_are_one_other() {
        let mut store = SeriesStore::new(SeriesCaps { values: 50, series: 2000 });
        for n in 0..1_000_000 {
            store.add_to(STREAMS.of(&labels(&format!("model-{n}")), &["complete"]), 1.0);
        }
        let snapshot = store.snapshot();
        let series = family(&snapshot, STREAMS.id());
        assert_eq!(series.len(), 51);
        let other = series.iter().find(|(labels, _)| &*labels[1] == OTHER).unwrap();
        assert_eq!(other.1, SeriesValue::Number(999_950.0));
        let overflow = family(&snapshot, SERIES_OVERFLOW.id());
        let row = overflow.iter().find(|(labels, _)| &*labels[0] == "llm_streams_total").unwrap();
        assert_eq!(row.1, SeriesValue::Number(999_950.0));
        assert!(store.families[catalogue::place(STREAMS.id())].seen[1].len() == 50);
    }

    /// Two labels, each under its own cap, must not multiply beyond the cap of series.
    #[test]
    fn combinations_are_capped_too() {
        let mut store = SeriesStore::new(SeriesCaps { values: 100, series: 200 });
        for n in 0..10_000 {
            let (model, host) = (format!("m{}", n % 100), format!("h{}", n / 100));
            let labels = CallLabels { server: host.into(), ..labels(&model) };
            store.add_to(STREAMS.of(&labels, &["complete"]), 1.0);
        }
        let snapshot = store.snapshot();
        assert_eq!(family(&snapshot, STREAMS.id()).len(), 201);
        let total: f64 = family(&snapshot, STREAMS.id())
            .iter()
            .map(|(_, v)| if let SeriesValue::Number(n) = v { *n } else { 0.0 })
            .sum();
        assert_eq!(total, 10_000.0, "folded, not dropped");
    }

    #[test]
    fn cleared_gauges_disappear_and_free_their_values() {
        let mut store = SeriesStore::new(SeriesCaps { values: 1, series: 10 });
        store.set_to(PROBE_STATE.with(&["ssl_read", "/a", "ok"]), 1.0);
        store.clear(PROBE_STATE.id());
        store.set_to(PROBE_STATE.with(&["ssl_read", "/b", "ok"]), 1.0);
        let snapshot = store.snapshot();
        let series = family(&snapshot, PROBE_STATE.id());
        assert_eq!(series.len(), 1);
        assert_eq!(&*series[0].0[1], "/b");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut store = SeriesStore::new(SeriesCaps::default());
        store.add_to(STREAMS.of(&labels(&"é".repeat(1000)), &["complete"]), 1.0);
        let snapshot = store.snapshot();
        assert_eq!(family(&snapshot, STREAMS.id())[0].0[1].len(), VALUE_BYTES);
    }
}

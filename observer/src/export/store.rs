//! The numbers behind `/metrics`: series by label values, capped, owned by the pipeline's thread.
//!
//! A stranger chooses model names, so nothing a stranger sends may grow memory: for each metric, an open label takes
//! at most `Caps::values` distinct values and the metric at most `Caps::series` series; what comes beyond is folded
//! into the value `_OTHER` and counted. A scrape gets a `Snapshot`, so that encoding never blocks the pipeline.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::export::catalogue::{CATALOGUE, Id, Kind, Metric, metric};

/// The value that stands for all values beyond a cap.
pub const OTHER: &str = "_OTHER";

/// Longest label value kept: names are capped at 256 bytes by the pipeline, paths may be longer.
const VALUE_BYTES: usize = 256;

/// How much a metric may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Distinct values of one open label of one metric.
    pub values: usize,
    /// Series of one metric.
    pub series: usize,
}

impl Default for Caps {
    fn default() -> Self {
        // A host talks to tens of models; 2,000 series of a 20-bucket histogram are 46,000 lines.
        Caps { values: 100, series: 2000 }
    }
}

/// Label values of one series, in the order of `Metric::labels`.
pub type Labels = Arc<[Box<str>]>;

/// One series' number(s).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Counter or gauge.
    Number(f64),
    /// Count per bucket (not cumulative; the last one is +Inf) and the sum.
    Buckets { counts: Box<[u64]>, sum: f64 },
}

/// Where a series lies; valid for the life of the store, for metrics that are added to and not replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series(usize);

/// What a scrape gets.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Series of each metric, in the order of the catalogue.
    pub families: Vec<Vec<(Labels, Value)>>,
}

/// All series.
#[derive(Debug)]
pub struct Store {
    families: Vec<Family>,
    caps: Caps,
}

#[derive(Debug)]
struct Family {
    metric: &'static Metric,
    series: Vec<(Labels, Value)>,
    index: HashMap<Labels, usize, foldhash::fast::RandomState>,
    /// Values seen, for each label that is open.
    seen: Vec<HashSet<Box<str>, foldhash::fast::RandomState>>,
    overflow: u64,
}

impl Store {
    /// An empty store. Metrics without labels start at 0 only once they are set.
    #[must_use]
    pub fn new(caps: Caps) -> Store {
        Store { families: CATALOGUE.iter().map(Family::new).collect(), caps }
    }

    /// The series of these label values (in the order of `Metric::labels`), made at 0 if it is new.
    pub fn series(&mut self, id: Id, labels: &[&str]) -> Series {
        let caps = self.caps;
        Series(self.families.get_mut(id as usize).map_or(0, |family| family.series(labels, caps)))
    }

    /// Adds to a counter or gauge.
    pub fn add(&mut self, id: Id, series: Series, by: f64) {
        if let Some(Value::Number(number)) = self.value(id, series) {
            *number += by;
        }
    }

    /// Sets a counter or gauge.
    pub fn set(&mut self, id: Id, series: Series, to: f64) {
        if let Some(Value::Number(number)) = self.value(id, series) {
            *number = to;
        }
    }

    /// Adds one sample to a histogram.
    pub fn observe(&mut self, id: Id, series: Series, sample: f64) {
        let Kind::Histogram(bounds) = metric(id).kind else { return };
        if let Some(Value::Buckets { counts, sum }) = self.value(id, series) {
            let bucket = bounds.partition_point(|bound| *bound < sample);
            if let Some(count) = counts.get_mut(bucket) {
                *count += 1;
                *sum += sample;
            }
        }
    }

    /// `add` to the series of these labels.
    pub fn add_to(&mut self, id: Id, labels: &[&str], by: f64) {
        let series = self.series(id, labels);
        self.add(id, series, by);
    }

    /// `set` of the series of these labels.
    pub fn set_to(&mut self, id: Id, labels: &[&str], to: f64) {
        let series = self.series(id, labels);
        self.set(id, series, to);
    }

    /// Raises the gauge of these labels to `to`, if it is lower.
    pub fn raise_to(&mut self, id: Id, labels: &[&str], to: f64) {
        let series = self.series(id, labels);
        if let Some(Value::Number(number)) = self.value(id, series) {
            *number = number.max(to);
        }
    }

    /// `observe` in the series of these labels.
    pub fn observe_in(&mut self, id: Id, labels: &[&str], sample: f64) {
        let series = self.series(id, labels);
        self.observe(id, series, sample);
    }

    /// Forgets every series of a metric that is filled anew at each scrape, so that what is gone disappears.
    pub fn clear(&mut self, id: Id) {
        if let Some(family) = self.families.get_mut(id as usize) {
            family.clear();
        }
    }

    /// A copy of everything, for the encoder.
    #[must_use]
    pub fn snapshot(&mut self) -> Snapshot {
        self.publish_overflow();
        Snapshot { families: self.families.iter().map(|family| family.series.clone()).collect() }
    }

    fn publish_overflow(&mut self) {
        let counts: Vec<_> =
            self.families.iter().filter(|f| f.metric.capped()).map(|f| (f.metric.name, f.overflow)).collect();
        for (name, overflow) in counts {
            self.set_to(Id::SeriesOverflow, &[name], overflow as f64);
        }
    }

    fn value(&mut self, id: Id, series: Series) -> Option<&mut Value> {
        self.families.get_mut(id as usize)?.series.get_mut(series.0).map(|(_, value)| value)
    }
}

impl Family {
    fn new(metric: &'static Metric) -> Family {
        let seen = metric.labels().map(|_| HashSet::default()).collect();
        Family { metric, series: Vec::new(), index: HashMap::default(), seen, overflow: 0 }
    }

    fn series(&mut self, labels: &[&str], caps: Caps) -> usize {
        debug_assert_eq!(labels.len(), self.seen.len(), "{}", self.metric.name);
        let mut folded = false;
        let mut key: Vec<Box<str>> = Vec::with_capacity(labels.len());
        for ((value, label), seen) in labels.iter().zip(self.metric.labels()).zip(&mut self.seen) {
            let kept = if label.open { admit(seen, shorten(value), caps.values) } else { value };
            folded |= kept == OTHER && *value != OTHER;
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
            if label.open {
                *value = OTHER.into();
            }
        }
    }

    fn insert(&mut self, key: Labels) -> usize {
        let value = match self.metric.kind {
            Kind::Histogram(bounds) => Value::Buckets { counts: vec![0; bounds.len() + 1].into(), sum: 0.0 },
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
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

    const LABELS: usize = 7;

    fn labels(model: &str) -> [&str; LABELS] {
        ["openai", model, "api.openai.com", "shop", "", "", "complete"]
    }

    fn family(snapshot: &Snapshot, id: Id) -> &Vec<(Labels, Value)> {
        &snapshot.families[id as usize]
    }

    #[test]
    fn a_series_is_made_once() {
        let mut store = Store::new(Caps::default());
        let first = store.series(Id::Streams, &labels("gpt"));
        assert_eq!(store.series(Id::Streams, &labels("gpt")), first);
        store.add(Id::Streams, first, 2.0);
        store.add_to(Id::Streams, &labels("gpt"), 1.0);
        let snapshot = store.snapshot();
        let series = family(&snapshot, Id::Streams);
        assert_eq!(series.len(), 1);
        assert_eq!(series[0].1, Value::Number(3.0));
    }

    #[test]
    fn buckets_include_their_upper_bound() {
        let mut store = Store::new(Caps::default());
        let labels = ["openai", "m", "h", "s", "", ""];
        for sample in [1.0, 1.0001, 4096.0, 5000.0] {
            store.observe_in(Id::ChunkChars, &labels, sample);
        }
        let snapshot = store.snapshot();
        let Value::Buckets { counts, sum } = &family(&snapshot, Id::ChunkChars)[0].1 else { panic!() };
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (1, 1, 1, 1));
        assert!((sum - 9098.0001).abs() < 1e-9);
    }

    /// A million distinct models from a hostile client: neither memory nor series grow, and each is counted.
    #[test]
    fn a_million_models_are_one_other() {
        let mut store = Store::new(Caps { values: 50, series: 2000 });
        for n in 0..1_000_000 {
            store.add_to(Id::Streams, &labels(&format!("model-{n}")), 1.0);
        }
        let snapshot = store.snapshot();
        let series = family(&snapshot, Id::Streams);
        assert_eq!(series.len(), 51);
        let other = series.iter().find(|(labels, _)| &*labels[1] == OTHER).unwrap();
        assert_eq!(other.1, Value::Number(999_950.0));
        let overflow = family(&snapshot, Id::SeriesOverflow);
        let row = overflow.iter().find(|(labels, _)| &*labels[0] == "llm_streams_total").unwrap();
        assert_eq!(row.1, Value::Number(999_950.0));
        assert!(store.families[Id::Streams as usize].seen[1].len() == 50);
    }

    /// Two labels, each under its own cap, must not multiply beyond the cap of series.
    #[test]
    fn combinations_are_capped_too() {
        let mut store = Store::new(Caps { values: 100, series: 200 });
        for n in 0..10_000 {
            let (model, host) = (format!("m{}", n % 100), format!("h{}", n / 100));
            store.add_to(Id::Streams, &["openai", &model, &host, "s", "", "", "complete"], 1.0);
        }
        let snapshot = store.snapshot();
        assert_eq!(family(&snapshot, Id::Streams).len(), 201);
        let total: f64 =
            family(&snapshot, Id::Streams).iter().map(|(_, v)| if let Value::Number(n) = v { *n } else { 0.0 }).sum();
        assert_eq!(total, 10_000.0, "folded, not dropped");
    }

    #[test]
    fn cleared_gauges_disappear_and_free_their_values() {
        let mut store = Store::new(Caps { values: 1, series: 10 });
        store.set_to(Id::ProbeState, &["ssl_read", "/a", "ok"], 1.0);
        store.clear(Id::ProbeState);
        store.set_to(Id::ProbeState, &["ssl_read", "/b", "ok"], 1.0);
        let snapshot = store.snapshot();
        let series = family(&snapshot, Id::ProbeState);
        assert_eq!(series.len(), 1);
        assert_eq!(&*series[0].0[1], "/b");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut store = Store::new(Caps::default());
        store.add_to(Id::Streams, &labels(&"é".repeat(1000)), 1.0);
        let snapshot = store.snapshot();
        assert_eq!(family(&snapshot, Id::Streams)[0].0[1].len(), VALUE_BYTES);
    }
}

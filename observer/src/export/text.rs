//! A snapshot as the `prometheus` crate sees it, read when a scrape comes.

use std::sync::OnceLock;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder, proto};

use crate::export::catalogue::{CATALOGUE, Kind, Metric};
use crate::export::store::{Labels, Snapshot, Value};

/// `Content-Type` of `encode`'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where a scrape gets its numbers from; called on a thread that may wait.
pub trait Source: Send + Sync {
    /// The numbers now; `None` when the pipeline does not answer.
    fn snapshot(&self) -> Option<Snapshot>;
}

/// The one collector: all metrics of the catalogue.
struct Catalogue<S>(S);

/// A registry that asks `source` at each `encode`.
pub fn registry(source: impl Source + 'static) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    registry.register(Box::new(Catalogue(source)))?;
    Ok(registry)
}

/// Exposition text 0.0.4; empty when the source does not answer.
pub fn encode(registry: &Registry) -> prometheus::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(64 * 1024);
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}

/// Exposition text of one snapshot, as `replay -o metrics` prints it.
pub fn encode_once(snapshot: Snapshot) -> prometheus::Result<Vec<u8>> {
    struct Once(Snapshot);
    impl Source for Once {
        fn snapshot(&self) -> Option<Snapshot> {
            Some(self.0.clone())
        }
    }
    encode(&registry(Once(snapshot))?)
}

impl<S: Source> Collector for Catalogue<S> {
    fn desc(&self) -> Vec<&Desc> {
        descriptions().iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(snapshot) = self.0.snapshot() else { return Vec::new() };
        CATALOGUE
            .iter()
            .zip(snapshot.families)
            .filter(|(_, series)| !series.is_empty())
            .map(|(m, s)| family(m, &s))
            .collect()
    }
}

fn descriptions() -> &'static [Desc] {
    static DESCRIPTIONS: OnceLock<Vec<Desc>> = OnceLock::new();
    DESCRIPTIONS.get_or_init(|| CATALOGUE.iter().filter_map(description).collect())
}

/// `None` cannot happen for a well-formed table (tested); a bad row would only miss its early check.
fn description(metric: &Metric) -> Option<Desc> {
    let labels = metric.labels().map(|label| label.name.to_owned()).collect();
    Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, std::collections::HashMap::new()).ok()
}

fn family(metric: &Metric, series: &[(Labels, Value)]) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram(_) => MetricType::HISTOGRAM,
    });
    family.set_metric(series.iter().map(|(labels, value)| sample(metric, labels, value)).collect());
    family
}

fn sample(metric: &Metric, labels: &Labels, value: &Value) -> proto::Metric {
    let pairs = metric.labels().zip(labels.iter()).map(|(label, value)| pair(label.name, value)).collect();
    let mut sample = proto::Metric::from_label(pairs);
    match (value, metric.kind) {
        (Value::Buckets { counts, sum }, Kind::Histogram(bounds)) => {
            sample.set_histogram(histogram(bounds, counts, *sum));
        }
        (Value::Number(number), Kind::Gauge) => {
            let mut gauge = Gauge::default();
            gauge.set_value(*number);
            sample.set_gauge(gauge);
        }
        (Value::Number(number), _) => {
            let mut counter = Counter::default();
            counter.set_value(*number);
            sample.set_counter(counter);
        }
        (Value::Buckets { .. }, _) => {}
    }
    sample
}

fn histogram(bounds: &[f64], counts: &[u64], sum: f64) -> Histogram {
    let mut total = 0;
    let mut buckets = Vec::with_capacity(bounds.len());
    for (bound, count) in bounds.iter().zip(counts) {
        total += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(total);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    histogram
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::catalogue::Id;
    use crate::export::store::{Caps, Store};

    fn text(store: &mut Store) -> String {
        String::from_utf8(encode_once(store.snapshot()).unwrap()).unwrap()
    }

    #[test]
    fn every_row_has_a_description() {
        assert_eq!(descriptions().len(), CATALOGUE.len());
    }

    #[test]
    fn histograms_are_cumulative_and_end_in_infinity() {
        let mut store = Store::new(Caps::default());
        for sample in [0.5, 3.0, 1e9] {
            store.observe_in(Id::EventsPerRead, &["openai", "m", "h", "s", "", ""], sample);
        }
        let text = text(&mut store);
        for line in ["le=\"1\"} 1", "le=\"2\"} 1", "le=\"3\"} 2", "le=\"128\"} 2", "le=\"+Inf\"} 3"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.contains("llm_events_per_read_count{gen_ai_provider_name=\"openai\""));
    }

    #[test]
    fn hostile_label_values_stay_values() {
        let mut store = Store::new(Caps::default());
        store.add_to(Id::Streams, &["openai", "m\"} 9\nx{a=\"\\", "h", "s", "", "", "reset"], 1.0);
        let text = text(&mut store);
        assert!(text.contains(r#"gen_ai_request_model="m\"} 9\nx{a=\"\\""#), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("llm_streams_total")).count(), 1);
    }

    #[test]
    fn what_was_never_fed_is_not_there() {
        let text = text(&mut Store::new(Caps::default()));
        assert!(!text.contains("# TYPE llm_stream_duration_seconds"), "{text}");
    }
}

use super::*;
use crate::export::catalogue::calls::{EVENTS_PER_READ, STREAMS};
use crate::export::store::{SeriesCaps, SeriesStore};
use ledger::CallLabels;
use prometheus::core::Desc;
use prometheus::proto::{self, Bucket, Counter, Gauge, Histogram, LabelPair, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

fn text(store: &mut SeriesStore) -> String {
    encode(&store.snapshot())
}

fn labels(model: &str) -> CallLabels {
    CallLabels { provider: "openai".into(), model: model.into(), ..CallLabels::default() }
}

#[test]
fn histograms_are_cumulative_and_end_in_infinity() {
    let mut store = SeriesStore::new(SeriesCaps::default());
    for sample in [0.5, 3.0, 1e9] {
        store.observe_in(EVENTS_PER_READ.of(&labels("m"), &[]), sample);
    }
    let text = text(&mut store);
    for line in ["le=\"1\"} 1", "le=\"2\"} 1", "le=\"3\"} 2", "le=\"128\"} 2", "le=\"+Inf\"} 3"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(text.contains("llm_events_per_read_count{gen_ai_provider_name=\"openai\""));
}

#[test]
fn hostile_label_values_stay_values() {
    let mut store = SeriesStore::new(SeriesCaps::default());
    store.add_to(STREAMS.of(&labels("m\"} 9\nx{a=\"\\"), &["reset"]), 1.0);
    let text = text(&mut store);
    assert!(text.contains(r#"gen_ai_request_model="m\"} 9\nx{a=\"\\""#), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("llm_streams_total")).count(), 1);
}

/// Whatever a stranger names his model: no byte of it reaches a terminal as a command, and two names stay two series.
#[test]
fn hidden_characters_are_shown_and_series_stay_apart() {
    let names = ["m\u{1b}[31m", "m\\u{1b}[31m", "m\\u{5c}u{1b}[31m", "m\u{9b}31m", "m\u{202e}x", "m", "C:\\x"];
    let mut store = SeriesStore::new(SeriesCaps::default());
    for name in names {
        store.add_to(STREAMS.of(&labels(name), &["reset"]), 1.0);
    }
    let text = text(&mut store);
    assert!(!text.chars().any(|c| c != '\n' && hidden::is_hidden(c)), "{text:?}");
    let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with("llm_streams_total{")).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), names.len());
    // The format's own escape of the backslash comes on top.
    for shown in [r#""m\\u{1b}[31m""#, r#""m\\u{5c}u{1b}[31m""#, r#""m\\u{9b}31m""#, r#""C:\\x""#] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
}

#[test]
fn what_was_never_fed_is_not_there() {
    let text = text(&mut SeriesStore::new(SeriesCaps::default()));
    assert!(!text.contains("# TYPE llm_stream_duration_seconds"), "{text}");
}

/// The same text from the `prometheus` crate, which also says whether names and labels may be called so.
fn oracle(snapshot: &MetricsSnapshot) -> String {
    struct Catalogue(Vec<Desc>, Vec<MetricFamily>);
    impl prometheus::core::Collector for Catalogue {
        fn desc(&self) -> Vec<&Desc> {
            self.0.iter().collect()
        }
        fn collect(&self) -> Vec<MetricFamily> {
            self.1.clone()
        }
    }
    let description = |metric: &MetricRow| {
        let labels = metric.labels().map(|label| label.name().to_owned()).collect();
        Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, std::collections::HashMap::new()).unwrap()
    };
    let families = catalogue::rows().zip(&snapshot.families).map(|(metric, rows)| proto_family(metric, rows));
    let registry = Registry::new();
    registry.register(Box::new(Catalogue(catalogue::rows().map(description).collect(), families.collect()))).unwrap();
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

fn proto_family(metric: &MetricRow, rows: &[(LabelValues, SeriesValue)]) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        MetricKind::Counter => MetricType::COUNTER,
        MetricKind::Gauge => MetricType::GAUGE,
        MetricKind::Histogram(_) => MetricType::HISTOGRAM,
    });
    family.set_metric(rows.iter().map(|(labels, value)| proto_sample(metric, labels, value)).collect());
    family
}

fn proto_sample(metric: &MetricRow, labels: &LabelValues, value: &SeriesValue) -> proto::Metric {
    let pair = |name: &str, value: &str| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(hidden::label(value).into_owned());
        pair
    };
    let pairs = metric.labels().zip(labels.iter()).map(|(label, value)| pair(label.name(), value)).collect();
    let mut sample = proto::Metric::from_label(pairs);
    match (value, metric.kind) {
        (SeriesValue::Buckets { counts, sum }, MetricKind::Histogram(bounds)) => {
            sample.set_histogram(proto_histogram(bounds, counts, *sum));
        }
        (SeriesValue::Number(number), MetricKind::Gauge) => {
            let mut gauge = Gauge::default();
            gauge.set_value(*number);
            sample.set_gauge(gauge);
        }
        (SeriesValue::Number(number), MetricKind::Counter) => {
            let mut counter = Counter::default();
            counter.set_value(*number);
            sample.set_counter(counter);
        }
        _ => panic!("{}", metric.name),
    }
    sample
}

fn proto_histogram(bounds: &[f64], counts: &[u64], sum: f64) -> Histogram {
    let mut total = 0;
    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
        total += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(total);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    histogram
}

/// Every metric, with values and labels that are hard to write: byte for byte what the `prometheus`
/// crate makes of them.
#[test]
fn the_text_is_that_of_the_prometheus_crate() {
    let words = ["", "a\"b", "z\\", "m\u{1b}[31m", "\n", "é", "a", "\\u{", "_OTHER", "B"];
    let numbers =
        [0.0, -0.0, 1.0, 0.1, 1.0 / 3.0, 1e21, 1e-9, 5e-324, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let mut snapshot = SeriesStore::new(SeriesCaps::default()).snapshot();
    for (index, (metric, rows)) in catalogue::rows().zip(&mut snapshot.families).enumerate() {
        rows.clear();
        for n in 0..if metric.labels().next().is_some() { words.len() } else { 1 } {
            let word = |label: usize| Box::from(words[(n + label * (index + 1) * n) % words.len()]);
            let labels: LabelValues = metric.labels().enumerate().map(|(label, _)| word(label)).collect();
            let number = numbers[(index + n) % numbers.len()];
            let value = match metric.kind {
                MetricKind::Counter | MetricKind::Gauge => SeriesValue::Number(number),
                MetricKind::Histogram(bounds) => {
                    let count = |at: usize| if at == n { EXACT + 1 } else { (at * n) as u64 };
                    SeriesValue::Buckets { counts: (0..=bounds.len()).map(count).collect(), sum: number }
                }
            };
            rows.push((labels, value));
        }
        if index % 7 == 3 {
            rows.clear();
        }
    }
    let (ours, theirs) = (encode(&snapshot), oracle(&snapshot));
    assert!(ours.lines().count() > 1000);
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn metrics_and_labels_are_called_what_prometheus_allows() {
    assert_eq!(
        oracle(&SeriesStore::new(SeriesCaps::default()).snapshot()),
        encode(&SeriesStore::new(SeriesCaps::default()).snapshot())
    );
}

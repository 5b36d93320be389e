//! A snapshot as exposition text 0.0.4, written straight from the series: a scrape copies them
//! once, on the pipeline's thread. Order and escapes are those of the `prometheus` crate, against
//! which a test holds each metric of the catalogue.

use std::cmp::Ordering;
use std::fmt::Write;

use crate::export::catalogue;
use crate::export::hidden;
use crate::export::store::{LabelValues, MetricsSnapshot, SeriesValue};
use ledger::metric::{MetricKind, MetricRow};

/// `Content-Type` of `encode`'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Integers up to here are written alike as integers and as floating point numbers.
const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;

/// Where a scrape gets its numbers from; called on a thread that may wait.
pub trait SnapshotSource: Send + Sync {
    /// The numbers now; `None` when the pipeline does not answer.
    fn snapshot(&self) -> Option<MetricsSnapshot>;
}

/// Exposition text of one snapshot: metrics by name, series by the values of their labels.
#[must_use]
pub fn encode(snapshot: &MetricsSnapshot) -> String {
    let mut families: Vec<_> = catalogue::rows().zip(&snapshot.families).filter(|(_, rows)| !rows.is_empty()).collect();
    families.sort_unstable_by_key(|(metric, _)| metric.name);
    let mut text = String::with_capacity(64 * 1024);
    for (metric, rows) in families {
        // Writing to a String cannot fail.
        let _ = family(&mut text, metric, rows);
    }
    text
}

fn family(text: &mut String, metric: &MetricRow, rows: &[(LabelValues, SeriesValue)]) -> std::fmt::Result {
    let (name, bounds) = (metric.name, bounds(metric));
    write!(text, "# HELP {name} ")?;
    escape(text, metric.help, &['\\', '\n']);
    writeln!(text, "\n# TYPE {name} {}", metric.kind.name())?;
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by(|(a, _), (b, _)| order(a, b));
    let mut labels = String::new();
    for (values, value) in rows {
        labels.clear();
        pairs(&mut labels, metric, values);
        match value {
            SeriesValue::Number(number) => {
                text.push_str(name);
                braces(text, &labels);
                writeln!(text, " {number}")?;
            }
            SeriesValue::Buckets { counts, sum } => histogram(text, name, &labels, (&bounds, counts, *sum))?,
        }
    }
    Ok(())
}

/// The lines of one histogram: its buckets are cumulative, and the last one is all there is.
fn histogram(
    text: &mut String,
    name: &str,
    labels: &str,
    (bounds, counts, sum): (&[String], &[u64], f64),
) -> std::fmt::Result {
    let separator = if labels.is_empty() { "" } else { "," };
    let bucket = |text: &mut String, bound: &str, total| {
        for part in [name, "_bucket{", labels, separator, "le=\"", bound, "\"}"] {
            text.push_str(part);
        }
        count(text, total)
    };
    let mut total = 0;
    for (bound, more) in bounds.iter().zip(counts) {
        total += more;
        bucket(text, bound, total)?;
    }
    let all = counts.iter().sum();
    bucket(text, "+Inf", all)?;
    text.push_str(name);
    text.push_str("_sum");
    braces(text, labels);
    writeln!(text, " {sum}")?;
    text.push_str(name);
    text.push_str("_count");
    braces(text, labels);
    count(text, all)
}

/// The upper bounds of a metric's buckets, as they are written.
fn bounds(metric: &MetricRow) -> Vec<String> {
    if let MetricKind::Histogram(bounds) = metric.kind {
        bounds.iter().map(f64::to_string).collect()
    } else {
        Vec::new()
    }
}

/// The end of a line that says how many.
fn count(text: &mut String, count: u64) -> std::fmt::Result {
    if count < EXACT { writeln!(text, " {count}") } else { writeln!(text, " {}", count as f64) }
}

/// `a="x",b="y"`, the same in all lines of a series.
fn pairs(labels: &mut String, metric: &MetricRow, values: &LabelValues) {
    for (label, value) in metric.labels().zip(values.iter()) {
        if !labels.is_empty() {
            labels.push(',');
        }
        labels.push_str(label.name());
        labels.push_str("=\"");
        escape(labels, &hidden::label(value), &['\\', '\n', '"']);
        labels.push('"');
    }
}

fn braces(text: &mut String, labels: &str) {
    if !labels.is_empty() {
        for part in ["{", labels, "}"] {
            text.push_str(part);
        }
    }
}

fn escape(text: &mut String, value: &str, escaped: &[char]) {
    for piece in value.split_inclusive(escaped) {
        let last = piece.chars().next_back().filter(|last| escaped.contains(last));
        text.push_str(piece.strip_suffix(escaped).unwrap_or(piece));
        if let Some(last) = last {
            text.extend(last.escape_default());
        }
    }
}

/// The order of two series: by the first label in which they differ, as it is shown.
fn order(a: &LabelValues, b: &LabelValues) -> Ordering {
    let differ = a.iter().zip(b.iter()).find(|(a, b)| a != b);
    differ.map_or(Ordering::Equal, |(a, b)| hidden::label(a).cmp(&hidden::label(b)))
}

#[cfg(test)]
mod tests;

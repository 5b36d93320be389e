//! Every metric there is: the exporter, the store and `docs/metrics.md` come from these tables.
//!
//! Only what is fed is listed: a metric that nothing measures yet must not appear as 0. `gen_ai_*` names and bucket
//! bounds are those of the OpenTelemetry GenAI conventions (`open-telemetry/semantic-conventions-genai` at 066d4a7f);
//! bounds are only ever added to, so that queries written for the conventions stay right.

pub mod calls;
pub mod observer;

use ledger::metric::{MetricId, MetricRow};

/// The tables, in the order of the pages. A `MetricId` says which of them is its own.
const TABLES: [&[MetricRow]; 3] = [calls::TABLE, detectors::metrics::TABLE, observer::TABLE];

/// Every metric, in the order of the tables.
pub fn rows() -> impl Iterator<Item = &'static MetricRow> {
    TABLES.into_iter().flatten()
}

/// The place of a metric among `rows`.
#[must_use]
pub fn place(id: MetricId) -> usize {
    let before: usize = TABLES.iter().take(usize::from(id.table)).map(|table| table.len()).sum();
    before + usize::from(id.row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::metric::MetricKind::{Counter, Histogram};
    use ledger::metric::{DURATION, GAP};

    #[test]
    fn the_tables_are_in_the_order_of_their_ids() {
        for (index, row) in rows().enumerate() {
            assert_eq!(place(row.id), index, "{}", row.name);
        }
    }

    #[test]
    fn names_labels_and_bounds_are_well_formed() {
        let mut names = std::collections::HashSet::new();
        for row in rows() {
            assert!(names.insert(row.name), "{} twice", row.name);
            assert_eq!(row.name.ends_with("_total"), row.kind == Counter, "{}", row.name);
            let labels: Vec<_> = row.labels().map(|l| l.name()).collect();
            for name in &labels {
                assert!(!["type", "job", "instance", "pod", "namespace", "le"].contains(name), "{}", row.name);
                assert_eq!(labels.iter().filter(|n| n == &name).count(), 1, "{}", row.name);
            }
            if let Histogram(bounds) = row.kind {
                assert!(bounds.windows(2).all(|w| w[0] < w[1]), "{}", row.name);
            }
        }
    }

    /// The interface promises these two ranges.
    #[test]
    fn long_streams_and_short_gaps_have_buckets() {
        assert!(DURATION.last().unwrap() >= &900.0);
        assert!(GAP[0] <= 0.001 && GAP.last().unwrap() >= &60.0);
        for bound in [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92] {
            assert!(calls::OTEL_SECONDS.contains(&bound), "{bound} is the conventions'");
        }
    }
}

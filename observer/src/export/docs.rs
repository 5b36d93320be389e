//! `observer/docs/metrics.md`, written from the catalogue; a test holds the file to it.

use std::fmt::Write;

use crate::export::catalogue;
use ledger::metric::{MetricKind, MetricRow};

const HEAD: &str = "# Metrics

Written from `observer/src/export/catalogue.rs`; after a change there run `UPDATE_DOCS=1 cargo test
-p observer --test it metrics::docs`.

- A **stream** is one call to a model (one HTTP exchange), whether its answer is streamed or not.
  Milestones, chunks, durations and delivery are measured of streamed answers only;
  `gen_ai_client_operation_duration_seconds` and token counts of all.
- A **chunk** is one event that carries a non-empty visible delta. Its size is in characters
  (Unicode scalar values), because providers pad events to hide the size of tokens.
- All times are of the *read* timeline: when the application's read returned the bytes, on
  CLOCK_BOOTTIME.
- A stream of which bytes were lost is left out of histograms from then on, and is still counted in
  `llm_streams_total`.
- Live transcription (speech goes up while its words come down; note `live_input`) is counted, and
  is left out of milestones, gaps, stalls and durations: they would tell of the speaker.
- What is not measured is absent, never 0. Known label sets start at 0.
- `service` is the systemd unit, container name or executable, in that order. A name that a user
  could have chosen carries his: `name (uid N)`; an executable in a container that nobody names is
  `name (container)`, one of a process gone at once `name (gone)`. The `k8s_*` labels are empty
  outside Kubernetes.
- Labels marked * hold words of clients, providers or the host. Each takes at most
  `limits.label_values` values (100) a metric, and a metric at most `limits.series` series (2000);
  the rest is folded into the value `_OTHER` and counted in `llm_observer_series_overflow_total`.
  Never a label: ids, pids, users (but in that mark), prompts, URLs, error texts.
- `gen_ai_*` are those of the OpenTelemetry GenAI conventions
  (`open-telemetry/semantic-conventions-genai` at `066d4a7f`), with bucket bounds added and none
  removed.
";

/// The page.
#[must_use]
pub fn metrics() -> String {
    let mut page = HEAD.to_owned();
    for (title, belongs) in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n");
        catalogue::rows().filter(|metric| section(metric) == *belongs).for_each(|metric| row(&mut page, metric));
    }
    page.push_str("\n## Buckets\n\n| metric | upper bounds |\n|---|---|\n");
    for metric in catalogue::rows() {
        if let MetricKind::Histogram(bounds) = metric.kind {
            let bounds: Vec<String> = bounds.iter().map(ToString::to_string).collect();
            let _ = writeln!(page, "| `{}` | {} |", metric.name, bounds.join(" "));
        }
    }
    page
}

const SECTIONS: &[(&str, &str)] = &[
    ("Streams and chunks", "llm_"),
    ("OpenTelemetry GenAI", "gen_ai_"),
    ("The observer itself", "llm_observer_"),
    ("The daemon's process", "process_"),
];

/// The longest prefix of a section that a metric's name has.
fn section(metric: &MetricRow) -> &'static str {
    let fitting = SECTIONS.iter().map(|(_, prefix)| *prefix).filter(|prefix| metric.name.starts_with(prefix));
    fitting.max_by_key(|prefix| prefix.len()).unwrap_or_default()
}

fn row(page: &mut String, metric: &MetricRow) {
    let kind = match metric.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram(_) => "histogram",
    };
    let labels: Vec<String> =
        metric.labels().map(|label| format!("{}{}", label.name(), if label.open() { "\\*" } else { "" })).collect();
    let _ = writeln!(page, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help);
}

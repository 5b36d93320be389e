//! Gauges of what is open now: computed from the table of calls at each scrape, never counted up and down.

use std::collections::HashMap;
use std::sync::Arc;

use crate::export::catalogue::calls::{STREAM_IDLE_MAX, STREAM_OLDEST_AGE, STREAMS_ACTIVE};
use crate::export::shown::{LabelSet, ShownLabelSets};
use crate::export::store::SeriesStore;
use capture::units::Ns;
use ledger::{CallLabels, Entry};

/// Remembers which label sets had streams lately, those too that began and ended between two scrapes.
#[derive(Debug, Default)]
pub struct StreamGauges {
    shown: ShownLabelSets,
}

/// Open streams by label set, pod included.
#[derive(Debug, Default)]
pub struct StreamGroups(HashMap<LabelSet, Open>);

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    streams: u64,
    oldest: f64,
    idle: Option<f64>,
}

impl StreamGauges {
    /// A stream of this label set lived at `at`; its model is known.
    pub fn note(&mut self, entry: &Entry, at: Ns) {
        self.shown.note(key(entry), at);
    }

    /// Fills the three gauges.
    pub fn publish(&mut self, open: &StreamGroups, now: Ns, store: &mut SeriesStore) {
        for metric in [STREAMS_ACTIVE, STREAM_OLDEST_AGE, STREAM_IDLE_MAX] {
            store.clear(metric.id());
        }
        for (labels, pod) in self.shown.at(now, |set| open.0.contains_key(set)) {
            store.series(STREAMS_ACTIVE.of(labels, &[pod]));
        }
        for ((labels, pod), open) in &open.0 {
            publish(store, labels, pod, *open);
        }
    }
}

impl StreamGroups {
    /// Groups open entries by their labels.
    pub fn of<'a>(open: impl Iterator<Item = &'a Entry>, now: Ns) -> StreamGroups {
        let mut groups: HashMap<LabelSet, Open> = HashMap::new();
        for entry in open {
            let group = groups.entry(key(entry)).or_default();
            group.streams += 1;
            group.oldest = group.oldest.max(now.seconds_since(entry.started));
            if entry.events > 0 || entry.wire.records > 0 {
                group.idle = Some(group.idle.unwrap_or(0.0).max(now.seconds_since(entry.last_activity)));
            }
        }
        StreamGroups(groups)
    }
}

/// Sums and maxima, since two groups may have been folded into one series.
fn publish(store: &mut SeriesStore, labels: &CallLabels, pod: &str, open: Open) {
    store.add_to(STREAMS_ACTIVE.of(labels, &[pod]), open.streams as f64);
    store.raise_to(STREAM_OLDEST_AGE.of(labels, &[pod]), open.oldest);
    if let Some(idle) = open.idle {
        store.raise_to(STREAM_IDLE_MAX.of(labels, &[pod]), idle);
    }
}

fn key(entry: &Entry) -> LabelSet {
    (Arc::clone(&entry.labels), entry.identity.k8s.pod.as_deref().unwrap_or_default().into())
}

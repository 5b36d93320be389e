//! Gauges of what is open now: computed from the book at each scrape, never counted up and down.

use std::collections::HashMap;

use crate::export::catalogue::Id;
use crate::export::labels::stream_and;
use crate::export::store::Store;
use crate::ledger::Entry;
use crate::units::Ns;

/// How long a service that has no stream open any more still shows 0: longer than any scrape interval, so that an
/// autoscaler sees the 0 and not an absence.
const ZERO_FOR_NS: u64 = 15 * 60 * 1_000_000_000;

/// Most label sets remembered for showing 0.
const REMEMBERED: usize = 1000;

type Key = [Box<str>; 7];

/// Remembers which label sets had streams lately, those too that began and ended between two scrapes.
#[derive(Debug, Default)]
pub struct Gauges {
    seen: HashMap<Key, Ns>,
}

/// Open streams by label set, pod included.
#[derive(Debug, Default)]
pub struct Groups(HashMap<Key, Open>);

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    streams: u64,
    oldest: f64,
    idle: Option<f64>,
}

impl Gauges {
    /// A stream of this label set lived at `at`; its model is known.
    pub fn note(&mut self, entry: &Entry, at: Ns) {
        let key = key(entry);
        if self.seen.len() < REMEMBERED || self.seen.contains_key(&key) {
            self.seen.insert(key, at);
        }
    }

    /// Fills the three gauges.
    pub fn publish(&mut self, open: &Groups, now: Ns, store: &mut Store) {
        for id in [Id::StreamsActive, Id::StreamOldestAge, Id::StreamIdleMax] {
            store.clear(id);
        }
        self.seen.retain(|key, last| {
            if open.0.contains_key(key) {
                *last = now;
            }
            now - *last < ZERO_FOR_NS
        });
        for key in self.seen.keys() {
            store.series(Id::StreamsActive, &borrow(key));
        }
        for (key, open) in &open.0 {
            publish(store, &borrow(key), *open);
        }
    }
}

impl Groups {
    /// Groups open entries by their labels.
    pub fn of<'a>(open: impl Iterator<Item = &'a Entry>, now: Ns) -> Groups {
        let mut groups: HashMap<Key, Open> = HashMap::new();
        for entry in open {
            let group = groups.entry(key(entry)).or_default();
            group.streams += 1;
            group.oldest = group.oldest.max(now.seconds_since(entry.started));
            if entry.events > 0 || entry.wire.records > 0 {
                group.idle = Some(group.idle.unwrap_or(0.0).max(now.seconds_since(entry.last_activity)));
            }
        }
        Groups(groups)
    }
}

/// Sums and maxima, since two groups may have been folded into one series.
fn publish(store: &mut Store, labels: &[&str], open: Open) {
    store.add_to(Id::StreamsActive, labels, open.streams as f64);
    store.raise_to(Id::StreamOldestAge, labels, open.oldest);
    if let Some(idle) = open.idle {
        store.raise_to(Id::StreamIdleMax, labels, idle);
    }
}

fn key(entry: &Entry) -> Key {
    stream_and(entry, entry.identity.k8s.pod.as_deref().unwrap_or_default()).map(Box::from)
}

fn borrow(key: &Key) -> [&str; 7] {
    key.each_ref().map(AsRef::as_ref)
}

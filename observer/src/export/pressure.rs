//! Connections as metrics: how many are open, how they are used, and how they end.

use std::collections::HashMap;
use std::sync::Arc;

use crate::export::catalogue::calls;
use crate::export::shown::{LabelSet, ShownLabelSets};
use crate::export::store::SeriesStore;
use capture::conn::SocketTable;
use capture::units::Ns;
use ledger::{ConnectionEnd, ConnectionEvent, ModelConnection};

/// Counts what is told of a connection.
pub fn count(link: &ModelConnection, news: ConnectionEvent, store: &mut SeriesStore) {
    let labels = &*link.labels;
    match news {
        ConnectionEvent::Opened => {
            store.add_to(calls::CONNECTION_OPENS.of(labels, &[]), 1.0);
            for how in ConnectionEnd::ALL {
                store.series(calls::CONNECTION_END.of(labels, &[how.name()]));
            }
            store.series(calls::STALE_CONNECTION.of(labels, &[]));
        }
        ConnectionEvent::Reused { idle } => store.observe_in(calls::CONNECTION_REUSE_IDLE.of(labels, &[]), idle),
        ConnectionEvent::Rtt { seconds } => store.observe_in(calls::CONNECTION_RTT.of(labels, &[]), seconds),
        ConnectionEvent::Stale => store.add_to(calls::STALE_CONNECTION.of(labels, &[]), 1.0),
        ConnectionEvent::Trouble { local, peer, no_room } => {
            for (side, count) in [("local", local), ("peer", peer)] {
                store.add_to(calls::CONNECTION_RETRANSMITS.of(labels, &[side]), count as f64);
            }
            store.add_to(calls::BACKPRESSURE.of(labels, &[]), no_room);
        }
        ConnectionEvent::Ended { how, age } => {
            store.add_to(calls::CONNECTION_END.of(labels, &[how.name()]), 1.0);
            store.observe_in(calls::CONNECTION_STREAMS.of(labels, &[]), link.streams as f64);
            if let Some(age) = age {
                store.observe_in(calls::CONNECTION_AGE.of(labels, &[]), age);
            }
        }
    }
}

/// Open connections, computed at each scrape.
#[derive(Debug, Default)]
pub struct ConnectionGauges {
    shown: ShownLabelSets,
}

/// Open connections by label set.
#[derive(Debug, Default)]
pub struct ConnectionGroups(HashMap<LabelSet, u64>);

impl ConnectionGroups {
    /// Groups connections by their labels.
    pub fn of<'a>(links: impl Iterator<Item = &'a ModelConnection>) -> ConnectionGroups {
        let mut groups = HashMap::new();
        for link in links {
            let pod = link.identity.k8s.pod.as_deref().unwrap_or_default();
            *groups.entry((Arc::clone(&link.labels), pod.into())).or_default() += 1;
        }
        ConnectionGroups(groups)
    }
}

impl ConnectionGauges {
    /// Fills the gauge.
    pub fn publish(&mut self, open: &ConnectionGroups, now: Ns, store: &mut SeriesStore) {
        store.clear(calls::CONNECTIONS_OPEN.id());
        open.0.keys().for_each(|set| self.shown.note(set.clone(), now));
        for (labels, pod) in self.shown.at(now, |_| false) {
            store.series(calls::CONNECTIONS_OPEN.of(labels, &[pod]));
        }
        for ((labels, pod), count) in &open.0 {
            store.add_to(calls::CONNECTIONS_OPEN.of(labels, &[pod]), *count as f64);
        }
    }
}

/// TLS sockets by how much of them is seen.
pub fn sockets(sockets: &SocketTable, store: &mut SeriesStore) {
    store.set_to(calls::SOCKETS_FOLLOWED.with(&[]), sockets.len() as f64);
}

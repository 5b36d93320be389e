//! Connections as metrics: how many are open, how they are used, and how they end.

use std::collections::HashMap;

use crate::conn::Sockets;
use crate::export::catalogue::Id;
use crate::export::store::Store;
use crate::ledger::{Link, LinkEnd, News};
use crate::units::Ns;

/// How long a service that has no connection any more still shows 0.
const ZERO_FOR_NS: u64 = 15 * 60 * 1_000_000_000;
/// Most label sets remembered for showing 0.
const REMEMBERED: usize = 1000;

type Key = [Box<str>; 6];

/// Counts what is told of a connection.
pub fn hear(link: &Link, news: News, store: &mut Store) {
    let labels = labels(link);
    match news {
        News::Opened => {
            store.add_to(Id::ConnectionOpens, &labels, 1.0);
            for how in LinkEnd::ALL {
                store.series(Id::ConnectionEnd, &and(link, how.name()));
            }
            store.series(Id::StaleConnection, &labels);
        }
        News::Reused { idle } => store.observe_in(Id::ConnectionReuseIdle, &labels, idle),
        News::Rtt { seconds } => store.observe_in(Id::ConnectionRtt, &labels, seconds),
        News::Stale => store.add_to(Id::StaleConnection, &labels, 1.0),
        News::Trouble { local, peer, no_room } => {
            for (side, count) in [("local", local), ("peer", peer)] {
                store.add_to(Id::ConnectionRetransmits, &and(link, side), count as f64);
            }
            store.add_to(Id::Backpressure, &labels, no_room);
        }
        News::Ended { how, age } => {
            store.add_to(Id::ConnectionEnd, &and(link, how.name()), 1.0);
            store.observe_in(Id::ConnectionStreams, &labels, link.streams as f64);
            if let Some(age) = age {
                store.observe_in(Id::ConnectionAge, &labels, age);
            }
        }
    }
}

/// Open connections, computed at each scrape.
#[derive(Debug, Default)]
pub struct Gauges {
    seen: HashMap<Key, Ns>,
}

/// Open connections by label set.
#[derive(Debug, Default)]
pub struct Groups(HashMap<Key, u64>);

impl Groups {
    /// Groups connections by their labels.
    pub fn of<'a>(links: impl Iterator<Item = &'a Link>) -> Groups {
        let mut groups = HashMap::new();
        for link in links {
            *groups
                .entry(and(link, link.identity.k8s.pod.as_deref().unwrap_or_default()).map(Box::from))
                .or_default() += 1;
        }
        Groups(groups)
    }
}

impl Gauges {
    /// Fills the gauge.
    pub fn publish(&mut self, open: &Groups, now: Ns, store: &mut Store) {
        store.clear(Id::ConnectionsOpen);
        for key in open.0.keys() {
            if self.seen.len() < REMEMBERED || self.seen.contains_key(key) {
                self.seen.insert(key.clone(), now);
            }
        }
        self.seen.retain(|_, last| now - *last < ZERO_FOR_NS);
        for key in self.seen.keys() {
            store.series(Id::ConnectionsOpen, &key.each_ref().map(AsRef::as_ref));
        }
        for (key, count) in &open.0 {
            store.add_to(Id::ConnectionsOpen, &key.each_ref().map(AsRef::as_ref), *count as f64);
        }
    }
}

/// TLS sockets by how much of them is seen.
pub fn sockets(sockets: &Sockets, store: &mut Store) {
    store.set_to(Id::SocketsFollowed, &[], sockets.len() as f64);
}

fn labels(link: &Link) -> [&str; 5] {
    let k8s = &link.identity.k8s;
    [
        link.provider,
        link.server_address.as_deref().unwrap_or_default(),
        &link.identity.service,
        k8s.namespace.as_deref().unwrap_or_default(),
        k8s.workload.as_deref().unwrap_or_default(),
    ]
}

fn and<'a>(link: &'a Link, own: &'a str) -> [&'a str; 6] {
    let [provider, host, service, namespace, workload] = labels(link);
    [provider, host, service, namespace, workload, own]
}

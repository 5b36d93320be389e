//! Who was turned away at a door of the daemon, and why: counted by whoever turns away, read at a scrape.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::export::catalogue::observer::REFUSED;
use crate::export::store::SeriesStore;

/// Why a client was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRefusal {
    /// The port's newest connection took the place of the peer's oldest: one peer may hold only so many.
    PeerConnections,
    /// … or of the oldest of those that hold most: the room is full.
    Connections,
    /// No descriptor was left to accept with.
    Descriptors,
    /// The head of a request (or a TLS handshake) did not come in time.
    SlowHead,
    /// The peer did not take its answer.
    SlowReader,
    /// The scrape before it took too long.
    ScrapeWait,
    /// Too many wrong passwords, of this peer or of all.
    LoginRate,
    /// Too many passwords are being checked.
    LoginWait,
    /// `inspect`: the newest client took the place of the oldest.
    InspectConnections,
    /// … the client did not ask.
    InspectSilent,
    /// … it did not take its answer.
    InspectSlowReader,
    /// … it is neither root nor the daemon's own user.
    InspectNotAllowed,
}

impl ClientRefusal {
    /// All of them, in order.
    pub const ALL: [ClientRefusal; 12] = [
        ClientRefusal::PeerConnections,
        ClientRefusal::Connections,
        ClientRefusal::Descriptors,
        ClientRefusal::SlowHead,
        ClientRefusal::SlowReader,
        ClientRefusal::ScrapeWait,
        ClientRefusal::LoginRate,
        ClientRefusal::LoginWait,
        ClientRefusal::InspectConnections,
        ClientRefusal::InspectSilent,
        ClientRefusal::InspectSlowReader,
        ClientRefusal::InspectNotAllowed,
    ];

    /// The labels `door` and `reason`.
    #[must_use]
    pub fn labels(self) -> [&'static str; 2] {
        match self {
            ClientRefusal::PeerConnections => ["web", "peer_connections"],
            ClientRefusal::Connections => ["web", "connections"],
            ClientRefusal::Descriptors => ["web", "descriptors"],
            ClientRefusal::SlowHead => ["web", "slow_head"],
            ClientRefusal::SlowReader => ["web", "slow_reader"],
            ClientRefusal::ScrapeWait => ["web", "scrape_wait"],
            ClientRefusal::LoginRate => ["web", "login_rate"],
            ClientRefusal::LoginWait => ["web", "login_wait"],
            ClientRefusal::InspectConnections => ["inspect", "connections"],
            ClientRefusal::InspectSilent => ["inspect", "silent"],
            ClientRefusal::InspectSlowReader => ["inspect", "slow_reader"],
            ClientRefusal::InspectNotAllowed => ["inspect", "not_allowed"],
        }
    }
}

/// The counts, since start.
#[derive(Debug, Default)]
pub struct RefusalCounts([AtomicU64; ClientRefusal::ALL.len()]);

impl RefusalCounts {
    /// One more.
    pub fn count(&self, refusal: ClientRefusal) {
        if let Some(count) = self.0.get(refusal as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many so far.
    #[must_use]
    pub fn of(&self, refusal: ClientRefusal) -> u64 {
        self.0.get(refusal as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Into the store: every reason, 0 too.
    pub fn publish(&self, store: &mut SeriesStore) {
        for refusal in ClientRefusal::ALL {
            store.set_to(REFUSED.with(&refusal.labels()), self.of(refusal) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_and_a_name_of_its_own() {
        let refusals = RefusalCounts::default();
        for (index, refusal) in ClientRefusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
            refusals.count(refusal);
            assert_eq!(refusals.of(refusal), 1);
        }
        let mut names: Vec<_> = ClientRefusal::ALL.map(ClientRefusal::labels).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ClientRefusal::ALL.len());
    }
}

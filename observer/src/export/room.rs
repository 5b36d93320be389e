//! Room for clients, bounded, where the newcomer always finds a place: who holds most and has waited longest leaves.
//!
//! Strangers cannot be told from a kubelet or a scraper by their address: anybody on the node has
//! 127.0.0.0/8, and all pods behind one node may come with its address. But what is of use is short
//! (connect, ask, read, gone), and what crowds out is held. So a newcomer is never refused: he
//! takes the place of somebody who holds one without using it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::export::refusals::{ClientRefusal, RefusalCounts};

/// One who counts as one: an IPv4 address, or an IPv6 network of 64 bits (all of which one host may have).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerNetwork(u128);

impl PeerNetwork {
    /// All clients of a door that cannot tell them apart.
    pub const ANY: PeerNetwork = PeerNetwork(0);

    /// The peer of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> PeerNetwork {
        match address.to_canonical() {
            IpAddr::V4(four) => PeerNetwork(four.to_ipv6_mapped().to_bits()),
            IpAddr::V6(six) => PeerNetwork(six.to_bits() >> 64 << 64),
        }
    }
}

/// How many may be inside, and what is counted when one has to leave.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Clients in all.
    pub most: usize,
    pub full: ClientRefusal,
    /// Clients of one peer.
    pub most_each: usize,
    pub peer_full: ClientRefusal,
}

/// The room.
#[derive(Debug)]
pub struct ClientSlots {
    bounds: ClientLimits,
    refusals: Arc<RefusalCounts>,
    inside: Mutex<AdmittedClients>,
    /// Counts arrivals and idle times: a clock that only orders.
    order: AtomicU64,
}

#[derive(Debug, Default)]
struct AdmittedClients {
    guests: HashMap<u64, Arc<AdmittedClient>>,
    of_peer: HashMap<PeerNetwork, Arc<AtomicUsize>>,
}

#[derive(Debug)]
struct AdmittedClient {
    id: u64,
    peer: PeerNetwork,
    /// How many its peer has here: read for each guest whenever a flood makes one leave.
    held: Arc<AtomicUsize>,
    /// Waits for us, and not we for it.
    busy: AtomicBool,
    /// Since when it has not been (in the room's order).
    since: AtomicU64,
    leave: Notify,
}

/// A client's place; given back when dropped.
#[derive(Debug)]
pub struct ClientSlot {
    room: Arc<ClientSlots>,
    guest: Arc<AdmittedClient>,
}

impl ClientSlots {
    #[must_use]
    pub fn new(bounds: ClientLimits, refusals: Arc<RefusalCounts>) -> Arc<ClientSlots> {
        Arc::new(ClientSlots { bounds, refusals, inside: Mutex::default(), order: AtomicU64::new(0) })
    }

    /// Takes one in; another may have to leave for it.
    #[must_use]
    pub fn enter(self: &Arc<ClientSlots>, peer: PeerNetwork) -> ClientSlot {
        let id = self.next();
        let (busy, since, leave) = (AtomicBool::new(false), AtomicU64::new(id), Notify::new());
        let mut inside = self.inside();
        if inside.of_peer.get(&peer).is_some_and(|held| held.load(Ordering::Relaxed) >= self.bounds.most_each) {
            self.make_leave(&mut inside, Some(peer), self.bounds.peer_full);
        } else if inside.guests.len() >= self.bounds.most {
            self.make_leave(&mut inside, None, self.bounds.full);
        }
        let held = Arc::clone(inside.of_peer.entry(peer).or_default());
        held.fetch_add(1, Ordering::Relaxed);
        let guest = Arc::new(AdmittedClient { id, peer, held, busy, since, leave });
        inside.guests.insert(id, Arc::clone(&guest));
        drop(inside);
        ClientSlot { room: Arc::clone(self), guest }
    }

    /// Makes one leave, whoever it is; false when nobody is there.
    pub fn make_room(&self, why: ClientRefusal) -> bool {
        self.make_leave(&mut self.inside(), None, why)
    }

    /// How many are inside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inside().guests.len()
    }

    /// Nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn make_leave(&self, inside: &mut AdmittedClients, peer: Option<PeerNetwork>, why: ClientRefusal) -> bool {
        let candidates = inside.guests.values().filter(|guest| peer.is_none_or(|peer| guest.peer == peer));
        // Of the peer that holds most; who does not wait for us before who does; the oldest.
        let leaves = candidates.min_by_key(|guest| {
            let busy = guest.busy.load(Ordering::Relaxed);
            (std::cmp::Reverse(guest.held.load(Ordering::Relaxed)), busy, guest.since.load(Ordering::Relaxed))
        });
        let Some(guest) = leaves.cloned() else { return false };
        inside.remove(&guest);
        guest.leave.notify_one();
        self.refusals.count(why);
        true
    }

    fn next(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    fn inside(&self) -> MutexGuard<'_, AdmittedClients> {
        // A poisoned table is still a table.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdmittedClients {
    fn remove(&mut self, guest: &AdmittedClient) {
        if self.guests.remove(&guest.id).is_none() {
            return;
        }
        if guest.held.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.of_peer.remove(&guest.peer);
        }
    }
}

impl ClientSlot {
    /// Comes back when somebody else has taken this place.
    pub async fn taken(&self) {
        self.guest.leave.notified().await;
    }

    /// It waits for us now, or again we for it.
    pub fn set_busy(&self, busy: bool) {
        if !busy {
            self.guest.since.store(self.room.next(), Ordering::Relaxed);
        }
        self.guest.busy.store(busy, Ordering::Relaxed);
    }

    /// Counts why it is turned away.
    pub fn refuse(&self, why: ClientRefusal) {
        self.room.refusals.count(why);
    }

    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> PeerNetwork {
        self.guest.peer
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.room.inside().remove(&self.guest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ClientLimits = ClientLimits {
        most: 4,
        full: ClientRefusal::Connections,
        most_each: 2,
        peer_full: ClientRefusal::PeerConnections,
    };

    fn peer(text: &str) -> PeerNetwork {
        PeerNetwork::of(text.parse().unwrap())
    }

    async fn left(place: &ClientSlot) -> bool {
        tokio::time::timeout(std::time::Duration::from_millis(5), place.taken()).await.is_ok()
    }

    #[test]
    fn a_network_of_64_bits_is_one_peer() {
        assert_eq!(peer("::ffff:127.0.0.1"), peer("127.0.0.1"));
        assert_ne!(peer("127.0.0.1"), peer("127.0.0.2"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:0:2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
    }

    #[tokio::test]
    async fn who_holds_most_leaves_first_then_the_oldest() {
        let refusals = Arc::new(RefusalCounts::default());
        let room = ClientSlots::new(BOUNDS, Arc::clone(&refusals));
        let [a, b] = [peer("10.0.0.1"), peer("10.0.0.2")];
        let (first, other, second) = (room.enter(a), room.enter(b), room.enter(a));
        // The same peer's third: its own oldest goes.
        let third = room.enter(a);
        assert!(left(&first).await && !left(&second).await && !left(&other).await);
        let last = room.enter(peer("10.0.0.3"));
        // Full: `a` holds two, and the older of them goes, although `other` is older still.
        let more = room.enter(peer("10.0.0.4"));
        assert!(left(&second).await && !left(&other).await && !left(&third).await);
        // Nobody holds more than another: the oldest.
        let one_more = room.enter(peer("10.0.0.5"));
        assert!(left(&other).await && !left(&last).await && !left(&more).await && !left(&one_more).await);
        assert_eq!((refusals.of(ClientRefusal::PeerConnections), refusals.of(ClientRefusal::Connections)), (1, 2));
        drop((first, other, second, third, last, more, one_more));
        assert!(room.is_empty() && room.inside().of_peer.is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_us_stays_longest() {
        let room = ClientSlots::new(BOUNDS, Arc::default());
        let places: Vec<_> = (1..=4).map(|n| room.enter(peer(&format!("10.0.0.{n}")))).collect();
        places[0].set_busy(true);
        let newer = room.enter(peer("10.0.0.9"));
        assert!(!left(&places[0]).await && left(&places[1]).await);
        // Done: it counts as come anew.
        places[0].set_busy(false);
        let newest = room.enter(peer("10.0.0.10"));
        assert!(!left(&places[0]).await && left(&places[2]).await);
        places.iter().chain([&newer, &newest]).for_each(|place| place.set_busy(true));
        let last = room.enter(peer("10.0.0.11"));
        assert!(left(&places[3]).await && !left(&last).await, "even if all are busy");
    }
}

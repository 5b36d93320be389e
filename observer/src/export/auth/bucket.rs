//! How many passwords may be tried: so many at once, so many a second, for each peer and for all.

use std::collections::HashMap;
use std::time::Instant;

use crate::export::room::PeerNetwork;

/// One peer: a few typing errors, then one try every other second.
const EACH: RefillRate = RefillRate { burst: 5.0, each_second: 0.5 };

/// All peers: who has many addresses gets no more than half a core out of us, at bcrypt's usual 250 ms.
const ALL: RefillRate = RefillRate { burst: 20.0, each_second: 2.0 };

/// Peers remembered; a full bucket is as good as none, so those that tried longest ago are forgotten.
const PEERS: usize = 1024;

/// Tokens that come back.
#[derive(Clone, Copy, Debug)]
struct RefillRate {
    burst: f64,
    each_second: f64,
}

#[derive(Clone, Copy, Debug)]
struct LoginBucket {
    left: f64,
    at: Instant,
}

/// The tries that are left.
#[derive(Debug, Default)]
pub(super) struct LoginBuckets {
    all: Option<LoginBucket>,
    peers: HashMap<PeerNetwork, LoginBucket>,
}

impl LoginBuckets {
    /// Takes one try of this peer; false when there is none.
    pub(super) fn take(&mut self, peer: PeerNetwork, now: Instant) -> bool {
        let mine = refilled(self.peers.get(&peer).copied(), EACH, now);
        let all = refilled(self.all, ALL, now);
        let may = mine.left >= 1.0 && all.left >= 1.0;
        let taken = f64::from(u8::from(may));
        if self.peers.len() >= PEERS && !self.peers.contains_key(&peer) {
            self.forget();
        }
        self.peers.insert(peer, LoginBucket { left: mine.left - taken, ..mine });
        self.all = Some(LoginBucket { left: all.left - taken, ..all });
        may
    }

    /// The password was right: it does not count.
    pub(super) fn give_back(&mut self, peer: PeerNetwork) {
        for bucket in self.all.iter_mut().chain(self.peers.get_mut(&peer)) {
            bucket.left += 1.0;
        }
    }

    /// The half that tried longest ago.
    fn forget(&mut self) {
        let mut times: Vec<Instant> = self.peers.values().map(|bucket| bucket.at).collect();
        times.sort_unstable();
        if let Some(middle) = times.get(times.len() / 2) {
            self.peers.retain(|_, bucket| bucket.at > *middle);
        }
    }
}

fn refilled(bucket: Option<LoginBucket>, rate: RefillRate, now: Instant) -> LoginBucket {
    let left = bucket.map_or(rate.burst, |bucket| {
        (bucket.left + now.saturating_duration_since(bucket.at).as_secs_f64() * rate.each_second).min(rate.burst)
    });
    LoginBucket { left, at: now }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn peer(n: u32) -> PeerNetwork {
        PeerNetwork::of(Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn a_peer_has_its_tries_and_gets_new_ones() {
        let (mut buckets, start) = (LoginBuckets::default(), Instant::now());
        let tries = |buckets: &mut LoginBuckets, at| (0..50).filter(|_| buckets.take(peer(1), at)).count();
        assert_eq!(tries(&mut buckets, start), 5);
        assert!(buckets.take(peer(2), start), "another peer has its own");
        assert_eq!(tries(&mut buckets, start + Duration::from_secs(4)), 2);
        assert_eq!(tries(&mut buckets, start + Duration::from_secs(1000)), 5);
        buckets.give_back(peer(1));
        assert_eq!(tries(&mut buckets, start + Duration::from_secs(1000)), 1, "right ones do not count");
    }

    #[test]
    fn all_peers_together_have_theirs_and_are_bounded() {
        let (mut buckets, start) = (LoginBuckets::default(), Instant::now());
        let may = (0..100_000).filter(|n| buckets.take(peer(*n), start)).count();
        assert_eq!(may, 20);
        assert!(buckets.peers.len() <= PEERS);
    }
}

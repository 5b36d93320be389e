//! Basic authentication against bcrypt hashes, which are slow on purpose: whoever sends passwords spends our time.
//!
//! So one hash is computed at a time, a password that was right once is right from memory, and wrong ones are limited,
//! for each peer and for all together. Who logged in before never waits for those who try.

mod bucket;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::export::room::PeerNetwork;
use bucket::LoginBuckets;
use capture::base64;

/// The part of a bcrypt hash behind its cost: of nothing in use.
const NOBODY: &str = "abcdefghijklmnopqrstuu5Lo0g67CiD3M4RpN1BmBb4Crp5w7dbK";

/// Right answers remembered: bcrypt takes 50 ms and more of a core, which each scrape would pay again. Only who knows a
/// password can fill it.
const RIGHT: usize = 100;

/// Wrong ones, so that a scraper with an old password costs nothing: a list of their own, since strangers can fill it.
const WRONG: usize = 100;

/// How long a check may wait for its turn.
const WAIT: Duration = Duration::from_secs(2);

/// Keeps and checks credentials, by a keyed hash: no password is kept.
#[derive(Debug)]
pub(super) struct Authenticator {
    key: RandomState,
    right: Mutex<Vec<u64>>,
    wrong: Mutex<Vec<u64>>,
    buckets: Mutex<LoginBuckets>,
    /// One core at most works for strangers.
    turn: Arc<Semaphore>,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginOutcome {
    Allowed,
    Denied,
    /// Too many wrong ones before it: not checked.
    TooMany,
    /// Too many are being checked: not checked.
    Busy,
}

impl Default for Authenticator {
    fn default() -> Authenticator {
        Authenticator {
            key: RandomState::new(),
            right: Mutex::default(),
            wrong: Mutex::default(),
            buckets: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Authenticator {
    /// Whether `header` (the value of `Authorization`) names a user with its password.
    pub(super) async fn check(
        &self,
        peer: PeerNetwork,
        header: Option<&str>,
        users: &BTreeMap<String, String>,
    ) -> LoginOutcome {
        let Some((user, password)) = header.and_then(credentials) else { return LoginOutcome::Denied };
        let hash = users.get(&user);
        let digest = self.key.hash_one((&user, &password, hash));
        if let Some(login) = self.remembered(digest) {
            return login;
        }
        if !lock(&self.buckets).take(peer, Instant::now()) {
            return LoginOutcome::TooMany;
        }
        let Ok(Ok(turn)) = timeout(WAIT, Arc::clone(&self.turn).acquire_owned()).await else {
            lock(&self.buckets).give_back(peer);
            return LoginOutcome::Busy;
        };
        // Somebody may have asked the same meanwhile.
        if let Some(login) = self.remembered(digest) {
            lock(&self.buckets).give_back(peer);
            return login;
        }
        let known = hash.is_some();
        let hash = hash.cloned().unwrap_or_else(|| self.nobody(&user, users));
        let checked = tokio::task::spawn_blocking(move || {
            // Held until the hash is made, even if the asker has gone: else who hangs up would get another core.
            let _turn = turn;
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        let right = checked.await.unwrap_or(false) && known;
        if right {
            lock(&self.buckets).give_back(peer);
            remember(&self.right, digest, RIGHT);
            LoginOutcome::Allowed
        } else {
            remember(&self.wrong, digest, WRONG);
            LoginOutcome::Denied
        }
    }

    fn remembered(&self, digest: u64) -> Option<LoginOutcome> {
        if lock(&self.right).contains(&digest) {
            return Some(LoginOutcome::Allowed);
        }
        lock(&self.wrong).contains(&digest).then_some(LoginOutcome::Denied)
    }

    /// What a user who does not exist is compared with: it costs what one of those who do costs,
    /// always the same for one name, so that the time of an answer tells nothing.
    fn nobody(&self, user: &str, users: &BTreeMap<String, String>) -> String {
        let costs: Vec<u32> =
            users.values().filter_map(|hash| Some(hash.parse::<bcrypt::HashParts>().ok()?.get_cost())).collect();
        let pick = usize::try_from(self.key.hash_one(user)).unwrap_or(0).checked_rem(costs.len()).unwrap_or(0);
        format!("$2b${:02}${NOBODY}", costs.get(pick).copied().unwrap_or(bcrypt::DEFAULT_COST))
    }
}

fn remember(list: &Mutex<Vec<u64>>, digest: u64, most: usize) {
    let mut list = lock(list);
    if list.len() >= most {
        list.remove(0);
    }
    list.push(digest);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned list is still a list.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `Basic base64(user:password)`.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut decoded = Vec::new();
    base64::decode_standard(encoded.trim().as_bytes(), &mut decoded)?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests;

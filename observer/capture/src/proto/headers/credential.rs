//! The caller's credential, of which only a salted hash lives on.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

/// Headers that carry the caller's credential, the most telling first: the first one present is hashed. Others that are
/// secret but change from call to call (cookies, session tokens, proxy credentials) are only dropped.
pub(super) const CREDENTIALS: &[&str] =
    &["authorization", "x-api-key", "api-key", "x-goog-api-key", "xi-api-key", "x-portkey-api-key"];

/// The key of every hash of a secret: random for each run, never shown, so a hash means nothing elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Salt(RandomState);

impl Salt {
    /// A new random salt.
    #[must_use]
    pub fn random() -> Self {
        Self::default()
    }

    /// A hasher (SipHash) with this key: what is written in pieces hashes as the whole does.
    #[must_use]
    pub fn hasher(&self) -> DefaultHasher {
        self.0.build_hasher()
    }

    /// The hash that `hasher` gives for a text.
    #[must_use]
    pub fn hash_text(&self, text: &[u8]) -> u64 {
        let mut hasher = self.hasher();
        hasher.write(text);
        hasher.finish()
    }

    /// A keyed hash (SipHash) of a secret.
    #[must_use]
    pub fn hash(&self, secret: &[u8]) -> u64 {
        self.0.hash_one(secret)
    }
}

/// Collects the caller's credential while a head is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct CredentialHash {
    best: Option<(usize, u64)>,
}

impl CredentialHash {
    /// Looks at one request header; `name` in lower case.
    pub fn header(&mut self, name: &str, value: &[u8], salt: &Salt) {
        if let Some(rank) = CREDENTIALS.iter().position(|known| *known == name) {
            self.offer(rank, bare(value), salt);
        }
    }

    /// The hash of the most telling credential seen.
    #[must_use]
    pub fn hash(&self) -> Option<u64> {
        self.best.map(|(_, hash)| hash)
    }

    /// Adds what another part of the head held.
    pub fn merge(&mut self, other: CredentialHash) {
        if let Some((rank, hash)) = other.best
            && self.best.is_none_or(|(best, _)| rank < best)
        {
            self.best = Some((rank, hash));
        }
    }

    /// Takes a secret of this rank, unless a more telling one was seen.
    pub(super) fn offer(&mut self, rank: usize, secret: &[u8], salt: &Salt) {
        if !secret.is_empty() && self.best.is_none_or(|(best, _)| rank < best) {
            self.best = Some((rank, salt.hash(secret)));
        }
    }
}

/// The part of a credential that stays the same from call to call, and whichever header it comes
/// in: without the scheme, and of an AWS signature only the access key id.
fn bare(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let Some(space) = memchr::memchr(b' ', value) else { return value };
    let (scheme, rest) = value.split_at_checked(space).unwrap_or((value, b""));
    let rest = rest.trim_ascii();
    if !scheme.starts_with(b"AWS4-") {
        return rest;
    }
    let Some(at) = memchr::memmem::find(rest, b"Credential=") else { return rest };
    let id = rest.get(at + b"Credential=".len()..).unwrap_or_default();
    id.split(|&byte| byte == b'/' || byte == b',').next().unwrap_or_default()
}

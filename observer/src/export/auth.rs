//! Basic authentication against bcrypt hashes.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Mutex;

/// Compared for users that do not exist, so that an answer takes as long for them (a hash of cost 10 of nothing in use).
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuu5Lo0g67CiD3M4RpN1BmBb4Crp5w7dbK";

/// Remembered checks: bcrypt takes 50 ms and more of a core, which each scrape would pay again.
const REMEMBERED: usize = 100;

/// Checks credentials and remembers the answers, by a keyed hash: no password is kept.
#[derive(Debug, Default)]
pub struct Auth {
    key: RandomState,
    known: Mutex<Vec<(u64, bool)>>,
}

impl Auth {
    /// Whether `header` (the value of `Authorization`) names a user with its password. Slow: not for an async thread.
    pub fn allows(&self, header: Option<&str>, users: &BTreeMap<String, String>) -> bool {
        let Some((user, password)) = header.and_then(credentials) else { return false };
        let hash = users.get(&user);
        let digest = self.key.hash_one((&user, &password, hash));
        if let Some((_, answer)) = self.lock().iter().find(|(known, _)| *known == digest) {
            return *answer;
        }
        let right = bcrypt::verify(&password, hash.map_or(NOBODY, String::as_str)).unwrap_or(false) && hash.is_some();
        self.remember(digest, right);
        right
    }

    fn remember(&self, digest: u64, answer: bool) {
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        known.push((digest, answer));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, bool)>> {
        // A poisoned list is still a list.
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// `Basic base64(user:password)`.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| base64(encoded.trim()))??;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// RFC 4648 with or without padding; `None` for anything else.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        for (text, plain) in [("", ""), ("dTpw", "u:p"), ("dTpwdw==", "u:pw"), ("dTpwdw", "u:pw"), ("8J+YgDp4", "😀:x")]
        {
            assert_eq!(base64(text).unwrap(), plain.as_bytes());
        }
        assert_eq!(base64("d:"), None);
    }

    #[test]
    fn only_the_right_password_opens() {
        let auth = Auth::default();
        let users = BTreeMap::from([("u".to_owned(), bcrypt::hash("p", 4).unwrap())]);
        // Twice each: the second answer comes from memory.
        for _ in 0..2 {
            assert!(auth.allows(Some("Basic dTpw"), &users));
            for wrong in ["Basic dTpwdw==", "Basic eDpw", "Bearer dTpw", "Basic", "Basic !", ""] {
                assert!(!auth.allows(Some(wrong), &users), "{wrong}");
            }
            assert!(!auth.allows(None, &users));
        }
        // A changed hash is another question.
        let changed = BTreeMap::from([("u".to_owned(), bcrypt::hash("q", 4).unwrap())]);
        assert!(!auth.allows(Some("Basic dTpw"), &changed));
    }

    #[test]
    fn nobody_has_a_hash_of_real_cost() {
        assert_eq!(bcrypt::verify("", NOBODY).ok(), Some(false));
    }
}

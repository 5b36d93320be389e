//! What was used lately, in bounded memory: a young generation and the one before it. When the young
//! one is full it becomes the old one, and what nobody asked for meanwhile is forgotten. So a host whose
//! containers come and go forgets the mounts that are gone, and keeps what it meets every minute.

use std::collections::HashMap;
use std::hash::Hash;

/// A map of at most twice `each` keys.
#[derive(Debug)]
pub(super) struct TwoGenerations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    each: usize,
}

impl<K: Eq + Hash, V: Copy> TwoGenerations<K, V> {
    pub(super) fn of(each: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), each }
    }

    /// The value; it is young again.
    pub(super) fn get(&mut self, key: K) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(*value);
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value);
        Some(value)
    }

    /// Puts a value in place of what was there.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.each && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Keeps what `keep` says.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.young.retain(|_, value| keep(value));
        self.old.retain(|_, value| keep(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut map = TwoGenerations::of(4);
        for key in 0..100 {
            map.insert(key, key);
            assert_eq!(map.get(0), Some(0), "it is asked for each time, {key}");
            assert!(map.young.len() + map.old.len() <= 8);
        }
        assert_eq!((map.get(99), map.get(50)), (Some(99), None));
        map.insert(99, 1);
        assert_eq!(map.get(99), Some(1));
        map.retain(|value| *value != 1);
        assert_eq!(map.get(99), None);
    }
}

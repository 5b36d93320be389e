//! A map that forgets: at most `cap` keys, those touched longest ago go first. Strangers choose keys, so every map of a
//! detector is one of these.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use foldhash::fast::RandomState;

/// Stale touches that are not worth a look.
const STALE: usize = 64;

/// The map.
#[derive(Debug)]
pub struct RecentMap<K, V> {
    cap: usize,
    map: HashMap<K, (V, u64), RandomState>,
    /// Keys by touch; an older touch of the same key is stale.
    order: VecDeque<(K, u64)>,
    touches: u64,
    forgotten: u64,
}

impl<K: Clone + Eq + Hash, V> RecentMap<K, V> {
    /// An empty map for at most `cap` keys.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        RecentMap { cap: cap.max(1), map: HashMap::default(), order: VecDeque::new(), touches: 0, forgotten: 0 }
    }

    /// The value, without touching it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(value, _)| value)
    }

    /// The value, without touching it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key).map(|(value, _)| value)
    }

    /// The value, made if it is not there; touched.
    pub fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.touches += 1;
        let touch = self.touches;
        self.order.push_back((key.clone(), touch));
        if !self.map.contains_key(&key) {
            self.make_room();
        }
        self.tidy();
        let (value, last) = self.map.entry(key).or_insert_with(|| (make(), touch));
        *last = touch;
        value
    }

    /// Puts a value in place of what was there.
    pub fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        self.touch(key, || value);
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key).map(|(value, _)| value)
    }

    /// Keeps what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.map.retain(|key, (value, _)| keep(key, value));
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter().map(|(key, (value, _))| (key, value))
    }

    /// All of them, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.map.iter_mut().map(|(key, (value, _))| (key, value))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Keys forgotten because the map was full.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn make_room(&mut self) {
        while self.map.len() >= self.cap {
            let Some((key, touch)) = self.order.pop_front() else { return };
            if self.map.get(&key).is_some_and(|(_, last)| *last == touch) {
                self.map.remove(&key);
                self.forgotten += 1;
            }
        }
    }

    /// Stale touches are dropped before they outnumber the keys that are there: a map of a few streams
    /// stays small however long they go on, and however many it may hold.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.map.len() + STALE {
            let map = &self.map;
            self.order.retain(|(key, touch)| map.get(key).is_none_or(|(_, last)| last <= touch));
            // What is not in the map is either the key being made now (the last) or gone.
            let newest = self.touches;
            self.order.retain(|(key, touch)| *touch == newest || map.contains_key(key));
            // After a crowd, its room goes too.
            if self.order.capacity() > 4 * (self.order.len() + STALE) {
                self.order.shrink_to(2 * (self.order.len() + STALE));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_touched_goes_first() {
        let mut recent = RecentMap::new(2);
        recent.insert("a", 1);
        recent.insert("b", 2);
        *recent.touch("a", || 0) += 10;
        recent.insert("c", 3);
        assert_eq!((recent.get(&"a"), recent.get(&"b"), recent.get(&"c")), (Some(&11), None, Some(&3)));
        assert_eq!(recent.forgotten(), 1);
        recent.insert("a", 5);
        assert_eq!(recent.get(&"a"), Some(&5));
    }

    #[test]
    fn few_keys_take_little_room_however_often_they_are_touched() {
        let mut recent = RecentMap::new(1_000_000);
        (0..1_000_000_u32).for_each(|n| *recent.touch(n % 3, || 0) += 1);
        assert!(recent.order.capacity() <= 512, "{}", recent.order.capacity());
        (0..10_000_u32).for_each(|n| *recent.touch(n, || 0) += 1);
        recent.retain(|key, _| *key < 3);
        (0..1_000_u32).for_each(|n| *recent.touch(n % 3, || 0) += 1);
        assert!(recent.order.capacity() <= 1024, "{}", recent.order.capacity());
        assert_eq!(recent.len(), 3);
    }

    #[test]
    fn a_million_keys_take_the_room_of_the_cap() {
        let mut recent = RecentMap::new(100);
        for n in 0..1_000_000_u32 {
            recent.insert(n, n);
            recent.touch(7, || 7);
            if n % 3 == 0 {
                recent.remove(&n);
            }
        }
        assert!(recent.len() <= 100 && recent.order.len() <= 220, "{} {}", recent.len(), recent.order.len());
        assert_eq!(recent.get(&7), Some(&7), "touched every time");
    }
}

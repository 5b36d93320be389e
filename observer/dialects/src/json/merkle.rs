//! A hash of every value of a document, in one pass: strings by their unescaped text, objects
//! whatever the order of their members, arrays in order. Keyed, so that a hash tells nothing of the
//! text to who does not have the key.

use std::hash::Hasher;

use capture::hash::mix;
use capture::limits;
use capture::proto::Salt;

/// Members that say how a request is handled and not what it asks: two requests that differ only in these are the same.
const VOLATILE: &[&str] =
    &["metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "stream", "stream_options", "user"];

/// Marks that move from message to message while what is marked stays the same.
const MARKS: &[&str] = &["cache_control", "cachePoint", "cache_point"];

/// Open containers of a document and the hash of the last value that ended.
pub(super) struct JsonMerkle {
    salt: Salt,
    levels: Vec<Level>,
    last: u64,
}

#[derive(Clone, Copy, Default)]
struct Level {
    sum: u64,
    key: u64,
    /// The member that comes does not count.
    skip: bool,
    array: bool,
}

impl JsonMerkle {
    pub(super) fn new(salt: &Salt) -> Self {
        Self { salt: salt.clone(), levels: Vec::new(), last: 0 }
    }

    /// A container opens.
    pub(super) fn open(&mut self, array: bool) {
        if self.levels.len() < limits::JSON_DEPTH {
            self.levels.push(Level { array, ..Level::default() });
        }
    }

    /// A container closes: its value is whole.
    pub(super) fn close(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        self.value(mix(level.sum, if level.array { 1 } else { 2 }));
    }

    /// A key was read.
    pub(super) fn key(&mut self, hash: u64, is: impl Fn(&str) -> bool) {
        let top = self.levels.len() == 1;
        if let Some(level) = self.levels.last_mut() {
            level.key = hash;
            level.skip = MARKS.iter().any(|name| is(name)) || (top && VOLATILE.iter().any(|name| is(name)));
        }
    }

    /// A scalar that is no string.
    pub(super) fn word(&mut self, word: &[u8]) {
        let mut hasher = self.salt.hasher();
        hasher.write(word);
        self.value(mix(hasher.finish(), 3));
    }

    /// A value is whole.
    pub(super) fn value(&mut self, hash: u64) {
        self.last = hash;
        if let Some(level) = self.levels.last_mut() {
            if level.array {
                level.sum = mix(level.sum.rotate_left(5), hash);
            } else if !level.skip {
                level.sum = level.sum.wrapping_add(mix(level.key, hash));
            }
        }
    }

    /// The hash of the value that ended last.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn held(&self) -> usize {
        self.levels.capacity() * size_of::<Level>()
    }
}

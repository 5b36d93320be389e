//! Hashes that name or compare things, and keep nothing secret.

use std::hash::Hasher;

use fnv::FnvHasher;

/// Two hashes to one, in order.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
pub fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(u128::from(b ^ 0xbf58_476d_1ce4_e5b9));
    (product as u64) ^ (product >> 64) as u64
}

/// A name of twelve hexadecimal digits, made of an FNV-1a hash: stable across replays, and among a
/// few thousand names two alike are a one in 10^7 matter.
#[must_use]
pub fn short_name(bytes: impl Iterator<Item = u8>) -> String {
    let mut hasher = FnvHasher::default();
    bytes.for_each(|byte| hasher.write_u8(byte));
    let hash = hasher.finish();
    format!("{:012x}", (hash ^ (hash >> 48)) & 0xffff_ffff_ffff)
}

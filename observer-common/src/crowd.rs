//! Who has taken so much of the kernel side's tables that nobody else would find room: marks that the
//! daemon sets, and that the programs look at before they add an entry.
//!
//! A mark is a word of an array. Word 0 is the number of marks: while it is 0 nothing else is looked at.

/// Slots for marks, a power of two. A host has a few who flood at once; two whose slots agree cannot both be marked.
pub const SLOTS: u32 = 1024;

/// Words of the array: the number of marks, then the slots.
pub const WORDS: u32 = SLOTS + 1;

/// The word of a process (thread group). The upper bits tell the kinds apart: ids of cgroups have none of them.
#[inline(always)]
#[must_use]
pub const fn process(tgid: u32) -> u64 {
    1 << 62 | tgid as u64
}

/// The word of a user, by the id outside all user namespaces.
#[inline(always)]
#[must_use]
pub const fn user(uid: u32) -> u64 {
    2 << 62 | uid as u64
}

/// The word of a cgroup, by its id in the unified hierarchy (the inode of its folder); that of the root, which a host
/// without that hierarchy shows for every process, marks nobody.
#[inline(always)]
#[must_use]
pub const fn group(id: u64) -> u64 {
    id & !(3 << 62)
}

/// Where a word is kept. Multiplication by 2^64 / golden ratio spreads ids that follow each other.
#[inline(always)]
#[must_use]
pub const fn slot(word: u64) -> u32 {
    1 + (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.trailing_zeros())) as u32
}

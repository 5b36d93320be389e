//! Indices of the counter array.

/// Read calls whose bytes went up (at least in part).
pub const CAPTURED_READ: u32 = 0;
/// Write calls whose bytes went up (at least in part).
pub const CAPTURED_WRITE: u32 = 1;
/// Calls that moved bytes on connections with the verdict `Ignore` (or reads under `Heads`).
pub const IGNORED: u32 = 2;
/// Causes of lost calls and bytes: see the offsets below.
const CAUSES: u32 = 6;
/// First of the lost-call counters, one for each cause.
pub const LOST_CALLS: u32 = 3;
/// First of the lost-byte counters, one for each cause.
pub const LOST_BYTES: u32 = LOST_CALLS + CAUSES;
/// Records other than data (births, ends, sockets) that found no room.
pub const LOST_EVENTS: u32 = LOST_BYTES + CAUSES;
/// Segments whose bytes went up (at least in part).
pub const SEGMENTS: u32 = LOST_EVENTS + 1;
/// Calls (and births of TLS objects) that came a second time through another set of probes on
/// the same file: let pass once.
pub const DOUBLED: u32 = SEGMENTS + 1;
/// Number of counters.
pub const COUNT: u32 = DOUBLED + 1;

/// Offset in the lost counters.
pub const RING_FULL: u32 = 0;
/// The call moved more than `MAX_PIECES * MAX_PIECE`.
pub const TRUNCATED: u32 = 1;
/// The process's memory could not be read.
pub const FAULT: u32 = 2;
/// A table was full.
pub const TABLE_FULL: u32 = 3;
/// The two directions of the connection could not be told to be one.
pub const UNPAIRED: u32 = 4;
/// A table was nearly full, and whoever has most of it gets no more: see `crowd`.
pub const OVER_SHARE: u32 = 5;

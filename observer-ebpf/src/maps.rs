//! Every map: who writes it, who reads it, why this type and size.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, RingBuf};
use observer_common::record::{Call, ConnId, ConnState, GoroutineCall, KeptGoroutineCall, RecordKeys, Seat, counter};
use observer_common::sock::SockState;
use observer_common::{crowd, limits};

/// Programs write, the daemon reads. One ring for all CPUs keeps the order of events across them;
/// the daemon sets the size.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(limits::DEFAULT_RING_BYTES, 0);

/// Live TLS objects. Written and removed by the TLS programs; the daemon removes what an exited
/// process left. Not LRU: an eviction would reset positions silently, a full table is counted.
#[map]
pub(crate) static CONNS: HashMap<ConnId, ConnState> =
    HashMap::with_max_entries(limits::MAX_CONNS, 1 /* BPF_F_NO_PREALLOC */);

/// Verdicts, written by the daemon: see `record::verdict_slot`.
#[map]
pub(crate) static VERDICTS: Array<u64> = Array::with_max_entries(limits::VERDICT_SLOTS, 0);

/// Calls entered and not yet returned. Taken at entry, left at return, or when the thread ends inside.
#[map]
pub(crate) static SEATS: Array<Seat> = Array::with_max_entries(limits::SEATS, 0);

/// Calls that found their seat taken, by thread and stack pointer, so that a call made inside
/// another (TLS in TLS) is its own. Written at entry, removed at return; the daemon sweeps what
/// threads left that ended inside a call.
#[map]
pub(crate) static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(limits::MAX_IN_CALL, 0);

/// Boxes of keys of rustls, and which belong to one connection. Written by its programs alone. LRU:
/// nothing tells when a box is freed, and losing one costs a search.
#[map]
pub(crate) static KEYS: LruHashMap<ConnId, RecordKeys> = LruHashMap::with_max_entries(limits::MAX_KEYS, 0);

/// Calls of goroutines that were entered and have not returned. Written at entry, removed at return;
/// the daemon sweeps what ended processes left. A goroutine that was thrown out of a call leaves its
/// entry to the next call at the same place.
#[map]
pub(crate) static GO_CALLS: HashMap<GoroutineCall, KeptGoroutineCall> =
    HashMap::with_max_entries(limits::MAX_GO_CALLS, 1 /* BPF_F_NO_PREALLOC */);

/// TLS objects whose birth was seen and that have moved nothing yet, where a birth costs no state:
/// many that are born so never do. LRU for that.
#[map]
pub(crate) static BORN: LruHashMap<ConnId, u8> = LruHashMap::with_max_entries(limits::MAX_BORN, 0);

/// Sockets of interest between connect() and the end, by cookie. Written by the socket programs,
/// and by the daemon for those that were open before. LRU: a socket whose end nothing told leaves
/// no place behind for good.
#[map]
pub(crate) static SOCKS: LruHashMap<u64, SockState> = LruHashMap::with_max_entries(limits::MAX_SOCKS, 0);

/// How many sockets in `SOCKS` have a cookie that ends so: what makes all other sockets cheap,
/// since an array look-up is a few inlined instructions. An evicted socket's mark stays, which
/// costs a look-up and no more.
#[map]
pub(crate) static MARKS: Array<u32> = Array::with_max_entries(limits::SOCK_MARKS, 0);

/// The same for sockets that were open before: the daemon's own, since it cannot add to a word that programs add to.
#[map]
pub(crate) static MID_MARKS: Array<u32> = Array::with_max_entries(limits::SOCK_MARKS, 0);

/// Verdicts on sockets, written by the daemon: see `sock::verdict_slot`.
#[map]
pub(crate) static SOCK_VERDICTS: Array<u64> = Array::with_max_entries(limits::SOCK_VERDICT_SLOTS, 0);

/// Processes that own a TLS object or a followed socket. LRU: losing one costs only its exit
/// record, and the daemon notices exits by itself.
#[map]
pub(crate) static OWNERS: LruHashMap<u32, u8> = LruHashMap::with_max_entries(limits::MAX_OWNERS, 0);

/// Who gets no more room in `CONNS` and `GO_CALLS`, written by the daemon: see `crowd`.
#[map]
pub(crate) static CROWDED: Array<u64> = Array::with_max_entries(crowd::WORDS, 0);

/// Counters, added to atomically: a per-CPU array would lose counts when a program is preempted.
#[map]
pub(crate) static COUNTERS: Array<u64> = Array::with_max_entries(counter::COUNT, 0);

/// Adds to a counter.
#[inline(always)]
pub(crate) fn count(index: u32, by: u64) {
    if let Some(cell) = COUNTERS.get_ptr_mut(index) {
        add(cell, by);
    }
}

/// Adds to an aligned map value that every program only ever adds to. `AtomicU64::fetch_add` does
/// not exist for this target, and the instruction that also returns the old value needs 5.12.
#[inline(always)]
pub(crate) fn add(cell: *mut u64, by: u64) {
    // SAFETY: by the contract; all callers pass a field of a map value.
    unsafe {
        core::arch::asm!("lock *(u64 *)({cell} + 0) += {by}", cell = in(reg) cell, by = in(reg) by, options(nostack));
    }
}

//! Live TLS objects as the kernel side keeps them.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use observer_common::record::{ConnId, ConnState, FLAG_BORN, Kind, Verdict, Way, verdict_of, verdict_slot};

use crate::lifecycle::announce;
use crate::maps::{BORN, CONNS, OWNERS, VERDICTS};
use crate::{crowd, task};

/// What the daemon decided about a connection whose application has written up to `written`, or `Unknown`.
#[inline(always)]
pub(crate) fn verdict(state: &ConnState, written: u64) -> u32 {
    match VERDICTS.get(verdict_slot(state.generation)) {
        Some(word) => verdict_of(*word, state.generation, written),
        None => Verdict::Unknown as u32,
    }
}

/// The state of `id` in the current process; made anew (as joined in the middle) when there is none
/// or when it belongs to an earlier process with the same pid. `None`: the table is full.
#[inline(always)]
pub(crate) fn find_or_adopt(id: &ConnId) -> Option<*mut ConnState> {
    let task = task::current();
    if let Some(state) = CONNS.get_ptr_mut(id) {
        // SAFETY: a map value, valid while the program runs.
        unsafe {
            if (*state).task == task {
                return Some(state);
            }
            if (*state).start_ns == task::start_ns() {
                (*state).task = task;
                return Some(state);
            }
        }
    }
    create(id, task::start_ns(), 0, 0);
    CONNS.get_ptr_mut(id)
}

/// From here on this address is a new connection, seen from its first byte; its state is made when it
/// moves bytes. What lived here before is gone, whether or not its end was seen.
#[inline(always)]
pub(crate) fn bear(id: &ConnId) {
    if CONNS.get_ptr(id).is_some() {
        announce(id, Kind::Close);
        let _ = CONNS.remove(id);
    }
    let _ = BORN.insert(id, &1u8, 0);
}

/// The first call of a connection: its state was just made. That its birth was seen, its records say.
#[inline(always)]
pub(crate) fn note_birth(id: &ConnId, state: *mut ConnState) {
    if BORN.get_ptr(id).is_none() {
        return;
    }
    let _ = BORN.remove(id);
    // SAFETY: a map value.
    unsafe { (*state).born = FLAG_BORN as u32 };
}

/// Has this very birth been told already? A second set of probes on the same file (one inode behind
/// two mounts) sees each return twice.
#[inline(always)]
pub(crate) fn is_born(id: &ConnId, birth: u64) -> bool {
    let Some(state) = CONNS.get_ptr(id) else { return false };
    // SAFETY: a map value.
    unsafe { (*state).birth == birth && (*state).ways[0].pos == 0 && (*state).ways[1].pos == 0 }
}

/// A fresh state at this address: whatever lived here is another connection.
#[inline(always)]
pub(crate) fn create(id: &ConnId, start_ns: u64, born: u32, birth: u64) {
    // Inserted from read-only memory and filled in place: a value on the stack would break the stack rule.
    if crowd::is_refused() || CONNS.insert(id, &FRESH, 0).is_err() {
        return;
    }
    let Some(state) = CONNS.get_ptr_mut(id) else { return };
    // SAFETY: a map value; the helper has no preconditions.
    unsafe {
        (*state).generation = bpf_get_prandom_u32();
        (*state).born = born;
        (*state).birth = birth;
        (*state).start_ns = start_ns;
    }
    let _ = OWNERS.insert(&id.tgid, &1u8, 0);
}

static FRESH: ConnState = ConnState {
    start_ns: 0,
    task: 0,
    generation: 0,
    born: 0,
    birth: 0,
    ways: [Way {
        pos: 0,
        call_pos: 0,
        entered_ns: 0,
        stamp_ns: 0,
        buf: 0,
        num: 0,
        moved: 0,
        wanted: 0,
        tid: 0,
        tgid: 0,
        ex: 0,
        ended: 0,
    }; 2],
};

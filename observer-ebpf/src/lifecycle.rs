//! Birth and end of TLS objects and processes.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use observer_common::record::{ConnId, ConnKey, Header, Kind, counter};

use crate::maps::{CONNS, OWNERS, RING, count};
use crate::{calls, emit, task};

/// Sends a record about a known TLS object.
#[inline(always)]
pub(crate) fn announce(id: &ConnId, kind: Kind) {
    if let Some(state) = CONNS.get_ptr(id) {
        emit::say(id.handle, id.tgid, state, kind);
    }
}

/// A thread exits: what it left of calls goes. The last thread's exit is the process's end; the
/// first may leave before the others. assumes: any kernel, raw tracepoint `sched_process_exit`.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(_ctx: RawTracePointContext) -> i32 {
    let (tgid, tid) = task::ids();
    calls::abandon(tid);
    if OWNERS.get_ptr(tgid).is_none() || !task::is_last() {
        return 0;
    }
    let _ = OWNERS.remove(tgid);
    let Some(mut entry) = RING.reserve::<Header>(0) else {
        count(counter::LOST_EVENTS, 1);
        return 0;
    };
    let key = ConnKey { handle: 0, start_ns: task::start_ns(), tgid, generation: 0 };
    // SAFETY: reserved ring memory of this type.
    unsafe { emit::fill(entry.as_mut_ptr(), key, Kind::Exit, 0, 0) };
    entry.submit(0);
    0
}

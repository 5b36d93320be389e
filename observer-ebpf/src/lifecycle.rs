//! Birth and end of TLS objects and processes.

use aya_ebpf::macros::{raw_tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext, RetProbeContext};
use observer_common::record::{ConnId, ConnKey, FLAG_BORN, Header, Kind, counter};

use crate::maps::{CONNS, OWNERS, RING, count};
use crate::{calls, conn, emit, task};

/// Return of `SSL *SSL_new(SSL_CTX *)`: from here on this address is a new connection, seen from its first byte.
#[uretprobe]
pub fn ssl_new_done(ctx: RetProbeContext) -> u32 {
    // SAFETY: the context of a uretprobe is a pt_regs.
    let handle = unsafe { (*ctx.regs).rax };
    let tgid = task::ids().0;
    if handle == 0 || task::is_self(tgid) {
        return 0;
    }
    let id = ConnId { handle, tgid, reserved: 0 };
    conn::create(&id, task::start_ns(), FLAG_BORN as u32);
    announce(&id, Kind::Open);
    0
}

/// Entry of `int SSL_shutdown(SSL *)`.
#[uprobe]
pub fn ssl_shutdown(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a uprobe is a pt_regs.
    let handle = unsafe { (*ctx.regs).rdi };
    announce(&ConnId { handle, tgid: task::ids().0, reserved: 0 }, Kind::Shutdown);
    0
}

/// Entry of `void SSL_free(SSL *)`: the state goes. Where only a reference was dropped, what follows is a connection joined in
/// the middle; no TLS client in use keeps a second reference.
#[uprobe]
pub fn ssl_free(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a uprobe is a pt_regs.
    let handle = unsafe { (*ctx.regs).rdi };
    let id = ConnId { handle, tgid: task::ids().0, reserved: 0 };
    announce(&id, Kind::Close);
    let _ = CONNS.remove(&id);
    0
}

/// Sends a record about a known TLS object.
#[inline(always)]
fn announce(id: &ConnId, kind: Kind) {
    if let Some(state) = CONNS.get_ptr(id) {
        emit::say(id.handle, id.tgid, state, kind);
    }
}

/// A thread exits: what it left of calls goes. The first thread's exit is the process's end for all that matters here.
/// assumes: any kernel, raw tracepoint `sched_process_exit`.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(_ctx: RawTracePointContext) -> i32 {
    let (tgid, tid) = task::ids();
    calls::abandon(tid);
    if tgid != tid || OWNERS.get_ptr(tgid).is_none() {
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

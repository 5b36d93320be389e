//! GnuTLS, where its calls do not look like OpenSSL's: `f(session, data, size …)` with the number of
//! bytes as the result is what `ssl_read`, `ssl_read_done` and `ssl_write_done` know already.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use observer_common::record::{ConnId, DIR_READ, DIR_WRITE, FLAG_BORN, Kind, thread_key};

use crate::calls::{self, Arguments};
use crate::lifecycle::announce;
use crate::maps::CONNS;
use crate::{conn, task};

/// `content_type_t` of application data (RFC 8446, 5.1).
const APPLICATION_DATA: u32 = 23;

/// `ssize_t gnutls_record_send2(gnutls_session_t, const void *data, size_t size, size_t pad,
/// unsigned flags)`, and `gnutls_record_send`, `gnutls_record_send_range`.
#[uprobe]
pub fn gnutls_send(ctx: ProbeContext) -> u32 {
    let (tgid, tid) = task::ids();
    // SAFETY: the context of a uprobe is a pt_regs.
    let regs = unsafe { &*ctx.regs };
    if task::is_self(tgid) || is_written_out(&ConnId { handle: regs.rdi, tgid, reserved: 0 }) {
        return 0;
    }
    calls::keep(thread_key(tid, regs.rsp, DIR_WRITE), || Arguments {
        handle: regs.rdi,
        buf: regs.rsi,
        // Without data it goes on with those of the call before, which would have blocked: how many
        // they are is not known here, and what they were is lost as a fault.
        num: if regs.rsi == 0 { u64::MAX } else { regs.rdx },
        len_ptr: 0,
    });
    0
}

/// Inside `gnutls_record_recv` and `gnutls_record_recv_seq`: `ssize_t f(gnutls_session_t,
/// content_type_t, void *data, size_t size …)`.
#[uprobe]
pub fn gnutls_recv_inner(ctx: ProbeContext) -> u32 {
    let (tgid, tid) = task::ids();
    // SAFETY: the context of a uprobe is a pt_regs.
    let regs = unsafe { &*ctx.regs };
    if task::is_self(tgid) || regs.rsi as u32 != APPLICATION_DATA {
        return 0;
    }
    calls::keep(thread_key(tid, regs.rsp, DIR_READ), || Arguments {
        handle: regs.rdi,
        buf: regs.rdx,
        num: regs.rcx,
        len_ptr: 0,
    });
    0
}

/// `int gnutls_init(gnutls_session_t *session, unsigned flags)`: where the session is written.
#[uprobe]
pub fn gnutls_init(ctx: ProbeContext) -> u32 {
    let (tgid, tid) = task::ids();
    if task::is_self(tgid) {
        return 0;
    }
    // SAFETY: the context of a uprobe is a pt_regs.
    let regs = unsafe { &*ctx.regs };
    calls::keep(thread_key(tid, regs.rsp, DIR_READ), || only(regs.rdi));
    0
}

/// Its return: from here on this session is a new connection, seen from its first byte.
#[uretprobe]
pub fn gnutls_init_done(ctx: RetProbeContext) -> u32 {
    // SAFETY: the context of a uretprobe is a pt_regs.
    let (ret, sp) = unsafe { ((*ctx.regs).rax as i32, (*ctx.regs).rsp) };
    let (tgid, tid) = task::ids();
    // At return the return address is popped: the entry's stack pointer was 8 lower.
    let key = thread_key(tid, sp - 8, DIR_READ);
    let Some(kept) = calls::find(key) else { return 0 };
    // SAFETY: a map value; the helper checks the source.
    let session = unsafe { bpf_probe_read_user((*kept.call).buf as *const u64) }.unwrap_or(0);
    calls::leave(key, &kept);
    if ret != 0 || session == 0 {
        return 0;
    }
    let id = ConnId { handle: session, tgid, reserved: 0 };
    conn::create(&id, task::start_ns(), FLAG_BORN as u32, key);
    announce(&id, Kind::Open);
    0
}

/// Entry of `int gnutls_record_uncork(gnutls_session_t, unsigned)`: what was put aside while the
/// session was corked went up when the application handed it over, and is now written out through
/// the public functions.
#[uprobe]
pub fn gnutls_uncork(ctx: ProbeContext) -> u32 {
    let (tgid, tid) = task::ids();
    if task::is_self(tgid) {
        return 0;
    }
    // SAFETY: the context of a uprobe is a pt_regs.
    let regs = unsafe { &*ctx.regs };
    let key = thread_key(tid, regs.rsp, DIR_WRITE);
    calls::keep(key, || only(regs.rdi));
    // What found no place has no end either.
    if let Some(kept) = calls::find(key) {
        // SAFETY: a map value.
        write_out(unsafe { &(*kept.call).id }, 1);
    }
    0
}

/// Its return.
#[uretprobe]
pub fn gnutls_uncork_done(ctx: RetProbeContext) -> u32 {
    // SAFETY: the context of a uretprobe is a pt_regs.
    let sp = unsafe { (*ctx.regs).rsp };
    let key = thread_key(task::ids().1, sp - 8, DIR_WRITE);
    let Some(kept) = calls::find(key) else { return 0 };
    // SAFETY: a map value.
    write_out(unsafe { &(*kept.call).id }, 0);
    calls::leave(key, &kept);
    0
}

/// The arguments of a function of which one matters. It stands for the others too: a run of zeros
/// would become a call of `memset`.
#[inline(always)]
fn only(argument: u64) -> Arguments {
    Arguments { handle: argument, buf: argument, num: argument, len_ptr: 0 }
}

#[inline(always)]
fn write_out(id: &ConnId, now: u32) {
    if let Some(state) = CONNS.get_ptr_mut(id) {
        // SAFETY: a map value.
        unsafe { (*state).ways[DIR_WRITE as usize].ended = now };
    }
}

/// Is what the application handed over before being written out?
#[inline(always)]
fn is_written_out(id: &ConnId) -> bool {
    // SAFETY: a map value.
    CONNS.get_ptr(id).is_some_and(|state| unsafe { (*state).ways[DIR_WRITE as usize].ended != 0 })
}

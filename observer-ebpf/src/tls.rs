//! Reads and writes of OpenSSL and its relatives.
//!
//! Why these functions: they are where every program's plaintext passes, whatever moves the ciphertext. Entry programs differ
//! only in where the callee's "bytes moved" pointer lives; the loader decodes the library and picks one.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use observer_common::limits::{MAX_PIECE, MAX_PIECES};
use observer_common::record::{
    Call, ConnId, ConnState, DIR_READ, DIR_WRITE, FLAG_EX, FLAG_TRUNCATED, Kind, Verdict, Way, counter,
};

use crate::emit::{self, Fate, Piece};
use crate::maps::{CALLS, CONNS, count};
use crate::{conn, task};

/// `int SSL_read(SSL *s, void *buf, int num)`: the result is the number of bytes.
#[uprobe]
pub fn ssl_read(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_result, DIR_READ)
}

/// `int f(SSL *s, void *buf, size_t num, size_t *readbytes)`: `SSL_read_ex`, `ssl_read_internal`.
#[uprobe]
pub fn ssl_read_ex(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_rcx, DIR_READ)
}

/// `int SSL_write(SSL *s, const void *buf, int num)`.
#[uprobe]
pub fn ssl_write(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_result, DIR_WRITE)
}

/// `int f(SSL *s, const void *buf, size_t num, size_t *written)`: `SSL_write_ex`, `ssl_write_internal` up to 3.1.
#[uprobe]
pub fn ssl_write_ex(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_rcx, DIR_WRITE)
}

/// `int f(SSL *s, const void *buf, size_t num, uint64_t flags, size_t *written)`: `SSL_write_ex2`, `ssl_write_internal` from 3.2.
#[uprobe]
pub fn ssl_write_ex2(ctx: ProbeContext) -> u32 {
    enter(&ctx, in_r8, DIR_WRITE)
}

/// Return of `SSL_read` or of the function inside both reads: 0 is the end, less is "not now" or an error.
#[uretprobe]
pub fn ssl_read_done(ctx: RetProbeContext) -> u32 {
    leave(&ctx, DIR_READ, read_end)
}

/// Return of `SSL_read_ex`, whose 0 does not tell an end from a read that would block.
#[uretprobe]
pub fn ssl_read_ex_done(ctx: RetProbeContext) -> u32 {
    leave(&ctx, DIR_READ, nothing)
}

/// Return of any of the writes.
#[uretprobe]
pub fn ssl_write_done(ctx: RetProbeContext) -> u32 {
    leave(&ctx, DIR_WRITE, nothing)
}

/// The key of a call: thread and stack. `sp` is the stack pointer at the function's first instruction.
#[inline(always)]
fn call_key(tid: u32, sp: u64, dir: u8) -> u64 {
    // The stack is 8-aligned: its lowest bit is free to keep a read and a write at the same depth apart.
    (tid as u64) << 32 | (sp & 0xffff_fffe) | dir as u64
}

/// `len_ptr` is asked for late: what is not read yet needs no stack.
#[inline(always)]
fn enter(ctx: &ProbeContext, len_ptr: fn(&ProbeContext) -> u64, dir: u8) -> u32 {
    let mut call = MaybeUninit::<Call>::uninit();
    let to = call.as_mut_ptr();
    // SAFETY: the context of a uprobe is a pt_regs; every field of the call is written before it is used.
    unsafe {
        (&raw mut (*to).id).write(ConnId { handle: (*ctx.regs).rdi, tgid: task::ids().0, reserved: 0 });
        if ignored(&(*to).id, dir) {
            count(counter::IGNORED, 1);
            return 0;
        }
        (&raw mut (*to).buf).write((*ctx.regs).rsi);
        (&raw mut (*to).num).write((*ctx.regs).rdx);
        (&raw mut (*to).len_ptr).write(len_ptr(ctx));
        (&raw mut (*to).entered_ns).write(bpf_ktime_get_boot_ns());
        let key = call_key(task::ids().1, (*ctx.regs).rsp, dir);
        if CALLS.insert(key, &*to, 0).is_err() {
            count(counter::LOST_CALLS + counter::TABLE_FULL, 1);
        }
    }
    0
}

#[inline(always)]
fn in_result(_: &ProbeContext) -> u64 {
    0
}

#[inline(always)]
fn in_rcx(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context of a uprobe is a pt_regs.
    unsafe { (*ctx.regs).rcx }
}

#[inline(always)]
fn in_r8(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context of a uprobe is a pt_regs.
    unsafe { (*ctx.regs).r8 }
}

/// The in-kernel filter: one look-up for a connection that carries nothing of interest.
#[inline(always)]
fn ignored(id: &ConnId, dir: u8) -> bool {
    if task::is_self(id.tgid) {
        return true;
    }
    let Some(state) = CONNS.get_ptr(id) else { return false };
    // SAFETY: a map value.
    let verdict = unsafe { conn::verdict(&*state, (*state).ways[DIR_WRITE as usize].pos) };
    verdict == Verdict::Ignore as u32 || (verdict == Verdict::Heads as u32 && dir == DIR_READ)
}

#[inline(always)]
fn leave(ctx: &RetProbeContext, dir: u8, empty: fn(*const Call, i32)) -> u32 {
    // SAFETY: the context of a uretprobe is a pt_regs.
    let (ret, sp) = unsafe { ((*ctx.regs).rax as i32, (*ctx.regs).rsp) };
    // At return the return address is popped: the entry's stack pointer was 8 lower.
    let key = call_key(task::ids().1, sp - 8, dir);
    let Some(call) = CALLS.get_ptr(key) else { return 0 };
    // SAFETY: a map value; it stays readable until the program ends.
    let moved = moved(ret, unsafe { (*call).len_ptr });
    if moved > 0 {
        deliver(call, moved, dir);
    } else {
        empty(call, ret);
    }
    let _ = CALLS.remove(key);
    0
}

#[inline(always)]
fn nothing(_: *const Call, _: i32) {}

/// A read that returned 0: the peer said goodbye. Without this, an application that closes at once looks like the one that
/// ended it: its FIN may be first on the wire.
#[inline(always)]
fn read_end(call: *const Call, ret: i32) {
    // SAFETY: a map value.
    let (id, num) = unsafe { (&(*call).id, (*call).num) };
    if ret != 0 || num == 0 {
        return;
    }
    let Some(state) = CONNS.get_ptr_mut(id) else { return };
    // SAFETY: a map value.
    let way = unsafe { &mut (*state).ways[DIR_READ as usize] };
    if way.ended == 0 {
        way.ended = 1;
        emit::say(id.handle, id.tgid, state, Kind::ReadEnd);
    }
}

/// Bytes that the call moved. `*len_ptr` counts only if the function returned 1; it is garbage otherwise.
#[inline(always)]
fn moved(ret: i32, len_ptr: u64) -> u64 {
    if len_ptr == 0 {
        return if ret > 0 { ret as u64 } else { 0 };
    }
    if ret != 1 {
        return 0;
    }
    // SAFETY: the helper checks the source.
    unsafe { bpf_probe_read_user(len_ptr as *const u64) }.unwrap_or(0)
}

#[inline(always)]
fn deliver(call: *const Call, moved: u64, dir: u8) {
    // SAFETY: a map value; the key is passed from there to spare the stack.
    let id = unsafe { &(*call).id };
    let Some(state) = conn::find_or_adopt(id, task::start_ns()) else {
        count(counter::LOST_CALLS + counter::TABLE_FULL, 1);
        count(counter::LOST_BYTES + counter::TABLE_FULL, moved);
        return;
    };
    // SAFETY: map values.
    unsafe { begin(&mut (*state).ways[dir as usize], call, moved) };
    send_call(id.handle, state, dir);
}

/// Notes the call in its direction's state and moves the position on.
#[inline(always)]
unsafe fn begin(way: &mut Way, call: *const Call, moved: u64) {
    let (tgid, tid) = task::ids();
    way.tgid = tgid;
    way.tid = tid;
    way.call_pos = way.pos;
    way.pos += moved;
    way.moved = moved;
    // SAFETY: a map value; the helper has no preconditions.
    unsafe {
        way.buf = (*call).buf;
        way.num = (*call).num;
        way.ex = if (*call).len_ptr == 0 { 0 } else { FLAG_EX as u32 };
        way.entered_ns = (*call).entered_ns;
        way.stamp_ns = bpf_ktime_get_boot_ns();
    }
}

/// Cuts a call into pieces and sends them up; stops at the first piece that finds no room, so that what goes up is a prefix.
/// Whole pieces first, in a loop over one size class alone: with all classes in the loop the verifier gives up.
#[inline(always)]
fn send_call(handle: u64, state: *mut ConnState, dir: u8) {
    // SAFETY: a map value.
    let way = unsafe { &mut (*state).ways[dir as usize] };
    way.wanted = core::cmp::min(way.moved, limit(state));
    let mut sent = 0u64;
    let mut fate = Fate::Sent;
    for _ in 0..MAX_PIECES {
        if way.wanted - sent < MAX_PIECE as u64 {
            break;
        }
        fate = emit::send_whole(handle, state, dir, piece(state, way, sent, MAX_PIECE as u64));
        if fate != Fate::Sent {
            break;
        }
        sent += MAX_PIECE as u64;
    }
    let rest = way.wanted - sent;
    if fate == Fate::Sent && rest > 0 && rest < MAX_PIECE as u64 {
        fate = emit::send(handle, state, dir, piece(state, way, sent, rest));
        if fate == Fate::Sent {
            sent += rest;
        }
    }
    account(way, sent, fate, dir);
}

#[inline(always)]
fn piece(state: *const ConnState, way: &Way, sent: u64, len: u64) -> Piece {
    // SAFETY: a map value.
    let born = unsafe { (*state).born } as u8 | way.ex as u8;
    let last = sent + len >= way.wanted;
    let flags = if last && way.wanted < way.moved { born | FLAG_TRUNCATED } else { born };
    Piece { offset: sent as u32, len: len as u32, flags }
}

/// How much of one call goes up: under `Heads` only the head of a write, the first after the decision.
#[inline(always)]
fn limit(state: *const ConnState) -> u64 {
    // SAFETY: a map value.
    let verdict = unsafe { conn::verdict(&*state, (*state).ways[DIR_WRITE as usize].call_pos) };
    if verdict == Verdict::Heads as u32 { MAX_PIECE as u64 } else { (MAX_PIECE * MAX_PIECES) as u64 }
}

/// Counts what the call became: captured, and what of it was lost to which cause.
#[inline(always)]
fn account(way: &Way, sent: u64, fate: Fate, dir: u8) {
    let cause = match fate {
        Fate::RingFull => counter::RING_FULL,
        Fate::Fault => counter::FAULT,
        Fate::Sent => counter::TRUNCATED,
    };
    if sent > 0 {
        count(counter::CAPTURED_READ + dir as u32, 1);
    } else {
        count(counter::LOST_CALLS + cause, 1);
    }
    if sent < way.moved {
        count(counter::LOST_BYTES + cause, way.moved - sent);
    }
}

//! What becomes of a call of any TLS stack: `calls::keep` at its entry, `leave` at its return. The
//! programs of a stack, in a file of its own, know where its functions have their arguments and by
//! what a call in progress is told (`record::thread_key`, `record::GoroutineCall`).

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use observer_common::limits::{MAX_PIECE, MAX_PIECES};
use observer_common::record::{
    Call, ConnState, DIR_READ, DIR_WRITE, FLAG_EX, FLAG_TRUNCATED, Kind, Verdict, Way, counter,
};

use crate::calls;
use crate::emit::{self, Fate, Piece};
use crate::maps::{CONNS, count};
use crate::{conn, crowd, task};

/// A call returned `ret`: what it moved goes up.
#[inline(always)]
pub(crate) fn leave(key: u64, ret: i32, dir: u8, empty: fn(*const Call, i32)) {
    let Some(kept) = calls::find(key) else { return };
    let call = kept.call;
    // SAFETY: a map value; it stays readable until the program ends.
    let moved = moved(ret, unsafe { (*call).len_ptr });
    let ready = if moved > 0 {
        begin(call, moved, dir)
    } else {
        empty(call, ret);
        None
    };
    calls::leave(key, &kept);
    if let Some((handle, state)) = ready {
        send_call(handle, state, dir);
    }
}

/// A call that moved nothing and tells nothing.
#[inline(always)]
pub(crate) fn nothing(_: *const Call, _: i32) {}

/// A read that returned 0: the peer said goodbye. Without this, an application that closes at once
/// looks like the one that ended it: its FIN may be first on the wire.
#[inline(always)]
pub(crate) fn read_end(call: *const Call, ret: i32) {
    // SAFETY: a map value.
    let (id, num) = unsafe { (&(*call).id, (*call).num) };
    if ret != 0 || num == 0 {
        return;
    }
    let Some(state) = CONNS.get_ptr_mut(id) else { return };
    if passes(verdict(state), DIR_READ) {
        return;
    }
    // SAFETY: a map value.
    let way = unsafe { &mut (*state).ways[DIR_READ as usize] };
    if way.ended == 0 {
        way.ended = 1;
        emit::say(id.handle, id.tgid, state, Kind::ReadEnd);
    }
}

/// The call that is about to be sent up returned the end, too: to be told behind its bytes.
#[inline(always)]
pub(crate) fn note_end(state: *mut ConnState) {
    // SAFETY: a map value.
    let way = unsafe { &mut (*state).ways[DIR_READ as usize] };
    if way.ended == 0 {
        way.ended = NOTED;
    }
}

/// Tells of an end that was noted.
#[inline(always)]
pub(crate) fn say_noted_end(handle: u64, state: *mut ConnState) {
    // SAFETY: a map value.
    let way = unsafe { &mut (*state).ways[DIR_READ as usize] };
    if way.ended == NOTED {
        way.ended = 1;
        emit::say(handle, way.tgid, state, Kind::ReadEnd);
    }
}

/// `Way::ended`: it is to be told.
const NOTED: u32 = 2;

/// Bytes that the call moved. `*len_ptr` counts only if the function returned 1; it is garbage
/// otherwise.
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

/// What the daemon decided, as of what the application had written before this call.
#[inline(always)]
pub(crate) fn verdict(state: *const ConnState) -> u32 {
    // SAFETY: a map value.
    unsafe { conn::verdict(&*state, (*state).ways[DIR_WRITE as usize].pos) }
}

/// The in-kernel filter: such a call is let pass unread, for the price of the look-up of its
/// connection.
#[inline(always)]
pub(crate) fn passes(verdict: u32, dir: u8) -> bool {
    verdict == Verdict::Ignore as u32 || (verdict == Verdict::Heads as u32 && dir == DIR_READ)
}

/// Finds the call's connection and notes the call in its direction's state, from where it is sent;
/// `None`: nothing is to be sent.
#[inline(always)]
pub(crate) fn begin(call: *const Call, moved: u64, dir: u8) -> Option<(u64, *mut ConnState)> {
    // SAFETY: a map value; the key is passed from there to spare the stack.
    let id = unsafe { &(*call).id };
    let Some(state) = conn::find_or_adopt(id) else {
        let cause = crowd::cause();
        count(counter::LOST_CALLS + cause, 1);
        count(counter::LOST_BYTES + cause, moved);
        return None;
    };
    let verdict = verdict(state);
    if passes(verdict, dir) {
        count(counter::IGNORED, 1);
        return None;
    }
    // SAFETY: map values.
    unsafe { note(&mut (*state).ways[dir as usize], call, core::cmp::min(moved, limit(verdict)), moved) };
    Some((id.handle, state))
}

/// How much of one call goes up: under `Heads` only the head of a write, the first after the
/// decision.
#[inline(always)]
fn limit(verdict: u32) -> u64 {
    if verdict == Verdict::Heads as u32 { MAX_PIECE as u64 } else { (MAX_PIECE * MAX_PIECES) as u64 }
}

/// Notes a call and moves the position on.
#[inline(always)]
unsafe fn note(way: &mut Way, call: *const Call, wanted: u64, moved: u64) {
    let (tgid, tid) = task::ids();
    way.tgid = tgid;
    way.tid = tid;
    way.call_pos = way.pos;
    way.pos += moved;
    way.moved = moved;
    way.wanted = wanted;
    // SAFETY: a map value; the helper has no preconditions.
    unsafe {
        way.buf = (*call).buf;
        way.num = (*call).num;
        way.ex = if (*call).len_ptr == 0 { 0 } else { FLAG_EX as u32 };
        way.entered_ns = (*call).entered_ns;
        way.stamp_ns = bpf_ktime_get_boot_ns();
    }
}

/// Cuts a call into pieces and sends them up; stops at the first piece that finds no room, so that
/// what goes up is a prefix. Whole pieces first, in a loop over one size class alone: with all
/// classes in the loop the verifier gives up.
#[inline(always)]
pub(crate) fn send_call(handle: u64, state: *mut ConnState, dir: u8) {
    // SAFETY: a map value.
    let way = unsafe { &(*state).ways[dir as usize] };
    let mut sent = 0u64;
    let mut fate = Fate::Sent;
    for _ in 0..MAX_PIECES {
        if way.wanted - sent < MAX_PIECE as u64 {
            break;
        }
        fate = emit::send_whole(|| handle, state, dir, piece(state, way, sent, MAX_PIECE as u64));
        if fate != Fate::Sent {
            break;
        }
        sent += MAX_PIECE as u64;
    }
    let rest = way.wanted - sent;
    if fate == Fate::Sent && rest > 0 && rest < MAX_PIECE as u64 {
        fate = emit::send(|| handle, state, dir, piece(state, way, sent, rest));
        if fate == Fate::Sent {
            sent += rest;
        }
    }
    account(way, sent, fate, dir);
}

#[inline(always)]
pub(crate) fn piece(state: *const ConnState, way: &Way, sent: u64, len: u64) -> Piece {
    // SAFETY: a map value.
    let born = unsafe { (*state).born } as u8 | way.ex as u8;
    let last = sent + len >= way.wanted;
    let flags = if last && way.wanted < way.moved { born | FLAG_TRUNCATED } else { born };
    Piece { offset: sent as u32, len: len as u32, flags }
}

/// Counts what the call became: captured, and what of it was lost to which cause.
#[inline(always)]
pub(crate) fn account(way: &Way, sent: u64, fate: Fate, dir: u8) {
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

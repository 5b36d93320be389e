//! The ring: reserve by size, fill in place, submit. The only place that drops, and it counts.

pub(crate) mod socket;

use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_user};
use observer_common::limits::{MAX_PIECE, SIZE_CLASSES};
use observer_common::record::{ConnKey, ConnState, FLAG_FAULT, Header, Kind, counter};

use crate::maps::{RING, count};

/// A ring record of one size class.
#[repr(C)]
struct Slot<const N: usize> {
    head: Header,
    bytes: [u8; N],
}

/// How a piece fared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent,
    RingFull,
    Fault,
}

/// Where a piece of a call lies in it.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) flags: u8,
}

/// Writes a whole record head into ring memory, field by field: a `Header` on the stack would break
/// the stack rule, and so would the call to `memset` that a run of plain zero writes becomes.
///
/// # Safety
/// `head` points at reserved ring memory.
#[inline(always)]
pub(crate) unsafe fn fill(head: *mut Header, key: ConnKey, kind: Kind, dir: u8, flags: u8) {
    // SAFETY: by the contract.
    unsafe {
        fill_but_conn(head, kind, dir, flags);
        (&raw mut (*head).conn.handle).write(key.handle);
        (&raw mut (*head).conn.start_ns).write(key.start_ns);
        (&raw mut (*head).conn.tgid).write(key.tgid);
        (&raw mut (*head).conn.generation).write(key.generation);
    }
}

/// All but the connection.
///
/// # Safety
/// As `fill`.
#[inline(always)]
unsafe fn fill_but_conn(head: *mut Header, kind: Kind, dir: u8, flags: u8) {
    // SAFETY: by the contract; the layout without padding is asserted in observer-common.
    unsafe {
        let now = bpf_ktime_get_boot_ns();
        (&raw mut (*head).stamp_ns).write(now);
        (&raw mut (*head).entered_ns).write(now);
        (&raw mut (*head).pos).write_volatile(0);
        (&raw mut (*head).aux).write_volatile(0);
        (&raw mut (*head).call_len).write_volatile(0);
        (&raw mut (*head).offset).write_volatile(0);
        (&raw mut (*head).len).write_volatile(0);
        (&raw mut (*head).tid).write_volatile(0);
        tail(head, kind, dir, flags);
    }
}

#[inline(always)]
unsafe fn tail(head: *mut Header, kind: Kind, dir: u8, flags: u8) {
    let word = kind as u64 | (dir as u64) << 8 | (flags as u64) << 16;
    // SAFETY: the last eight bytes of the head are kind, dir, flags and five zero bytes, 8-aligned.
    unsafe { (&raw mut (*head).kind).cast::<u64>().write(word) };
}

/// A record about a TLS object, without payload.
#[inline(always)]
pub(crate) fn say(handle: u64, tgid: u32, state: *const ConnState, kind: Kind) {
    let Some(mut entry) = RING.reserve::<Header>(0) else {
        count(counter::LOST_EVENTS, 1);
        return;
    };
    let head = entry.as_mut_ptr();
    // SAFETY: reserved ring memory of this type; `state` is a map value.
    unsafe {
        // This calls a helper: what is read behind it is not kept on the stack over it.
        fill_but_conn(head, kind, 0, (*state).born as u8);
        (&raw mut (*head).conn.handle).write(handle);
        (&raw mut (*head).conn.start_ns).write((*state).start_ns);
        (&raw mut (*head).conn.tgid).write(tgid);
        (&raw mut (*head).conn.generation).write((*state).generation);
        (&raw mut (*head).pos).write((*state).ways[0].pos);
        (&raw mut (*head).aux).write((*state).ways[1].pos);
    }
    entry.submit(0);
}

/// Sends a piece of the direction's current call up, in the smallest class that holds it. `handle` is
/// asked late: what is not needed before a helper is called need not be kept over it.
#[inline(always)]
pub(crate) fn send(handle: impl Fn() -> u64, state: *const ConnState, dir: u8, piece: Piece) -> Fate {
    send_as::<false>(handle, state, dir, piece)
}

/// The same where the length lies on the stack meanwhile: it is checked once more, which takes a
/// register that other programs do not have.
#[inline(always)]
pub(crate) fn send_checked(handle: impl Fn() -> u64, state: *const ConnState, dir: u8, piece: Piece) -> Fate {
    send_as::<true>(handle, state, dir, piece)
}

#[inline(always)]
fn send_as<const CHECKED: bool>(handle: impl Fn() -> u64, state: *const ConnState, dir: u8, piece: Piece) -> Fate {
    if piece.len <= SIZE_CLASSES[0] as u32 {
        send_in::<{ SIZE_CLASSES[0] }, CHECKED>(handle, state, dir, piece)
    } else if piece.len <= SIZE_CLASSES[1] as u32 {
        send_in::<{ SIZE_CLASSES[1] }, CHECKED>(handle, state, dir, piece)
    } else if piece.len <= SIZE_CLASSES[2] as u32 {
        send_in::<{ SIZE_CLASSES[2] }, CHECKED>(handle, state, dir, piece)
    } else {
        send_in::<{ SIZE_CLASSES[3] }, CHECKED>(handle, state, dir, piece)
    }
}

/// Sends a piece of the largest class.
#[inline(always)]
pub(crate) fn send_whole(handle: impl Fn() -> u64, state: *const ConnState, dir: u8, piece: Piece) -> Fate {
    send_in::<MAX_PIECE, false>(handle, state, dir, piece)
}

#[inline(always)]
fn send_in<const N: usize, const CHECKED: bool>(
    handle: impl Fn() -> u64,
    state: *const ConnState,
    dir: u8,
    piece: Piece,
) -> Fate {
    let Some(mut entry) = RING.reserve::<Slot<N>>(0) else { return Fate::RingFull };
    let slot = entry.as_mut_ptr();
    // SAFETY: ring memory of exactly this type, written in place; `state` is a map value; the helper checks its source.
    let fault = unsafe {
        let head = &raw mut (*slot).head;
        let way = &raw const (*state).ways[dir as usize];
        (&raw mut (*head).stamp_ns).write((*way).stamp_ns);
        (&raw mut (*head).entered_ns).write((*way).entered_ns);
        (&raw mut (*head).conn.handle).write(handle());
        (&raw mut (*head).conn.start_ns).write((*state).start_ns);
        (&raw mut (*head).conn.tgid).write((*way).tgid);
        (&raw mut (*head).conn.generation).write((*state).generation);
        (&raw mut (*head).pos).write((*way).call_pos + piece.offset as u64);
        (&raw mut (*head).aux).write((*way).num);
        (&raw mut (*head).call_len).write((*way).moved as u32);
        (&raw mut (*head).offset).write(piece.offset);
        (&raw mut (*head).tid).write((*way).tid);
        let fault = copy::<N, CHECKED>(&raw mut (*slot).bytes, (*way).buf + piece.offset as u64, piece.len);
        // A fault goes up too, as a hole of known size.
        (&raw mut (*head).len).write(if fault { 0 } else { piece.len });
        tail(head, Kind::Data, dir, if fault { piece.flags | FLAG_FAULT } else { piece.flags });
        fault
    };
    entry.submit(0);
    if fault { Fault } else { Sent }
}

use Fate::{Fault, Sent};

/// Copies from the process; true if its memory could not be read.
#[inline(always)]
unsafe fn copy<const N: usize, const CHECKED: bool>(to: *mut [u8; N], from: u64, len: u32) -> bool {
    // The class bounds the length for the verifier; `send` already chose it so.
    let len = if CHECKED { at_most(len as u64, N as u64) as u32 } else { core::cmp::min(len, N as u32) };
    // SAFETY: `to` holds N bytes; the helper checks the source.
    unsafe { bpf_probe_read_user(to.cast(), len, from as *const core::ffi::c_void) != 0 }
}

/// `value`, and no more than `most`, for the verifier to see where it is used. The compiler knows it from `send`, which
/// chose the class so, and would not look again; a kernel before 6.8 forgets it of a value that lay on the stack
/// meanwhile.
#[inline(always)]
fn at_most(value: u64, most: u64) -> u64 {
    let same: u64;
    // SAFETY: one move between registers.
    unsafe {
        core::arch::asm!(
            "{same} = {value}",
            same = out(reg) same,
            value = in(reg) value,
            options(nomem, nostack, preserves_flags)
        );
    }
    if same > most { most } else { same }
}

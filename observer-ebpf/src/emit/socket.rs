//! The ring records of sockets.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::SkBuffContext;
use observer_common::limits::{MAX_PIECE, SEGMENT_PIECES, SIZE_CLASSES};
use observer_common::record::{
    ConnKey, DIR_READ, DIR_WRITE, FLAG_FAULT, FLAG_FIN, FLAG_NO_ROOM, FLAG_RST, FLAG_TRUNCATED, FLAG_ZERO_WINDOW,
    Header, Kind, counter,
};
use observer_common::sock::{NOTHING_KNOWN, Opening, SockState};

use super::{Slot, fill};
use crate::maps::{OWNERS, RING, count};
use crate::packet::{self, FIN, RST, Tcp};

/// Where a piece of a segment lies.
#[derive(Clone, Copy)]
struct Piece {
    /// In the packet.
    at: u32,
    seq: u32,
    /// Payload bytes from here to the end of what this record stands for.
    wire: u32,
    /// Of them, those that are copied.
    len: u32,
    flags: u8,
    /// Packets that never came before it.
    missed: u32,
}

#[repr(C)]
struct OpeningSlot {
    head: Header,
    opening: Opening,
}

/// A socket is followed from here on. False: no room.
#[inline(always)]
pub(crate) fn opening(ctx: &SkBuffContext, cookie: u64, state: &SockState, tcp: &Tcp, dir: u8) -> bool {
    let Some(mut entry) = RING.reserve::<OpeningSlot>(0) else {
        count(counter::LOST_EVENTS, 1);
        return false;
    };
    let slot = entry.as_mut_ptr();
    // SAFETY: reserved ring memory of this type, every field written.
    unsafe {
        fill(&raw mut (*slot).head, key(cookie, state), Kind::SockOpen, dir, 0);
        (&raw mut (*slot).head.len).write(core::mem::size_of::<Opening>() as u32);
        let opening = &raw mut (*slot).opening;
        (&raw mut (*opening).connect_ns).write(state.connect_ns);
        (&raw mut (*opening).open_ns).write(state.open_ns);
        (&raw mut (*opening).peer).write(state.peer);
        (&raw mut (*opening).local.ip).write([0; 16]);
        packet::local(ctx, tcp, dir == DIR_WRITE, &raw mut (*opening).local);
        (&raw mut (*opening).first).write(state.first);
        (&raw mut (*opening).marks).write(state.marks);
        (&raw mut (*opening).stage).write(state.stage);
        (&raw mut (*opening).reserved).write(0);
    }
    entry.submit(0);
    // Its process's end is worth a record. LRU: cannot fail for want of room.
    let _ = OWNERS.insert(&state.tgid, &1u8, 0);
    true
}

/// A segment with payload, in as many pieces as it takes. Stops at the first that finds no room;
/// what is missing is told before the next segment that does.
#[inline(always)]
pub(crate) fn segment(ctx: &SkBuffContext, cookie: u64, state: &mut SockState, tcp: &Tcp, dir: u8, known: u64) {
    if !settle(cookie, state, dir) {
        return miss(state, dir, tcp.seq, tcp.len);
    }
    let flags = flags(tcp);
    let (mut at, mut seq, mut left) = (tcp.payload, tcp.seq, tcp.len);
    let mut missed = if dir == DIR_READ { core::mem::take(&mut state.missed) } else { 0 };
    // Whole pieces first, in a loop over one size class alone: with all classes in the loop the verifier gives up.
    for _ in 0..SEGMENT_PIECES {
        if left <= MAX_PIECE as u32 {
            break;
        }
        let piece =
            Piece { at, seq, wire: MAX_PIECE as u32, len: MAX_PIECE as u32, flags: flags & FLAG_ZERO_WINDOW, missed };
        if !send_in::<MAX_PIECE>(ctx, cookie, state, tcp, dir, known, piece) {
            return miss(state, dir, seq, left);
        }
        missed = 0;
        at += MAX_PIECE as u32;
        seq += MAX_PIECE as u32;
        left -= MAX_PIECE as u32;
    }
    let mut piece = Piece { at, seq, wire: left, len: left, flags, missed };
    if left > MAX_PIECE as u32 {
        piece.len = MAX_PIECE as u32;
        piece.flags |= FLAG_TRUNCATED;
        count(counter::LOST_BYTES + counter::TRUNCATED, u64::from(left - MAX_PIECE as u32));
    }
    if !send(ctx, cookie, state, tcp, dir, known, piece) {
        return miss(state, dir, seq, left);
    }
    count(counter::SEGMENTS, 1);
}

/// A segment without its payload: flags and window.
#[inline(always)]
pub(crate) fn bare_segment(cookie: u64, state: &mut SockState, tcp: &Tcp, dir: u8, known: u64) {
    let _ = settle(cookie, state, dir);
    // What payload there is was left out on purpose: only the end of it has a place.
    let seq = tcp.seq + tcp.len;
    if !bare(cookie, state, Kind::Segment, dir, flags(tcp), seq, tcp.ack, 0, known) {
        count(counter::LOST_EVENTS, 1);
    }
}

/// The socket sent something again.
#[inline(always)]
pub(crate) fn info(cookie: u64, state: &SockState, known: u64) {
    if !bare(cookie, state, Kind::SockInfo, DIR_WRITE, 0, 0, 0, 0, known) {
        count(counter::LOST_EVENTS, 1);
    }
}

/// The socket is closed.
#[inline(always)]
pub(crate) fn closed(cookie: u64, state: &mut SockState, known: u64) {
    let _ = settle(cookie, state, DIR_READ);
    let _ = settle(cookie, state, DIR_WRITE);
    if !bare(cookie, state, Kind::SockClose, DIR_WRITE, 0, 0, 0, 0, known) {
        count(counter::LOST_EVENTS, 1);
    }
}

/// Bytes of a socket that is not announced found no room.
#[inline(always)]
pub(crate) fn unannounced(bytes: u32) {
    count(counter::LOST_CALLS + counter::RING_FULL, 1);
    count(counter::LOST_BYTES + counter::RING_FULL, u64::from(bytes));
}

/// Notes what the ring had no room for. Losses of one direction follow each other; what lies between two of them (a
/// retransmission got through) is counted as lost only if it comes never: user space knows what it has.
#[inline(always)]
fn miss(state: &mut SockState, dir: u8, seq: u32, bytes: u32) {
    unannounced(bytes);
    let way = (dir & 1) as usize;
    if state.lost_len[way] == 0 {
        state.lost_from[way] = seq;
        state.lost_len[way] = bytes;
        return;
    }
    let end = seq + bytes - state.lost_from[way];
    if end as i32 > state.lost_len[way] as i32 {
        state.lost_len[way] = end;
    }
}

/// Tells what was lost before. True: nothing is untold.
#[inline(always)]
fn settle(cookie: u64, state: &mut SockState, dir: u8) -> bool {
    let way = (dir & 1) as usize;
    let (from, len) = (state.lost_from[way], state.lost_len[way]);
    if len == 0 {
        return true;
    }
    let told = bare(cookie, state, Kind::Segment, dir, FLAG_NO_ROOM, from, 0, len, NOTHING_KNOWN);
    if told {
        state.lost_len[way] = 0;
    }
    told
}

#[inline(always)]
fn flags(tcp: &Tcp) -> u8 {
    let mut flags = 0;
    if tcp.flags & FIN != 0 {
        flags |= FLAG_FIN;
    }
    if tcp.flags & RST != 0 {
        flags |= FLAG_RST;
    } else if tcp.window == 0 {
        flags |= FLAG_ZERO_WINDOW;
    }
    flags
}

#[inline(always)]
fn key(cookie: u64, state: &SockState) -> ConnKey {
    ConnKey { handle: cookie, start_ns: state.start_ns, tgid: state.tgid, generation: 0 }
}

/// A record without payload.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "they are the fields of a head, which does not fit on the stack")]
fn bare(
    cookie: u64,
    state: &SockState,
    kind: Kind,
    dir: u8,
    flags: u8,
    seq: u32,
    ack: u32,
    wire: u32,
    known: u64,
) -> bool {
    let Some(mut entry) = RING.reserve::<Header>(0) else { return false };
    let head = entry.as_mut_ptr();
    // SAFETY: reserved ring memory of this type.
    unsafe {
        fill(head, key(cookie, state), kind, dir, flags);
        place(head, seq, ack, wire, known);
    }
    entry.submit(0);
    true
}

/// # Safety
/// `head` points at reserved ring memory.
#[inline(always)]
unsafe fn place(head: *mut Header, seq: u32, ack: u32, wire: u32, known: u64) {
    // SAFETY: by the contract.
    unsafe {
        (&raw mut (*head).pos).write(u64::from(seq) | u64::from(ack) << 32);
        (&raw mut (*head).aux).write(known);
        (&raw mut (*head).call_len).write(wire);
    }
}

/// A piece, in the smallest class that holds it.
#[inline(always)]
fn send(ctx: &SkBuffContext, cookie: u64, state: &SockState, tcp: &Tcp, dir: u8, known: u64, piece: Piece) -> bool {
    if piece.len <= SIZE_CLASSES[0] as u32 {
        send_in::<{ SIZE_CLASSES[0] }>(ctx, cookie, state, tcp, dir, known, piece)
    } else if piece.len <= SIZE_CLASSES[1] as u32 {
        send_in::<{ SIZE_CLASSES[1] }>(ctx, cookie, state, tcp, dir, known, piece)
    } else if piece.len <= SIZE_CLASSES[2] as u32 {
        send_in::<{ SIZE_CLASSES[2] }>(ctx, cookie, state, tcp, dir, known, piece)
    } else {
        send_in::<{ SIZE_CLASSES[3] }>(ctx, cookie, state, tcp, dir, known, piece)
    }
}

#[inline(always)]
fn send_in<const N: usize>(
    ctx: &SkBuffContext,
    cookie: u64,
    state: &SockState,
    tcp: &Tcp,
    dir: u8,
    known: u64,
    piece: Piece,
) -> bool {
    let Some(mut entry) = RING.reserve::<Slot<N>>(0) else { return false };
    let slot = entry.as_mut_ptr();
    let len = bounded::<N>(piece.len);
    // SAFETY: ring memory of exactly this type, written in place; the helper checks the bounds of the packet.
    unsafe {
        let head = &raw mut (*slot).head;
        let bytes = (&raw mut (*slot).bytes).cast();
        let fault = bpf_skb_load_bytes(ctx.as_ptr(), piece.at, bytes, len) != 0;
        let flags = if fault { piece.flags | FLAG_FAULT } else { piece.flags };
        fill(head, key(cookie, state), Kind::Segment, dir, flags);
        place(head, piece.seq, tcp.ack, piece.wire, known);
        (&raw mut (*head).offset).write(piece.missed);
        (&raw mut (*head).len).write(if fault { 0 } else { len });
        if fault {
            count(counter::LOST_BYTES + counter::FAULT, u64::from(len));
        }
    }
    entry.submit(0);
    true
}

/// A length from 1 to N (a power of two), so that the verifier sees it: `send` chose the class by
/// it, and nothing without payload comes here. The compiler must not know where the number comes
/// from, or it leaves out what it knows already. Old verifiers learn nothing from a comparison with
/// zero, hence the mask; it leaves N itself whole.
#[inline(always)]
fn bounded<const N: usize>(len: u32) -> u32 {
    const { assert!(N.is_power_of_two()) };
    let known = u64::from(len) - 1;
    let len: u64;
    // A comment alone would do, but it leaves two source lines at one instruction, which the kernel refuses.
    // SAFETY: one move between registers.
    unsafe {
        core::arch::asm!("{len} = {known}", len = out(reg) len, known = in(reg) known, options(nomem, nostack, preserves_flags));
    }
    ((len & (N as u64 - 1)) + 1) as u32
}

//! rustls 0.23: records as they are encrypted and decrypted.
//!
//! Why here: `encrypt` and `decrypt` are methods of trait objects, so every program has them as functions
//! whatever its compiler made of the rest. `self` is a heap box for each direction and change of keys;
//! which two belong to one connection is read out of the record layer that calls. A connection goes by
//! its encrypter's box.
//!
//! ```text
//! record layer   +0x10 encrypter, its vtable, +0x20 decrypter, its vtable
//! encrypt(rdi: result, rsi: self, rdx: message, rcx: number of the record)
//!   message      +0 slices (0: one, at +8), +8 how many, +0x10 first byte, +0x18 end, +0x20 type
//! decrypt(rdi: result, rsi: self, rdx: (bytes, length), rcx: number) → rax: result
//!   result       +8 plaintext, +0x10 length, +0x18 type
//! ```

mod keys;

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use observer_common::limits::{MAX_PIECE, MAX_SLICES};
use observer_common::record::{
    Call, ConnId, ConnState, DIR_READ, DIR_WRITE, FLAG_BORN, Kind, RecordKeys, counter, thread_key,
};

use crate::calls::{self, Arguments};
use crate::emit::{self, Fate};
use crate::lifecycle::announce;
use crate::maps::{CONNS, count};
use crate::tls::{self, read_end};
use crate::{conn, task};

/// Types of records, as rustls numbers them.
const ALERT: u8 = 1;
const APPLICATION_DATA: u8 = 3;

/// The most that a record holds: 2^14 bytes (RFC 8446 §5.1).
const RECORD: u64 = 16_384;

/// An alert's two bytes, as they lie in memory: warning, `close_notify`.
const CLOSE_NOTIFY: u16 = 0x0001;

/// Entry of `encrypt`: all of the record is known.
#[uprobe]
pub fn rustls_encrypt(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a uprobe is a pt_regs.
    let regs = unsafe { &*ctx.regs };
    let (tgid, _) = task::ids();
    if task::is_self(tgid) {
        return 0;
    }
    let Some(keys) = keys::of(&ConnId { handle: regs.rsi, tgid, reserved: 0 }) else {
        lost(counter::TABLE_FULL, 0);
        return 0;
    };
    // SAFETY: a map value; one thread at a time uses a direction of a connection.
    unsafe {
        if !keys::read(&raw mut (*keys).message, regs.rdx) {
            lost(counter::FAULT, 0);
            return 0;
        }
        if regs.rcx == 0 {
            if !renew(keys, regs.rsp) {
                return 0;
            }
        } else if regs.rcx < (*keys).next {
            count(counter::DOUBLED, 1);
            return 0;
        }
        (*keys).next = regs.rcx + 1;
        match (*keys).message[4] as u8 {
            ALERT => said_goodbye(keys),
            APPLICATION_DATA => write(&ctx, keys),
            _ => {}
        }
    }
    0
}

/// The first record under new keys: whatever lived at this address is another connection, unless all
/// of it was that the peer spoke first. False: the same call told of twice.
#[inline(always)]
unsafe fn renew(keys: *mut RecordKeys, sp: u64) -> bool {
    // SAFETY: a map value; the key is passed from there to spare the stack. The helper has no preconditions.
    unsafe {
        let now = bpf_ktime_get_boot_ns();
        if (*keys).next == 1 && (*keys).sp == sp && now - (*keys).call.entered_ns < DOUBLED_WITHIN_NS {
            count(counter::DOUBLED, 1);
            return false;
        }
        (*keys).other = 0;
        (*keys).fresh = 1;
        (*keys).sp = sp;
        (*keys).call.entered_ns = now;
        let id = &(*keys).call.id;
        if let Some(state) = CONNS.get_ptr(id)
            && (*state).ways[DIR_WRITE as usize].pos != 0
        {
            announce(id, Kind::Close);
            let _ = CONNS.remove(id);
        }
    }
    true
}

/// Two sets of probes tell of one entry within microseconds; a second handshake takes longer.
const DOUBLED_WITHIN_NS: u64 = 200_000;

/// The application ends the connection in order. An alert is one slice.
#[inline(always)]
unsafe fn said_goodbye(keys: *mut RecordKeys) {
    // SAFETY: a map value.
    unsafe {
        let bytes = (&raw mut (*keys).words).cast::<u16>();
        if keys::read(bytes, (*keys).message[1]) && *bytes == CLOSE_NOTIFY {
            announce(&(*keys).call.id, Kind::Shutdown);
        }
    }
}

/// A record of application data is about to be sent.
#[inline(always)]
unsafe fn write(ctx: &ProbeContext, keys: *mut RecordKeys) {
    // SAFETY: a map value; the context of a uprobe is a pt_regs.
    unsafe {
        let id = &(*keys).call.id;
        if let Some(state) = CONNS.get_ptr(id)
            && tls::passes(tls::verdict(state), DIR_WRITE)
        {
            return count(counter::IGNORED, 1);
        }
        place_slices(keys, (*ctx.regs).rdx);
        let total = (*keys).call.num;
        if total == 0 || total > RECORD {
            return lost(counter::FAULT, 0);
        }
        if (*keys).other == 0 && !keys::pair(ctx, keys) {
            (*keys).fresh = 0;
            return lost(counter::UNPAIRED, total);
        }
        (*keys).call.entered_ns = bpf_ktime_get_boot_ns();
        if (*keys).fresh != 0 {
            (*keys).fresh = 0;
            born(&(*keys).call.id);
        }
        let keys = anew(keys);
        if let Some((_, state)) = tls::begin(&raw const (*keys).call, (*keys).call.num, DIR_WRITE) {
            send_slices(state, anew(keys));
        }
    }
}

/// What of a record is lost altogether.
#[inline(always)]
fn lost(cause: u32, bytes: u64) {
    count(counter::LOST_CALLS + cause, 1);
    count(counter::LOST_BYTES + cause, bytes);
}

/// A new connection, unless the peer's first bytes have made it one.
#[inline(always)]
fn born(id: &ConnId) {
    if CONNS.get_ptr(id).is_some() {
        return;
    }
    conn::create(id, task::start_ns(), FLAG_BORN as u32, 0);
    announce(id, Kind::Open);
}

/// Where the message's slices are. A message of one has its address and length where others have the
/// number of their slices and the first byte.
#[inline(always)]
unsafe fn place_slices(keys: *mut RecordKeys, message: u64) {
    // SAFETY: a map value.
    unsafe {
        let [slices, count, start, end, _] = (*keys).message;
        (*keys).sent = 0;
        if slices == 0 {
            (*keys).slices = message + 8;
            (*keys).left = 1;
            (*keys).skip = 0;
            (*keys).call.num = start;
        } else {
            (*keys).slices = slices;
            (*keys).left = count;
            (*keys).skip = start;
            (*keys).call.num = end - start;
        }
    }
}

/// Sends the slices up as pieces of one call, so that what goes up is a prefix.
#[inline(always)]
unsafe fn send_slices(mut state: *mut ConnState, mut keys: *mut RecordKeys) {
    let mut fate = Fate::Sent;
    // SAFETY: map values.
    unsafe {
        for _ in 0..MAX_SLICES {
            (state, keys) = (anew(state), anew(keys));
            if !next_slice(keys, (*state).ways[DIR_WRITE as usize].wanted, &mut fate) {
                break;
            }
            if (*keys).words[1] == 0 {
                continue;
            }
            let way = &raw mut (*state).ways[DIR_WRITE as usize];
            // Pieces are read at their offset in the call.
            (*way).buf = (*keys).words[0] - (*keys).sent;
            // Read anew, and as the 32 bits that are compared: what the compiler knows of it the verifier
            // does not, and it would check less.
            let len = (&raw const (*keys).words[1]).cast::<u32>().read_volatile();
            let piece = tls::piece(state, &*way, (*keys).sent, u64::from(len));
            fate = emit::send_checked(|| (*keys).call.id.handle, state, DIR_WRITE, piece);
            if fate != Fate::Sent {
                break;
            }
            keys = anew(keys);
            (*keys).sent += (*keys).words[1];
        }
        tls::account(&(*state).ways[DIR_WRITE as usize], (*keys).sent, fate, DIR_WRITE);
    }
}

/// Reads the next slice: what of it is of this record goes to `words`, as address and length (0:
/// nothing). False: there is none.
#[inline(always)]
unsafe fn next_slice(keys: *mut RecordKeys, wanted: u64, fate: &mut Fate) -> bool {
    // SAFETY: a map value.
    unsafe {
        if (*keys).left == 0 || (*keys).sent >= wanted {
            return false;
        }
        if !keys::read((&raw mut (*keys).words).cast::<[u64; 2]>(), (*keys).slices) {
            *fate = Fate::Fault;
            return false;
        }
        (*keys).slices += 16;
        (*keys).left -= 1;
        let (len, skip) = ((*keys).words[1], (*keys).skip);
        if len <= skip {
            (*keys).skip = skip - len;
            (*keys).words[1] = 0;
            return true;
        }
        (*keys).skip = 0;
        (*keys).words[0] += skip;
        let mut len = len - skip;
        if len > wanted - (*keys).sent {
            len = wanted - (*keys).sent;
        }
        if len > MAX_PIECE as u64 {
            len = MAX_PIECE as u64;
        }
        (*keys).words[1] = len;
    }
    true
}

/// The same address, of which the compiler does not know that: it would keep what it computes of it on
/// the stack, which has no room.
#[inline(always)]
fn anew<T>(address: *mut T) -> *mut T {
    let given = address as u64;
    let same: u64;
    // SAFETY: one move between registers.
    unsafe {
        core::arch::asm!(
            "{same} = {given}",
            same = out(reg) same,
            given = in(reg) given,
            options(nomem, nostack, preserves_flags)
        );
    }
    same as *mut T
}

/// Entry of `decrypt`: whose it is, and where its bytes are.
#[uprobe]
pub fn rustls_decrypt(ctx: ProbeContext) -> u32 {
    let (tgid, tid) = task::ids();
    if task::is_self(tgid) {
        return 0;
    }
    // SAFETY: the context of a uprobe is a pt_regs.
    let regs = unsafe { &*ctx.regs };
    let Some(keys) = keys::of(&ConnId { handle: regs.rsi, tgid, reserved: 0 }) else {
        lost(counter::TABLE_FULL, 0);
        return 0;
    };
    // SAFETY: a map value; one thread at a time uses a direction of a connection.
    unsafe {
        if regs.rcx == 0 && (*keys).next > 1 {
            // Its address came again.
            (*keys).other = 0;
        }
        (*keys).next = regs.rcx + 1;
        if (*keys).other == 0 && keys::record_layer::<2>(&ctx, keys) {
            (*keys).other = (*keys).words[0];
        }
        if !keys::read((&raw mut (*keys).message).cast::<[u64; 2]>(), regs.rdx) {
            lost(counter::FAULT, 0);
            return 0;
        }
        calls::keep(thread_key(tid, regs.rsp, DIR_READ), || Arguments {
            handle: (*keys).other,
            buf: (*keys).message[0],
            num: (*keys).message[1],
            len_ptr: 0,
        });
    }
    0
}

/// Return of `decrypt`.
#[uretprobe]
pub fn rustls_decrypt_done(ctx: RetProbeContext) -> u32 {
    // SAFETY: the context of a uretprobe is a pt_regs.
    let (result, sp) = unsafe { ((*ctx.regs).rax, (*ctx.regs).rsp) };
    // At return the return address is popped: the entry's stack pointer was 8 lower.
    let key = thread_key(task::ids().1, sp - 8, DIR_READ);
    let Some(kept) = calls::find(key) else { return 0 };
    // Left on each way for itself: where the ways meet again the compiler would read back what only one of them put on
    // the stack, which kernels before 6.2 refuse.
    match decrypted(kept.call.cast_mut(), result) {
        Some((handle, state)) => {
            calls::leave(key, &kept);
            tls::send_call(handle, state, DIR_READ);
        }
        None => calls::leave(key, &kept),
    }
    0
}

/// What came out of a call; its connection and state if it is to go up.
#[inline(always)]
fn decrypted(call: *mut Call, result: u64) -> Option<(u64, *mut ConnState)> {
    // SAFETY: the helper checks the sources; `call` is a map value that this thread alone uses.
    unsafe {
        let plain = bpf_probe_read_user((result + 8) as *const u64).ok()?;
        let len = bpf_probe_read_user((result + 16) as *const u64).ok()?;
        let kind = bpf_probe_read_user((result + 24) as *const u8).ok()?;
        // In place, behind a nonce or not: else it failed, and these words are something else.
        let behind = plain - (*call).buf;
        if (behind != 0 && behind != 8) || len > (*call).num || len == 0 {
            return None;
        }
        if kind == ALERT {
            if len == 2 && bpf_probe_read_user(plain as *const u16) == Ok(CLOSE_NOTIFY) {
                read_end(call, 0);
            }
            return None;
        }
        if kind != APPLICATION_DATA {
            return None;
        }
        if (*call).id.handle == 0 {
            lost(counter::UNPAIRED, len);
            return None;
        }
        (*call).buf = plain;
        tls::begin(call, len, DIR_READ)
    }
}

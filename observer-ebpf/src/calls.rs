//! Calls in progress: what the entry saw is kept for the return.
//!
//! A call sits in its thread's own seat of an array, where taking and leaving costs two additions;
//! only when the seat is taken (TLS inside TLS, or thread ids that agree in their lower bits) it
//! goes to a hash map. Taking a seat works without an instruction that 5.10 lacks: each comer adds
//! one and looks again, and who reads 1 is alone.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use observer_common::record::{Call, ConnId, DIR_READ, DIR_WRITE, Seat, counter, seat, thread_key};

use crate::maps::{CALLS, SEATS, add, count};
use crate::task;

/// A call's arguments as the entry program finds them.
pub(crate) struct Arguments {
    pub(crate) handle: u64,
    pub(crate) buf: u64,
    pub(crate) num: u64,
    /// Where the callee writes the number of bytes moved; 0: it returns that number.
    pub(crate) len_ptr: u64,
}

/// Keeps a call until `find`. `arguments` is asked late and more than once, so that nothing lies on
/// the stack meanwhile.
#[inline(always)]
pub(crate) fn keep(key: u64, arguments: impl Fn() -> Arguments) {
    let Some(place) = SEATS.get_ptr_mut(seat(key)) else { return };
    // SAFETY: a map value; only who is alone in a seat writes its key and call.
    unsafe {
        let taken = &raw mut (*place).taken;
        add(taken, 1);
        if taken.read_volatile() == 1 {
            write(&raw mut (*place).call, &arguments());
            (&raw mut (*place).key).write_volatile(key);
            return;
        }
        add(taken, u64::MAX);
        if (*place).key == key {
            return again(&raw mut (*place).call, &arguments());
        }
    }
    keep_apart(key, arguments);
}

/// The same thread enters with the same stack while its call sits here: either a second set of
/// probes on the same file tells of the same entry, or the call that sits here never returned (it
/// was jumped out of). What sits here is what the next return belongs to in both cases: one call,
/// one record.
#[inline(always)]
unsafe fn again(kept: *mut Call, arguments: &Arguments) {
    // SAFETY: a map value, written by this thread alone; the helper has no preconditions.
    unsafe {
        let same =
            (*kept).id.handle == arguments.handle && (*kept).buf == arguments.buf && (*kept).num == arguments.num;
        if same && bpf_ktime_get_boot_ns() - (*kept).entered_ns < DOUBLED_WITHIN_NS {
            count(counter::DOUBLED, 1);
            return;
        }
        write(kept, arguments);
    }
}

/// Two sets of probes tell of one entry within microseconds, unless the thread is preempted between them.
const DOUBLED_WITHIN_NS: u64 = 10_000_000;

#[inline(always)]
fn keep_apart(key: u64, arguments: impl Fn() -> Arguments) {
    if let Some(kept) = CALLS.get_ptr_mut(key) {
        // SAFETY: a map value under a key of this thread alone.
        return unsafe { again(kept, &arguments()) };
    }
    // Inserted from read-only memory and filled in place: a value on the stack would break the stack rule.
    let kept = CALLS.insert(key, &NO_CALL, 0).ok().and_then(|()| CALLS.get_ptr_mut(key));
    match kept {
        // SAFETY: a map value.
        Some(call) => unsafe { write(call, &arguments()) },
        None => count(counter::LOST_CALLS + counter::TABLE_FULL, 1),
    }
}

static NO_CALL: Call =
    Call { id: ConnId { handle: 0, tgid: 0, reserved: 0 }, buf: 0, num: 0, len_ptr: 0, entered_ns: 0 };

#[inline(always)]
unsafe fn write(to: *mut Call, arguments: &Arguments) {
    // SAFETY: `to` has room for a call; the helper has no preconditions.
    unsafe {
        (&raw mut (*to).id).write(ConnId { handle: arguments.handle, tgid: task::ids().0, reserved: 0 });
        (&raw mut (*to).buf).write(arguments.buf);
        (&raw mut (*to).num).write(arguments.num);
        (&raw mut (*to).len_ptr).write(arguments.len_ptr);
        (&raw mut (*to).entered_ns).write(bpf_ktime_get_boot_ns());
    }
}

/// A kept call, and where it sits.
pub(crate) struct Kept {
    pub(crate) call: *const Call,
    seat: Option<*mut Seat>,
}

/// The call kept under this key.
#[inline(always)]
pub(crate) fn find(key: u64) -> Option<Kept> {
    let place = SEATS.get_ptr_mut(seat(key))?;
    // SAFETY: a map value.
    unsafe {
        if (*place).key == key {
            return Some(Kept { call: &raw const (*place).call, seat: Some(place) });
        }
    }
    Some(Kept { call: CALLS.get_ptr(key)?, seat: None })
}

/// The call returned: its place is free. Nothing of `kept.call` may be read after this.
#[inline(always)]
pub(crate) fn leave(key: u64, kept: &Kept) {
    let Some(place) = kept.seat else {
        let _ = CALLS.remove(key);
        return;
    };
    // SAFETY: a map value; this call holds the seat until the addition.
    unsafe {
        (&raw mut (*place).key).write_volatile(0);
        add(&raw mut (*place).taken, u64::MAX);
    }
}

/// A thread ends, maybe inside a call that now never returns: its seats are free.
#[inline(always)]
pub(crate) fn abandon(tid: u32) {
    for dir in [DIR_READ, DIR_WRITE] {
        let Some(place) = SEATS.get_ptr_mut(seat(thread_key(tid, 0, dir))) else { return };
        // SAFETY: a map value.
        unsafe {
            let held = (*place).key;
            if held != 0 && (held >> 32) as u32 == tid {
                (&raw mut (*place).key).write_volatile(0);
                add(&raw mut (*place).taken, u64::MAX);
            }
        }
    }
}

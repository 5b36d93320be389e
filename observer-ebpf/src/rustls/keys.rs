//! Boxes of keys, and which of them belong to one connection.

use aya_ebpf::helpers::generated;
use aya_ebpf::programs::ProbeContext;
use observer_common::limits::STACK_WORDS;
use observer_common::record::{Call, ConnId, RecordKeys};

use crate::maps::KEYS;

/// The entry of a box, made if there is none.
#[inline(always)]
pub(super) fn of(id: &ConnId) -> Option<*mut RecordKeys> {
    if let Some(keys) = KEYS.get_ptr_mut(id) {
        return Some(keys);
    }
    // Inserted from read-only memory and filled in place: a value on the stack would break the stack rule.
    let _ = KEYS.insert(id, &NO_KEYS, 0);
    let keys = KEYS.get_ptr_mut(id)?;
    // SAFETY: a map value.
    unsafe {
        (*keys).call.id.handle = id.handle;
        (*keys).call.id.tgid = id.tgid;
    }
    Some(keys)
}

static NO_KEYS: RecordKeys = RecordKeys {
    call: Call { id: ConnId { handle: 0, tgid: 0, reserved: 0 }, buf: 0, num: 0, len_ptr: 0, entered_ns: 0 },
    other: 0,
    next: 0,
    fresh: 0,
    sp: 0,
    message: [0; 5],
    slices: 0,
    left: 0,
    skip: 0,
    sent: 0,
    words: [0; 4],
};

/// Reads as much of the process's memory as fits: into a map value, for the stack has no room.
///
/// # Safety
/// `to` points at a map value's field.
#[inline(always)]
pub(super) unsafe fn read<T>(to: *mut T, from: u64) -> bool {
    // SAFETY: by the contract; the helper checks the source.
    unsafe {
        generated::bpf_probe_read_user(to.cast(), core::mem::size_of::<T>() as u32, from as *const core::ffi::c_void)
            == 0
    }
}

/// Finds the decrypter that belongs to this encrypter. The key of its entry takes the message's place,
/// which has been read.
#[inline(always)]
pub(super) unsafe fn pair(ctx: &ProbeContext, keys: *mut RecordKeys) -> bool {
    // SAFETY: map values.
    unsafe {
        if !record_layer::<0>(ctx, keys) {
            return false;
        }
        let id = (&raw mut (*keys).message).cast::<ConnId>();
        (*id).handle = (*keys).words[2];
        (*id).tgid = (*keys).call.id.tgid;
        (*id).reserved = 0;
        let Some(decrypter) = of(&*id) else { return false };
        (*decrypter).other = (*keys).call.id.handle;
        (*keys).other = (*keys).words[2];
    }
    true
}

/// Looks for the record layer that calls, in the registers that a call preserves and then on its stack.
/// `OWN`: which of its words is `self`: 0 the encrypter, 2 the decrypter.
#[inline(always)]
pub(super) unsafe fn record_layer<const OWN: usize>(ctx: &ProbeContext, keys: *mut RecordKeys) -> bool {
    // SAFETY: a map value; the context of a uprobe is a pt_regs.
    unsafe {
        let regs = &*ctx.regs;
        let own = regs.rsi;
        if is_layer::<OWN>(regs.rbx, own, keys)
            || is_layer::<OWN>(regs.r14, own, keys)
            || is_layer::<OWN>(regs.r15, own, keys)
            || is_layer::<OWN>(regs.r12, own, keys)
            || is_layer::<OWN>(regs.r13, own, keys)
            || is_layer::<OWN>(regs.rbp, own, keys)
        {
            return true;
        }
        for word in 1..=STACK_WORDS {
            if read(&raw mut (*keys).words[3], regs.rsp + word * 8) && is_layer::<OWN>((*keys).words[3], own, keys) {
                return true;
            }
        }
    }
    false
}

/// Does a record layer with `self` in it lie at this address? Its three words are in `words` then.
#[inline(always)]
unsafe fn is_layer<const OWN: usize>(at: u64, own: u64, keys: *mut RecordKeys) -> bool {
    // An address of the lower half, 8-aligned.
    if at & 7 != 0 || at < 4096 || at >> 47 != 0 {
        return false;
    }
    // SAFETY: a map value.
    unsafe {
        let words = (&raw mut (*keys).words).cast::<[u64; 3]>();
        read(words, at + 0x10) && (*words)[OWN] == own && (*words)[2 - OWN] > 4096 && (*words)[2 - OWN] & 7 == 0
    }
}

//! The table of sockets of interest: who is in it, what was decided, how one leaves.

use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use observer_common::record::Verdict;
use observer_common::sock::{SockState, verdict_of, verdict_slot};

use crate::maps::{MARKS, MID_MARKS, SOCK_VERDICTS, SOCKS};

/// The socket of a program's context: its cookie, and its state if it is of interest. All other
/// sockets end here, after a helper of a few instructions and two inlined array look-ups.
///
/// # Safety
/// `ctx` is the context of a program that has a socket.
#[inline(always)]
pub(crate) unsafe fn of(ctx: *mut core::ffi::c_void) -> Option<(u64, *mut SockState)> {
    // SAFETY: by the contract.
    let cookie = unsafe { bpf_get_socket_cookie(ctx) };
    if !marked(cookie) {
        return None;
    }
    Some((cookie, SOCKS.get_ptr_mut(cookie)?))
}

#[inline(always)]
fn marked(cookie: u64) -> bool {
    let index = observer_common::sock::mark(cookie);
    let (Some(own), Some(mid)) = (MARKS.get_ptr(index), MID_MARKS.get_ptr(index)) else { return false };
    // SAFETY: aligned map values; others may add to them, and a stale count is at worst a look-up or a segment late.
    unsafe { core::ptr::read_volatile(own) | core::ptr::read_volatile(mid) != 0 }
}

/// From here on this socket is of interest.
#[inline(always)]
pub(crate) fn insert(cookie: u64, state: &SockState) {
    let known = SOCKS.get_ptr(cookie).is_some();
    if SOCKS.insert(cookie, state, 0).is_ok() && !known {
        mark(cookie, 1);
    }
}

/// It is of no interest any more.
#[inline(always)]
pub(crate) fn release(cookie: u64) {
    // Of two that try, one removes it. A socket that was open before has its mark elsewhere: the daemon's to take back.
    let Some(state) = SOCKS.get_ptr(cookie) else { return };
    // SAFETY: a map value.
    let born = unsafe { (*state).connect_ns } != 0;
    if SOCKS.remove(cookie).is_ok() && born {
        mark(cookie, u32::MAX);
    }
}

/// Adds to a mark; `u32::MAX` takes one away.
#[inline(always)]
fn mark(cookie: u64, by: u32) {
    if let Some(cell) = MARKS.get_ptr_mut(observer_common::sock::mark(cookie)) {
        // SAFETY: an aligned map value that every program only ever adds to.
        unsafe {
            core::arch::asm!("lock *(u32 *)({cell} + 0) += {by}", cell = in(reg) cell, by = in(reg) u64::from(by), options(nostack));
        }
    }
}

/// What the daemon decided about a socket whose application has sent up to `sent`, or `Unknown`.
#[inline(always)]
pub(crate) fn verdict(cookie: u64, sent: u32) -> u32 {
    match SOCK_VERDICTS.get(verdict_slot(cookie)) {
        Some(word) => verdict_of(*word, cookie, sent),
        None => Verdict::Unknown as u32,
    }
}

//! What a socket's own TCP tells: that it sends again, and that it is over, however that came about.
//!
//! Why beside the packets: a socket may end without one (a time-out, an abort), and only TCP knows
//! which reset it believes.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG, BPF_SOCK_OPS_STATE_CB,
    BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
};
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use observer_common::sock::{STAGE_FOLLOWED, SockState, known};

use crate::emit::socket as emit;
use crate::sock;

/// Go on as if we were not there: the reply, and what other programs made of it, stays as it is.
const ON: u32 = 1;

/// A socket's TCP asks or tells something. Sockets that accept are none of ours: the client's end
/// is counted, wherever it is.
#[sock_ops]
pub fn cgroup_sock_ops(ctx: SockOpsContext) -> u32 {
    let op = ctx.op();
    if !(BPF_SOCK_OPS_TCP_CONNECT_CB..=BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB).contains(&op)
        && op != BPF_SOCK_OPS_RETRANS_CB
        && op != BPF_SOCK_OPS_STATE_CB
    {
        return ON;
    }
    // SAFETY: the helper takes this context.
    let Some((cookie, state)) = (unsafe { sock::of(ctx.as_ptr()) }) else { return ON };
    // SAFETY: a map value.
    let state = unsafe { &mut *state };
    match op {
        BPF_SOCK_OPS_TCP_CONNECT_CB => watch(&ctx, state),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB if state.open_ns == 0 => {
            // SAFETY: no preconditions.
            state.open_ns = unsafe { bpf_ktime_get_boot_ns() };
        }
        BPF_SOCK_OPS_RETRANS_CB if state.stage == STAGE_FOLLOWED => emit::info(cookie, state, knows(&ctx)),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => over(&ctx, cookie, state),
        _ => {}
    }
    ON
}

/// Asks to be told of retransmissions and of the end; what others asked for stays.
#[inline(always)]
fn watch(ctx: &SockOpsContext, state: &mut SockState) {
    let flags = ctx.cb_flags() | BPF_SOCK_OPS_RETRANS_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG;
    if ctx.set_cb_flags(flags as i32).is_ok() {
        state.watched = 1;
    }
}

#[inline(always)]
fn over(ctx: &SockOpsContext, cookie: u64, state: &mut SockState) {
    if state.stage == STAGE_FOLLOWED {
        emit::closed(cookie, state, knows(ctx));
    }
    sock::release(cookie);
}

#[inline(always)]
fn knows(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the context is a bpf_sock_ops; these fields are readable in every call.
    unsafe { known((*ctx.ops).srtt_us, (*ctx.ops).total_retrans) }
}

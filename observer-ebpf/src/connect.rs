//! connect(), in the caller's context: the only place where a socket and its process meet.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use observer_common::sock::{Address, SockState};

use crate::{sock, task};

const ALLOW: i32 = 1;
const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;

/// connect() of an IPv4 socket.
#[cgroup_sock_addr(connect4)]
pub fn cgroup_connect4(ctx: SockAddrContext) -> i32 {
    let mut peer = address(&ctx, 4);
    // SAFETY: the context is a bpf_sock_addr; this field is readable for connect4.
    unsafe { (&raw mut peer.ip).cast::<u32>().write_unaligned((*ctx.sock_addr).user_ip4) };
    remember(&ctx, peer);
    ALLOW
}

/// connect() of an IPv6 socket.
#[cgroup_sock_addr(connect6)]
pub fn cgroup_connect6(ctx: SockAddrContext) -> i32 {
    let mut peer = address(&ctx, 6);
    // SAFETY: the context is a bpf_sock_addr; this field is readable for connect6.
    unsafe {
        let ip6 = &raw const (*ctx.sock_addr).user_ip6;
        let to = (&raw mut peer.ip).cast::<u32>();
        to.write_unaligned((*ip6)[0]);
        to.add(1).write_unaligned((*ip6)[1]);
        to.add(2).write_unaligned((*ip6)[2]);
        to.add(3).write_unaligned((*ip6)[3]);
    }
    remember(&ctx, peer);
    ALLOW
}

#[inline(always)]
fn address(ctx: &SockAddrContext, family: u16) -> Address {
    // SAFETY: the context is a bpf_sock_addr.
    let port = u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16);
    Address { ip: [0; 16], port, family }
}

#[inline(always)]
fn remember(ctx: &SockAddrContext, peer: Address) {
    // SAFETY: the context is a bpf_sock_addr.
    let (kind, protocol) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    let tgid = task::ids().0;
    if kind != SOCK_STREAM || protocol != IPPROTO_TCP || task::is_self(tgid) {
        return;
    }
    // SAFETY: the helpers take this context, and none.
    let (cookie, now) = unsafe { (bpf_get_socket_cookie(ctx.as_ptr()), bpf_ktime_get_boot_ns()) };
    let state = SockState {
        start_ns: task::start_ns(),
        connect_ns: now,
        open_ns: 0,
        stage: observer_common::sock::STAGE_NEW,
        tgid,
        peer,
        watched: 0,
        sent: 0,
        misses: 0,
        first: [0; 2],
        lost_from: [0; 2],
        lost_len: [0; 2],
        marks: [0; 2],
        numbers: 0,
        missed: 0,
    };
    sock::insert(cookie, &state);
}

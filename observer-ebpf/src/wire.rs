//! A few facts of TLS sockets: who connected where, that a ClientHello went out, how the connection ended.
//!
//! Why cgroup programs: stable UAPI on every kernel, no kprobe, no structure offsets. An untracked socket costs one look-up.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skb_load_bytes};
use aya_ebpf::macros::{cgroup_skb, cgroup_sock_addr};
use aya_ebpf::programs::{SkBuffContext, SockAddrContext};
use observer_common::limits::WIRE_RECORDS;
use observer_common::record::{ConnKey, DIR_READ, DIR_WRITE, FLAG_RST, Header, Kind, Peer, SockState, counter};

use crate::emit;
use crate::maps::{RING, SOCKS, count};
use crate::task;

const ALLOW: i32 = 1;
const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u8 = 6;
const TLS_CHANGE_CIPHER_SPEC: u8 = 20;
const TLS_HANDSHAKE: u8 = 22;
const TLS_APPLICATION_DATA: u8 = 23;
const RECORD_HEAD: u32 = 5;
/// Records looked at in one segment: ChangeCipherSpec, Finished, a request's head and the beginning of its body.
const SEGMENT_RECORDS: u32 = 4;

/// connect() of an IPv4 socket, in the caller's context.
#[cgroup_sock_addr(connect4)]
pub fn cgroup_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is a bpf_sock_addr; these fields are readable for connect4.
    unsafe {
        let addr = (*ctx.sock_addr).user_ip4;
        let mut peer = peer_of(&ctx, 4);
        (&raw mut peer.addr).cast::<u32>().write_unaligned(addr);
        remember(&ctx, peer);
    }
    ALLOW
}

/// connect() of an IPv6 socket, in the caller's context.
#[cgroup_sock_addr(connect6)]
pub fn cgroup_connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is a bpf_sock_addr; these fields are readable for connect6.
    unsafe {
        let ip6 = &raw const (*ctx.sock_addr).user_ip6;
        let mut peer = peer_of(&ctx, 6);
        let to = (&raw mut peer.addr).cast::<u32>();
        to.write_unaligned((*ip6)[0]);
        to.add(1).write_unaligned((*ip6)[1]);
        to.add(2).write_unaligned((*ip6)[2]);
        to.add(3).write_unaligned((*ip6)[3]);
        remember(&ctx, peer);
    }
    ALLOW
}

#[inline(always)]
fn peer_of(ctx: &SockAddrContext, family: u16) -> Peer {
    // SAFETY: the context is a bpf_sock_addr.
    let port = u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16);
    Peer { addr: [0; 16], port, family, tgid: task::ids().0 }
}

#[inline(always)]
fn remember(ctx: &SockAddrContext, peer: Peer) {
    // SAFETY: the context is a bpf_sock_addr.
    if unsafe { (*ctx.sock_addr).type_ } != SOCK_STREAM || task::is_self(peer.tgid) {
        return;
    }
    // SAFETY: the helper takes this context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let _ = SOCKS.insert(cookie, SockState { peer, hello: 0, reported: 0 }, 0);
}

/// Every outgoing packet of a socket.
#[cgroup_skb]
pub fn cgroup_egress(ctx: SkBuffContext) -> i32 {
    look(&ctx, DIR_WRITE);
    ALLOW
}

/// Every incoming packet of a socket.
#[cgroup_skb]
pub fn cgroup_ingress(ctx: SkBuffContext) -> i32 {
    look(&ctx, DIR_READ);
    ALLOW
}

#[inline(always)]
fn look(ctx: &SkBuffContext, dir: u8) {
    // SAFETY: the helper takes this context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let Some(sock) = SOCKS.get_ptr_mut(cookie) else { return };
    // SAFETY: a map value.
    let sock = unsafe { &mut *sock };
    let Some(tcp) = tcp_of(ctx) else { return };
    if dir == DIR_WRITE && tcp.payload < ctx.len() && sock.reported < WIRE_RECORDS {
        outgoing(ctx, cookie, sock, tcp.payload);
    }
    if tcp.flags & (FIN | RST) != 0 {
        if sock.hello != 0 {
            let flags = if tcp.flags & RST != 0 { FLAG_RST } else { 0 };
            tell(cookie, sock, Kind::WireEnd, dir, flags, 0);
        } else {
            let _ = SOCKS.remove(cookie);
        }
    }
}

/// The first segments with payload: is it TLS, and how long are its application-data records?
#[inline(always)]
fn outgoing(ctx: &SkBuffContext, cookie: u64, sock: &mut SockState, at: u32) {
    let Some(word) = load_u64(ctx, at) else { return };
    if sock.hello == 0 {
        if is_hello(word) {
            sock.hello = 1;
            tell(cookie, sock, Kind::Hello, DIR_WRITE, 0, record_len(word));
        } else {
            // Not TLS: this socket costs nothing more.
            let _ = SOCKS.remove(cookie);
        }
        return;
    }
    walk(ctx, cookie, sock, at);
}

/// Reports the application-data records of a segment. A client may send its handshake's end and its first request together
/// (Node does); in TLS 1.3 the record after the ChangeCipherSpec looks like application data and is the handshake's.
#[inline(always)]
fn walk(ctx: &SkBuffContext, cookie: u64, sock: &mut SockState, mut at: u32) {
    let mut finished = false;
    for _ in 0..SEGMENT_RECORDS {
        let Some(word) = load_u64(ctx, at) else { return };
        let kind = word as u8;
        if !(TLS_CHANGE_CIPHER_SPEC..=TLS_APPLICATION_DATA).contains(&kind) || (word >> 8) as u8 != 3 {
            return;
        }
        if kind == TLS_APPLICATION_DATA && !finished {
            sock.reported += 1;
            tell(cookie, sock, Kind::WireOut, DIR_WRITE, 0, record_len(word));
        }
        finished = kind == TLS_CHANGE_CIPHER_SPEC;
        at += RECORD_HEAD + record_len(word);
    }
}

/// Does a segment that begins with these bytes carry a ClientHello? Type, version (2), length (2), message type.
#[inline(always)]
fn is_hello(word: u64) -> bool {
    word as u8 == TLS_HANDSHAKE && (word >> 8) as u8 == 3 && (word >> 40) as u8 == 1
}

/// TLSPlaintext.length.
#[inline(always)]
fn record_len(word: u64) -> u32 {
    ((word >> 24) as u32 & 0xff) << 8 | (word >> 32) as u32 & 0xff
}

const FIN: u8 = 1;
const RST: u8 = 4;

struct Tcp {
    /// Offset of the payload in the packet.
    payload: u32,
    flags: u8,
}

/// The TCP header of an IPv4 or IPv6 packet (without extension headers), or `None`.
#[inline(always)]
fn tcp_of(ctx: &SkBuffContext) -> Option<Tcp> {
    let first = load_u8(ctx, 0)?;
    let (protocol, ip_len) = match first >> 4 {
        4 => (load_u8(ctx, 9)?, ((first & 15) as u32) * 4),
        6 => (load_u8(ctx, 6)?, 40),
        _ => return None,
    };
    if protocol != IPPROTO_TCP {
        return None;
    }
    let offset = load_u8(ctx, ip_len + 12)?;
    let flags = load_u8(ctx, ip_len + 13)?;
    Some(Tcp { payload: ip_len + ((offset >> 4) as u32) * 4, flags })
}

#[inline(always)]
fn load_u8(ctx: &SkBuffContext, at: u32) -> Option<u8> {
    let mut byte = 0u8;
    // SAFETY: the helper checks the bounds of the packet.
    let failed = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, (&raw mut byte).cast(), 1) };
    (failed == 0).then_some(byte)
}

#[inline(always)]
fn load_u64(ctx: &SkBuffContext, at: u32) -> Option<u64> {
    let mut word = 0u64;
    // SAFETY: as above.
    let failed = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, (&raw mut word).cast(), 8) };
    (failed == 0).then_some(word)
}

#[repr(C)]
struct PeerSlot {
    head: Header,
    peer: Peer,
}

#[inline(always)]
fn tell(cookie: u64, sock: &SockState, kind: Kind, dir: u8, flags: u8, length: u32) {
    let Some(mut entry) = RING.reserve::<PeerSlot>(0) else {
        count(counter::LOST_EVENTS, 1);
        return;
    };
    let slot = entry.as_mut_ptr();
    let key = ConnKey { handle: 0, start_ns: 0, tgid: sock.peer.tgid, generation: 0 };
    // SAFETY: reserved ring memory of this type.
    unsafe {
        let head = &raw mut (*slot).head;
        emit::fill(head, key, kind, dir, flags);
        (&raw mut (*head).aux).write(cookie);
        (&raw mut (*head).call_len).write(length);
        (&raw mut (*head).len).write(core::mem::size_of::<Peer>() as u32);
        (&raw mut (*slot).peer).write(sock.peer);
    }
    entry.submit(0);
}

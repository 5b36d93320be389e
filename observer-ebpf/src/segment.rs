//! Every packet of every socket passes here: those of sockets of interest go up, with their time of passing.
//!
//! Why cgroup programs: stable UAPI on every kernel, no kprobe, no structure offsets.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{bpf_sock, bpf_tcp_sock};
use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_sk_fullsock, bpf_tcp_sock as tcp_sock_of};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use observer_common::limits::MID_MISSES;
use observer_common::record::{DIR_READ, DIR_WRITE, Verdict};
use observer_common::sock::{
    LABEL, LABEL_KNOWN, LABELLED, MARK_FIN, MARK_SYN, MARK_ZERO_WINDOW, MOST_MISSED, NOTHING_KNOWN, NUMBERED,
    NUMBERED_ENOUGH, NUMBERED_MOST, RELABELLED, STAGE_FOLLOWED, STAGE_MID, STAGE_NEW, SockState, known,
};

use crate::emit::socket as emit;
use crate::packet::{self, FIN, RST, SYN, Tcp};
use crate::sock;

const ALLOW: i32 = 1;

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
    let Some((cookie, state)) = (unsafe { sock::of(ctx.as_ptr()) }) else { return };
    let Some(tcp) = packet::tcp(ctx) else { return };
    // SAFETY: a map value; the two directions write different parts of it.
    let state = unsafe { &mut *state };
    if state.stage == STAGE_FOLLOWED {
        follow(ctx, cookie, state, &tcp, dir);
    } else if tcp.flags & SYN != 0 {
        begin(state, &tcp, dir);
    } else if tcp.len > 0 {
        recognise(ctx, cookie, state, &tcp, dir);
    }
    end(cookie, state, &tcp, dir);
}

/// A SYN numbers its direction; the peer's is its consent.
#[inline(always)]
fn begin(state: &mut SockState, tcp: &Tcp, dir: u8) {
    let way = (dir & 1) as usize;
    state.first[way] = tcp.seq;
    state.marks[way] |= MARK_SYN;
    if dir == DIR_WRITE {
        state.sent = tcp.seq + 1;
    }
    if dir == DIR_READ && state.open_ns == 0 {
        // SAFETY: no preconditions.
        state.open_ns = unsafe { bpf_ktime_get_boot_ns() };
    }
}

/// The first payload decides: a client of HTTP or TLS speaks first, and its first word tells; only
/// a server of HTTP/2 may be faster. Others cost nothing from here on.
#[inline(always)]
fn recognise(ctx: &SkBuffContext, cookie: u64, state: &mut SockState, tcp: &Tcp, dir: u8) {
    let word = packet::load::<u64>(ctx, tcp.payload).unwrap_or(0);
    let ours = if dir == DIR_WRITE {
        asks(word) || greets_socks(ctx, tcp)
    } else if state.stage == STAGE_MID {
        answers(word)
    } else {
        greets(word)
    };
    if ours {
        if emit::opening(ctx, cookie, state, tcp, dir) {
            state.stage = STAGE_FOLLOWED;
            follow(ctx, cookie, state, tcp, dir);
        } else {
            // Its next request is another chance; the bytes of this one are lost, and counted.
            state.stage = STAGE_MID;
            emit::unannounced(tcp.len);
        }
    } else if state.stage == STAGE_NEW {
        sock::release(cookie);
    } else {
        state.misses += 1;
        if state.misses > MID_MISSES {
            sock::release(cookie);
        }
    }
}

#[inline(always)]
fn follow(ctx: &SkBuffContext, cookie: u64, state: &mut SockState, tcp: &Tcp, dir: u8) {
    let verdict = sock::verdict(cookie, state.sent);
    if verdict == Verdict::Ignore as u32 {
        sock::release(cookie);
        return;
    }
    let way = (dir & 1) as usize;
    if dir == DIR_READ {
        if tcp.family == 4 { number(ctx, state) } else { label(ctx, state) }
    }
    if dir == DIR_WRITE && tcp.len > 0 {
        let end = tcp.seq + tcp.len;
        if state.marks[way] & MARK_SYN == 0 || (end - state.sent) as i32 > 0 {
            state.sent = end;
            state.marks[way] |= MARK_SYN;
        }
    }
    let zero = if tcp.window == 0 && tcp.flags & RST == 0 { MARK_ZERO_WINDOW } else { 0 };
    let turned = state.marks[way] & MARK_ZERO_WINDOW != zero;
    state.marks[way] = state.marks[way] & !MARK_ZERO_WINDOW | zero;
    let silent = verdict == Verdict::Ends as u32 || (verdict == Verdict::Heads as u32 && dir == DIR_READ);
    if tcp.len > 0 && !silent {
        emit::segment(ctx, cookie, state, tcp, dir, knows(ctx));
    } else if turned || tcp.flags & (FIN | RST | SYN) != 0 {
        emit::bare_segment(cookie, state, tcp, dir, knows(ctx));
    }
}

/// Linux numbers the IPv4 packets of a connection one by one: a number left out is a packet that
/// was lost on the way. One left out costs trust, for a sender that numbers all its packets
/// together leaves out the most; on a path that loses every third packet, what comes in its turn
/// still wins.
#[inline(always)]
fn number(ctx: &SkBuffContext, state: &mut SockState) {
    let Some(id) = packet::load::<u16>(ctx, 4) else { return };
    let id = u32::from(u16::from_be(id));
    // SAFETY: the context is a __sk_buff. Packets put together on the way in count as many.
    let packets = unsafe { (*ctx.skb.skb).gso_segs }.max(1);
    let trust = state.numbers / NUMBERED;
    let ahead = (id - state.numbers) & 0xffff;
    let next = (id + packets) & 0xffff;
    if ahead == 0 {
        state.numbers = next | ((trust + 1).min(NUMBERED_MOST) * NUMBERED);
    } else if ahead < MOST_MISSED {
        if trust >= NUMBERED_ENOUGH {
            state.missed += ahead;
        }
        state.numbers = next | ((trust.max(1) - 1) * NUMBERED);
    } else if trust == 0 || ahead < 0xffff - MOST_MISSED {
        state.numbers = next;
    }
    // Else it is a late one: that can be told only of numbers that are trusted.
}

/// IPv6 has no numbers. But Linux takes another flow label when its timer ran out: what it sends
/// then had been lost before. A sender that labels each packet otherwise is not believed.
#[inline(always)]
fn label(ctx: &SkBuffContext, state: &mut SockState) {
    let Some(word) = packet::load::<u32>(ctx, 0) else { return };
    let label = u32::from_be(word) & LABEL | LABEL_KNOWN;
    let known = state.numbers & !LABELLED;
    if label == known {
        state.numbers = label | LABELLED;
        return;
    }
    if state.numbers & LABELLED != 0 {
        state.missed |= RELABELLED;
    }
    state.numbers = label;
}

/// A socket whose end `sock_ops` does not tell is over with its reset, or with both ends.
#[inline(always)]
fn end(cookie: u64, state: &mut SockState, tcp: &Tcp, dir: u8) {
    let way = (dir & 1) as usize;
    if tcp.flags & FIN != 0 {
        state.marks[way] |= MARK_FIN;
    }
    let over = tcp.flags & RST != 0 || state.marks[0] & state.marks[1] & MARK_FIN != 0;
    if state.watched == 0 && over {
        if state.stage == STAGE_FOLLOWED {
            emit::closed(cookie, state, NOTHING_KNOWN);
        }
        sock::release(cookie);
    }
}

/// Does what a client says begin like an HTTP request (or HTTP/2's preface), or with a TLS record?
#[inline(always)]
fn asks(word: u64) -> bool {
    let four = word as u32;
    tls(word)
        || four == u32::from_le_bytes(*b"POST")
        || four == u32::from_le_bytes(*b"GET ")
        || four == u32::from_le_bytes(*b"PRI ")
        || four == u32::from_le_bytes(*b"PUT ")
        || four == u32::from_le_bytes(*b"HEAD")
        || four == u32::from_le_bytes(*b"OPTI")
        || four == u32::from_le_bytes(*b"DELE")
        || four == u32::from_le_bytes(*b"PATC")
        || four == u32::from_le_bytes(*b"CONN")
}

/// Is what a server says first a SETTINGS frame of HTTP/2 (gRPC's servers do not wait for the
/// client's preface)? Fewer than 256 bytes, no flag, no stream.
#[inline(always)]
fn greets(word: u64) -> bool {
    word & !0x00ff_0000 == 0x0400_0000
}

/// SOCKS5: the version, the number of ways to authenticate, and the ways.
#[inline(always)]
fn greets_socks(ctx: &SkBuffContext, tcp: &Tcp) -> bool {
    // Shorter than a word.
    let Some(two) = packet::load::<u16>(ctx, tcp.payload) else { return false };
    let [version, ways] = two.to_le_bytes();
    version == 5 && ways > 0 && tcp.len == 2 + u32::from(ways)
}

/// Does what a server says in the middle look like an answer: TLS, a head, an event, or an HTTP chunk of such?
#[inline(always)]
fn answers(word: u64) -> bool {
    let four = word as u32;
    tls(word)
        || four == u32::from_le_bytes(*b"HTTP")
        || four == u32::from_le_bytes(*b"data")
        || four == u32::from_le_bytes(*b"even")
        || chunk(word)
}

/// A size of up to five hexadecimal digits and an end of line.
#[inline(always)]
fn chunk(mut word: u64) -> bool {
    for digits in 0..6 {
        let byte = word as u8;
        if byte == b'\r' {
            return digits > 0 && (word >> 8) as u8 == b'\n';
        }
        if !byte.is_ascii_hexdigit() {
            return false;
        }
        word >>= 8;
    }
    false
}

/// The type and version of a TLS record.
#[inline(always)]
fn tls(word: u64) -> bool {
    let kind = word as u8;
    (20..=23).contains(&kind) && (word >> 8) as u8 == 3
}

/// What the kernel's TCP knows of the socket: see `sock::known`.
#[inline(always)]
fn knows(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the context's socket may be null; each helper is given what the one before made sure of.
    unsafe {
        let sk: *mut bpf_sock = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return NOTHING_KNOWN;
        }
        let full = bpf_sk_fullsock(sk);
        if full.is_null() {
            return NOTHING_KNOWN;
        }
        let tcp: *mut bpf_tcp_sock = tcp_sock_of(full);
        if tcp.is_null() {
            return NOTHING_KNOWN;
        }
        known((*tcp).srtt_us, (*tcp).total_retrans)
    }
}

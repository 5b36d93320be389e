//! A packet's IP and TCP heads.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::SkBuffContext;
use observer_common::sock::Address;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;

const TCP: u8 = 6;
/// IPv6 extension heads looked through before the packet is not understood; more than two are hardly ever seen.
const EXTENSIONS: u32 = 6;

/// What matters of a TCP segment.
#[derive(Clone, Copy)]
pub(crate) struct Tcp {
    /// IP version.
    pub(crate) family: u16,
    /// Where its addresses begin in the packet.
    pub(crate) addresses: u32,
    /// Where its TCP head begins.
    pub(crate) head: u32,
    /// Where its payload begins, and its bytes.
    pub(crate) payload: u32,
    pub(crate) len: u32,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
}

/// The heads of a packet, or `None` if it is no TCP segment (or a fragment of one).
#[inline(always)]
pub(crate) fn tcp(ctx: &SkBuffContext) -> Option<Tcp> {
    let first = load::<u8>(ctx, 0)?;
    let (family, addresses, head) = match first >> 4 {
        4 => (4, 12, ipv4(ctx, first)?),
        6 => (6, 8, ipv6(ctx)?),
        _ => return None,
    };
    // Sequence number and acknowledgement, offset, flags and window.
    let (seq, ack) = (u32::from_be(load(ctx, head + 4)?), u32::from_be(load(ctx, head + 8)?));
    let word = u32::from_be(load(ctx, head + 12)?);
    let payload = head + (word >> 28) * 4;
    let len = ctx.len();
    if payload > len {
        return None;
    }
    Some(Tcp {
        family,
        addresses,
        head,
        payload,
        len: len - payload,
        seq,
        ack,
        flags: (word >> 16) as u8,
        window: word as u16,
    })
}

#[inline(always)]
fn ipv4(ctx: &SkBuffContext, first: u8) -> Option<u32> {
    let fragment = u16::from_be(load(ctx, 6)?) & 0x3fff;
    (load::<u8>(ctx, 9)? == TCP && fragment == 0).then_some(((first & 15) as u32) * 4)
}

/// Looks through hop-by-hop (BIG TCP has one), routing and destination options. A fragment is not looked into.
#[inline(always)]
fn ipv6(ctx: &SkBuffContext) -> Option<u32> {
    let (mut next, mut at) = (load::<u8>(ctx, 6)?, 40u32);
    for _ in 0..EXTENSIONS {
        match next {
            TCP => return Some(at),
            0 | 43 | 60 => {
                let both = u16::from_be(load(ctx, at)?);
                next = (both >> 8) as u8;
                at += ((both & 0xff) as u32 + 1) * 8;
            }
            _ => return None,
        }
    }
    None
}

/// This side's address: the source of what goes out, else the destination.
#[inline(always)]
pub(crate) fn local(ctx: &SkBuffContext, tcp: &Tcp, outgoing: bool, to: *mut Address) {
    let size = if tcp.family == 4 { 4 } else { 16 };
    let (at, port) = if outgoing { (tcp.addresses, tcp.head) } else { (tcp.addresses + size, tcp.head + 2) };
    // SAFETY: the caller gives writable memory of this type; the helper checks the packet's bounds.
    unsafe {
        let ip = (&raw mut (*to).ip).cast::<core::ffi::c_void>();
        if tcp.family == 4 {
            bpf_skb_load_bytes(ctx.as_ptr(), at, ip, 4);
        } else {
            bpf_skb_load_bytes(ctx.as_ptr(), at, ip, 16);
        }
        (*to).port = u16::from_be(load(ctx, port).unwrap_or(0));
        (*to).family = tcp.family;
    }
}

/// A number of the packet, as it lies there.
#[inline(always)]
pub(crate) fn load<T: Copy + Default>(ctx: &SkBuffContext, at: u32) -> Option<T> {
    let mut value = T::default();
    // SAFETY: the helper checks the bounds of the packet; `value` has the size it is told.
    let failed =
        unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, (&raw mut value).cast(), core::mem::size_of::<T>() as u32) };
    (failed == 0).then_some(value)
}

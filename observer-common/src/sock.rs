//! What both sides know of a TCP socket.

use crate::limits::{SOCK_MARKS, SOCK_VERDICT_SLOTS};
use crate::record::Verdict;

/// An end of a TCP connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// IPv4 in the first four bytes, or IPv6; network order.
    pub ip: [u8; 16],
    /// Host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u16,
}

impl From<core::net::SocketAddr> for Address {
    fn from(addr: core::net::SocketAddr) -> Self {
        let mut ip = [0; 16];
        let family = match addr {
            core::net::SocketAddr::V4(v4) => {
                for (to, from) in ip.iter_mut().zip(v4.ip().octets()) {
                    *to = from;
                }
                4
            }
            core::net::SocketAddr::V6(v6) => {
                ip = v6.ip().octets();
                6
            }
        };
        Address { ip, port: addr.port(), family }
    }
}

/// Nothing that the application said was recognised yet.
pub const STAGE_NEW: u32 = 0;
/// The same, of a socket that was open before: its requests may begin with any segment.
pub const STAGE_MID: u32 = 1;
/// Its segments go up.
pub const STAGE_FOLLOWED: u32 = 2;

/// `SockState::marks`: the direction's SYN was seen, and its sequence number is `first`.
pub const MARK_SYN: u32 = 1;
/// `SockState::marks`: the direction's FIN was seen.
pub const MARK_FIN: u32 = 2;
/// `SockState::marks`: the direction's sender has no room to receive.
pub const MARK_ZERO_WINDOW: u32 = 4;

/// What the kernel keeps of a TCP socket that may be of interest: one that connected, from
/// connect() to the end. Its two directions may run on two CPUs at once: each writes its own half
/// of the pairs (indices `DIR_READ`, `DIR_WRITE`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SockState {
    /// Start of the process that connected it.
    pub start_ns: u64,
    /// When it called connect(); 0: not seen.
    pub connect_ns: u64,
    /// When the peer agreed; 0: not seen.
    pub open_ns: u64,
    /// `STAGE_*`.
    pub stage: u32,
    /// That process.
    pub tgid: u32,
    /// Where it connected to, as the application said it.
    pub peer: Address,
    /// 1: the end of the socket is told by `sock_ops`; else by its last segments.
    pub watched: u32,
    /// Sequence number behind the last byte that the application sent.
    pub sent: u32,
    /// Segments that began like nothing of ours (`STAGE_MID`).
    pub misses: u32,
    /// Sequence number of each direction's SYN.
    pub first: [u32; 2],
    /// What each direction lost to a full ring and has not told yet: sequence number, bytes.
    pub lost_from: [u32; 2],
    pub lost_len: [u32; 2],
    /// `MARK_*` of each direction.
    pub marks: [u32; 2],
    /// The peer's IPv4 packets: the next one's number, and above it (`NUMBERED`) how far such
    /// numbers are trusted. Of IPv6: the flow label, and above it (`LABELLED`) whether it has held
    /// for more than one packet.
    pub numbers: u32,
    /// Packets that never came, not told yet; `RELABELLED`.
    pub missed: u32,
}

/// A packet that came in its turn, in `SockState::numbers`: each adds one, each number left out takes one.
pub const NUMBERED: u32 = 1 << 16;

/// With so much trust a number left out is a packet that was lost. Two packets in a row are enough:
/// numbers at random follow each other once in 65,536, and a path may die right after the
/// handshake.
pub const NUMBERED_ENOUGH: u32 = 1;

/// Trust grows no further, so that a sender that changes its way loses it soon.
pub const NUMBERED_MOST: u32 = 8;

/// More than so many left out at once are no loss, but another way of numbering.
pub const MOST_MISSED: u32 = 1024;

/// The bits of an IPv6 flow label, in `SockState::numbers`.
pub const LABEL: u32 = 0xf_ffff;
/// `SockState::numbers`: a label is known.
pub const LABEL_KNOWN: u32 = 1 << 30;
/// `SockState::numbers`: it has held, so that a change means something.
pub const LABELLED: u32 = 1 << 31;

/// `SockState::missed`, and where a segment tells it: the peer has changed its flow label, as Linux
/// does when its timer ran out (`sk_rethink_txhash`), to try another path.
pub const RELABELLED: u32 = 1 << 31;

/// Payload of a `SockOpen` record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    /// When connect() was called; 0: not known.
    pub connect_ns: u64,
    /// When the peer agreed; 0: not known.
    pub open_ns: u64,
    /// The other end.
    pub peer: Address,
    /// This end.
    pub local: Address,
    /// Sequence number of each direction's SYN, known if `MARK_SYN` is in `marks`.
    pub first: [u32; 2],
    /// `MARK_*` of each direction.
    pub marks: [u32; 2],
    /// `STAGE_NEW` or `STAGE_MID`: how it was come to.
    pub stage: u32,
    /// Unused, zero.
    pub reserved: u32,
}

const _: () = assert!(core::mem::size_of::<Address>() == 20);
const _: () = assert!(core::mem::size_of::<SockState>() == 104);
const _: () = assert!(core::mem::size_of::<Opening>() == 80);

/// `Header::aux` of a segment where the kernel's TCP told nothing.
pub const NOTHING_KNOWN: u64 = u64::MAX;

/// What the kernel's TCP knows, as one word: smoothed round-trip time in microseconds (times 8, the
/// kernel's own unit), and segments sent again since the birth.
#[must_use]
#[inline(always)]
pub fn known(srtt_us_8: u32, retransmits: u32) -> u64 {
    srtt_us_8 as u64 | (retransmits as u64) << 32
}

/// The lower and the upper half of a word.
#[must_use]
#[inline(always)]
pub fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// The mark that stands for a socket, among others.
#[must_use]
#[inline(always)]
pub fn mark(cookie: u64) -> u32 {
    cookie as u32 & (SOCK_MARKS - 1)
}

/// The slot of a socket's verdict, in an array: user space writes one word without racing the kernel's own state, and a
/// collision only means `Unknown`.
#[must_use]
#[inline(always)]
pub fn verdict_slot(cookie: u64) -> u32 {
    cookie as u32 & (SOCK_VERDICT_SLOTS - 1)
}

/// The word in a socket's verdict slot. `sent`: sequence number up to which the daemon had seen
/// what the application sent.
#[must_use]
pub fn verdict_word(cookie: u64, verdict: Verdict, sent: u32) -> u64 {
    (cookie & 0xffff_ffff) << 32 | (sent as u64) << 3 & 0xffff_fff8 | verdict as u64
}

/// The verdict of a slot's word, for a socket whose application has sent up to `sent`: `Heads`
/// holds until it sends more.
#[must_use]
#[inline(always)]
pub fn verdict_of(word: u64, cookie: u64, sent: u32) -> u32 {
    let verdict = word as u32 & 7;
    let stale = verdict == Verdict::Heads as u32 && word as u32 >> 3 != sent & 0x1fff_ffff;
    if (word >> 32) as u32 != cookie as u32 || stale { Verdict::Unknown as u32 } else { verdict }
}

//! Ring records to what they say. The bytes come from our own programs, and are checked all the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use observer_common::record::{
    ConnKey, DIR_READ, DIR_WRITE, FLAG_BORN, FLAG_EX, FLAG_FAULT, FLAG_FIN, FLAG_NO_ROOM, FLAG_RST, FLAG_TRUNCATED,
    FLAG_ZERO_WINDOW, HEADER_LEN, Header, Kind,
};
use observer_common::sock::{Address, MARK_SYN, NOTHING_KNOWN, Opening, RELABELLED, STAGE_NEW, halves};

use capture::record::{SockOpen, SocketCookie, SocketOrigin, TcpSegment, TlsData};
use capture::units::{Direction, LossCause, Ns};

/// A record of the ring.
#[derive(Clone, Copy, Debug)]
pub(super) enum RingRecord<'a> {
    Data {
        data: TlsData<'a>,
        /// What the caller asked for: no right call moves more.
        asked: u64,
        /// The length came through a pointer.
        ex: bool,
    },
    Open {
        conn: ConnKey,
        at: Ns,
    },
    Shutdown {
        conn: ConnKey,
        at: Ns,
    },
    Close {
        conn: ConnKey,
        at: Ns,
        read_pos: u64,
        write_pos: u64,
    },
    ReadEnd {
        conn: ConnKey,
        at: Ns,
    },
    Exit {
        tgid: u32,
        at: Ns,
    },
    SockOpen {
        open: SockOpen,
        /// Sequence numbers of the SYNs, by `DIR_READ` and `DIR_WRITE`, where they were seen.
        syns: [Option<u32>; 2],
    },
    Segment {
        segment: TcpSegment<'a>,
        owner: SocketOwner,
        known: KnownTcpState,
    },
    SockInfo {
        sock: SocketCookie,
        at: Ns,
        known: KnownTcpState,
    },
    SockClose {
        sock: SocketCookie,
        at: Ns,
        known: KnownTcpState,
    },
}

impl RingRecord<'_> {
    /// Its stamp.
    pub(super) fn at(&self) -> Ns {
        match self {
            RingRecord::Data { data, .. } => data.at,
            RingRecord::SockOpen { open, .. } => open.at,
            RingRecord::Segment { segment, .. } => segment.at,
            RingRecord::Open { at, .. }
            | RingRecord::Shutdown { at, .. }
            | RingRecord::Close { at, .. }
            | RingRecord::ReadEnd { at, .. }
            | RingRecord::Exit { at, .. }
            | RingRecord::SockInfo { at, .. }
            | RingRecord::SockClose { at, .. } => *at,
        }
    }
}

/// The process of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketOwner {
    pub tgid: u32,
    pub start_ns: u64,
}

/// What the kernel's TCP knows of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownTcpState {
    pub srtt_us: Option<u32>,
    pub retransmits: Option<u32>,
}

/// Decodes one record; `None` if it is not one of ours.
#[must_use]
pub(super) fn decode(bytes: &[u8]) -> Option<RingRecord<'_>> {
    let head = header(bytes)?;
    let at = Ns(head.stamp_ns);
    let payload = bytes.get(HEADER_LEN..HEADER_LEN + head.len as usize)?;
    Some(match Kind::from_u8(head.kind)? {
        Kind::Data => RingRecord::Data { data: data(&head, payload), asked: head.aux, ex: head.flags & FLAG_EX != 0 },
        Kind::Open => RingRecord::Open { conn: head.conn, at },
        Kind::Shutdown => RingRecord::Shutdown { conn: head.conn, at },
        Kind::Close => RingRecord::Close { conn: head.conn, at, read_pos: head.pos, write_pos: head.aux },
        Kind::ReadEnd => RingRecord::ReadEnd { conn: head.conn, at },
        Kind::Exit => RingRecord::Exit { tgid: head.conn.tgid, at },
        Kind::SockOpen => sock_open(&head, payload)?,
        Kind::Segment => RingRecord::Segment {
            segment: segment(&head, payload),
            owner: SocketOwner { tgid: head.conn.tgid, start_ns: head.conn.start_ns },
            known: known(head.aux),
        },
        Kind::SockInfo => RingRecord::SockInfo { sock: SocketCookie(head.conn.handle), at, known: known(head.aux) },
        Kind::SockClose => RingRecord::SockClose { sock: SocketCookie(head.conn.handle), at, known: known(head.aux) },
    })
}

fn sock_open<'a>(head: &Header, payload: &[u8]) -> Option<RingRecord<'a>> {
    let raw: &[u8; size_of::<Opening>()] = payload.get(..size_of::<Opening>())?.try_into().ok()?;
    // SAFETY: `Opening` is repr(C) without padding and every bit pattern is valid.
    let opening: Opening = unsafe { std::mem::transmute_copy(raw) };
    let when = |ns: u64| (ns != 0).then_some(Ns(ns));
    let open = SockOpen {
        sock: SocketCookie(head.conn.handle),
        tgid: head.conn.tgid,
        start_ns: head.conn.start_ns,
        local: socket_addr(&opening.local),
        peer: socket_addr(&opening.peer)?,
        at: when(opening.open_ns).unwrap_or(Ns(head.stamp_ns)),
        connect_at: when(opening.connect_ns),
        attach: if opening.stage == STAGE_NEW { SocketOrigin::Born } else { SocketOrigin::Mid },
    };
    let syn = |way: usize| {
        let seen =
            opening.marks.get(way).is_some_and(|marks| marks & MARK_SYN != 0) && open.attach == SocketOrigin::Born;
        opening.first.get(way).copied().filter(|_| seen)
    };
    Some(RingRecord::SockOpen { open, syns: [syn(usize::from(DIR_READ)), syn(usize::from(DIR_WRITE))] })
}

fn socket_addr(address: &Address) -> Option<SocketAddr> {
    let [a, b, c, d, ..] = address.ip;
    let ip = match address.family {
        4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        6 => IpAddr::V6(Ipv6Addr::from(address.ip)),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), address.port))
}

fn segment<'a>(head: &Header, bytes: &'a [u8]) -> TcpSegment<'a> {
    let flag = |flag: u8| head.flags & flag != 0;
    let lost =
        [(FLAG_FAULT, LossCause::Fault), (FLAG_NO_ROOM, LossCause::RingFull), (FLAG_TRUNCATED, LossCause::Truncated)];
    TcpSegment {
        sock: SocketCookie(head.conn.handle),
        direction: direction(head.dir),
        at: Ns(head.stamp_ns),
        seq: halves(head.pos).0,
        len: head.call_len,
        syn: false,
        fin: flag(FLAG_FIN),
        rst: flag(FLAG_RST),
        zero_window: flag(FLAG_ZERO_WINDOW),
        ack: (!flag(FLAG_RST)).then(|| halves(head.pos).1),
        missed: head.offset & !RELABELLED,
        timed_out: head.offset & RELABELLED != 0,
        bytes,
        lost: lost.into_iter().find(|(bit, _)| flag(*bit)).map(|(_, cause)| cause),
    }
}

fn known(aux: u64) -> KnownTcpState {
    if aux == NOTHING_KNOWN {
        return KnownTcpState::default();
    }
    // The kernel counts eighths of a microsecond; 0 before the first measurement.
    let (eighths, retransmits) = halves(aux);
    KnownTcpState { srtt_us: (eighths >= 8).then_some(eighths / 8), retransmits: Some(retransmits) }
}

fn direction(dir: u8) -> Direction {
    if dir == DIR_READ { Direction::Read } else { Direction::Write }
}

fn data<'a>(head: &Header, bytes: &'a [u8]) -> TlsData<'a> {
    let lost = if head.flags & FLAG_FAULT != 0 {
        Some(LossCause::Fault)
    } else {
        (head.flags & FLAG_TRUNCATED != 0).then_some(LossCause::Truncated)
    };
    TlsData {
        conn: head.conn,
        direction: direction(head.dir),
        at: Ns(head.stamp_ns),
        entered: Ns(head.entered_ns),
        pos: head.pos,
        call_len: head.call_len,
        offset: head.offset,
        born: head.flags & FLAG_BORN != 0,
        lost,
        bytes,
    }
}

fn header(bytes: &[u8]) -> Option<Header> {
    let raw: &[u8; HEADER_LEN] = bytes.get(..HEADER_LEN)?.try_into().ok()?;
    // SAFETY: `Header` is repr(C) without padding and every bit pattern is valid.
    Some(unsafe { std::mem::transmute_copy(raw) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_long_and_unknown_records_are_refused() {
        assert!(decode(&[]).is_none());
        assert!(decode(&[0; HEADER_LEN - 1]).is_none());
        assert!(decode(&[0; HEADER_LEN]).is_none(), "kind 0");
        let mut record = [0u8; HEADER_LEN + 4];
        record[72] = Kind::Data as u8;
        record[64..68].copy_from_slice(&5u32.to_ne_bytes());
        assert!(decode(&record).is_none(), "the payload is shorter than it says");
        record[64..68].copy_from_slice(&4u32.to_ne_bytes());
        assert!(matches!(decode(&record), Some(RingRecord::Data { data, .. }) if data.bytes.len() == 4));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1u64;
        for _ in 0..5000 {
            let record: Vec<u8> = (0..120)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_be_bytes()[0]
                })
                .collect();
            let _ = decode(&record);
        }
    }
}

//! Ring records to what they say. The bytes come from our own programs, and are checked all the same.

use observer_common::record::{
    ConnKey, DIR_READ, FLAG_BORN, FLAG_EX, FLAG_FAULT, FLAG_RST, FLAG_TRUNCATED, HEADER_LEN, Header, Kind, Peer,
};

use crate::record::Data;
use crate::units::{Direction, LossCause, Ns};

/// A record of the ring.
#[derive(Clone, Copy, Debug)]
pub enum Raw<'a> {
    Data {
        data: Data<'a>,
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
    Wire {
        cookie: u64,
        at: Ns,
        peer: Peer,
        what: Wire,
    },
}

/// What a TLS socket did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Sent a ClientHello.
    Hello,
    /// Sent a TLS record of application data; its length, header excluded.
    Out { record: u32 },
    /// FIN or RST, by whom.
    End { by_peer: bool, reset: bool },
}

/// Decodes one record; `None` if it is not one of ours.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Raw<'_>> {
    let head = header(bytes)?;
    let at = Ns(head.stamp_ns);
    let payload = bytes.get(HEADER_LEN..HEADER_LEN + head.len as usize)?;
    Some(match Kind::from_u8(head.kind)? {
        Kind::Data => Raw::Data { data: data(&head, payload), asked: head.aux, ex: head.flags & FLAG_EX != 0 },
        Kind::Open => Raw::Open { conn: head.conn, at },
        Kind::Shutdown => Raw::Shutdown { conn: head.conn, at },
        Kind::Close => Raw::Close { conn: head.conn, at, read_pos: head.pos, write_pos: head.aux },
        Kind::ReadEnd => Raw::ReadEnd { conn: head.conn, at },
        Kind::Exit => Raw::Exit { tgid: head.conn.tgid, at },
        kind @ (Kind::Hello | Kind::WireOut | Kind::WireEnd) => {
            let what = match kind {
                Kind::Hello => Wire::Hello,
                Kind::WireOut => Wire::Out { record: head.call_len },
                _ => Wire::End { by_peer: head.dir == DIR_READ, reset: head.flags & FLAG_RST != 0 },
            };
            Raw::Wire { cookie: head.aux, at, peer: peer(payload)?, what }
        }
    })
}

fn data<'a>(head: &Header, bytes: &'a [u8]) -> Data<'a> {
    let lost = if head.flags & FLAG_FAULT != 0 {
        Some(LossCause::Fault)
    } else {
        (head.flags & FLAG_TRUNCATED != 0).then_some(LossCause::Truncated)
    };
    Data {
        conn: head.conn,
        direction: if head.dir == DIR_READ { Direction::Read } else { Direction::Write },
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

fn peer(payload: &[u8]) -> Option<Peer> {
    let raw: &[u8; size_of::<Peer>()] = payload.get(..size_of::<Peer>())?.try_into().ok()?;
    // SAFETY: as above.
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
        assert!(matches!(decode(&record), Some(Raw::Data { data, .. }) if data.bytes.len() == 4));
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

//! The records of sockets, to bytes and back.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::read::{FrameFields, left_out};
use super::write::cause_index;
use super::{
    FLAG_BORN, FLAG_CONNECTED, FLAG_FIN, FLAG_LOCAL, FLAG_LOST, FLAG_PAYLOAD, FLAG_RETRANSMITS, FLAG_RST, FLAG_SRTT,
    FLAG_SYN, FLAG_TIMED_OUT, FLAG_ZERO_WINDOW,
};
use capture::record::{
    PairingConfidence, PairingMethod, SockInfo, SockOpen, SocketCookie, SocketOrigin, TcpSegment, TlsSocketPairing,
};
use capture::units::{Direction, Ns};

pub(super) fn put_addr(addr: &SocketAddr, body: &mut Vec<u8>) {
    let ip = match addr.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    body.extend_from_slice(&ip.octets());
    body.extend_from_slice(&addr.port().to_le_bytes());
}

pub(super) fn addr(fields: &mut FrameFields<'_>) -> Option<SocketAddr> {
    let ip = Ipv6Addr::from(fields.array::<16>()?);
    Some(SocketAddr::new(ip.to_canonical(), fields.u16()?))
}

pub(super) fn put_joined(joined: &TlsSocketPairing, body: &mut Vec<u8>) {
    super::write::key(&joined.conn, body);
    body.extend_from_slice(&joined.sock.0.to_le_bytes());
    put_addr(&joined.peer, body);
    let method = PairingMethod::ALL.iter().position(|&method| method == joined.method).unwrap_or(0);
    body.push(u8::try_from(method).unwrap_or(0));
    body.push(u8::from(joined.confidence == PairingConfidence::High));
}

/// A method of a later version is one that we know nothing of: the frame is damaged.
pub(super) fn joined(fields: &mut FrameFields<'_>) -> Option<TlsSocketPairing> {
    Some(TlsSocketPairing {
        conn: fields.conn()?,
        sock: SocketCookie(fields.u64()?),
        peer: addr(fields)?,
        method: PairingMethod::ALL.get(usize::from(fields.u8()?)).copied()?,
        confidence: if fields.u8()? == 0 { PairingConfidence::Low } else { PairingConfidence::High },
    })
}

pub(super) fn put_open(open: &SockOpen, body: &mut Vec<u8>) {
    body.extend_from_slice(&open.sock.0.to_le_bytes());
    body.extend_from_slice(&open.tgid.to_le_bytes());
    body.extend_from_slice(&open.start_ns.to_le_bytes());
    body.push(
        flag(open.attach == SocketOrigin::Born, FLAG_BORN)
            | flag(open.local.is_some(), FLAG_LOCAL)
            | flag(open.connect_at.is_some(), FLAG_CONNECTED),
    );
    body.extend_from_slice(&open.at.0.to_le_bytes());
    body.extend_from_slice(&open.connect_at.unwrap_or_default().0.to_le_bytes());
    put_addr(&open.peer, body);
    if let Some(local) = &open.local {
        put_addr(local, body);
    }
}

pub(super) fn open(fields: &mut FrameFields<'_>) -> Option<SockOpen> {
    let (sock, tgid, start_ns) = (SocketCookie(fields.u64()?), fields.u32()?, fields.u64()?);
    let flags = fields.u8()?;
    let (at, connect_at, peer) = (fields.ns()?, fields.ns()?, addr(fields)?);
    Some(SockOpen {
        sock,
        tgid,
        start_ns,
        local: if flags & FLAG_LOCAL != 0 { Some(addr(fields)?) } else { None },
        peer,
        at,
        connect_at: (flags & FLAG_CONNECTED != 0).then_some(connect_at),
        attach: if flags & FLAG_BORN != 0 { SocketOrigin::Born } else { SocketOrigin::Mid },
    })
}

pub(super) fn put_segment(segment: &TcpSegment<'_>, with_payload: bool, body: &mut Vec<u8>) {
    body.extend_from_slice(&segment.sock.0.to_le_bytes());
    body.push(flag(segment.direction == Direction::Write, 1));
    body.push(
        flag(segment.lost.is_some(), FLAG_LOST)
            | flag(with_payload, FLAG_PAYLOAD)
            | flag(segment.syn, FLAG_SYN)
            | flag(segment.fin, FLAG_FIN)
            | flag(segment.rst, FLAG_RST)
            | flag(segment.zero_window, FLAG_ZERO_WINDOW)
            | flag(segment.timed_out, FLAG_TIMED_OUT),
    );
    body.push(cause_index(segment.lost));
    body.extend_from_slice(&segment.at.0.to_le_bytes());
    for n in [segment.seq, segment.len, u32::try_from(segment.bytes.len()).unwrap_or(u32::MAX)] {
        body.extend_from_slice(&n.to_le_bytes());
    }
    if with_payload {
        body.extend_from_slice(segment.bytes);
    }
    body.push(flag(segment.ack.is_some(), 1));
    for n in [segment.ack.unwrap_or(0), segment.missed] {
        body.extend_from_slice(&n.to_le_bytes());
    }
}

/// Bytes left out of the recording are missing for that reason.
pub(super) fn segment<'a>(fields: &mut FrameFields<'a>) -> Option<TcpSegment<'a>> {
    let sock = SocketCookie(fields.u64()?);
    let direction = if fields.u8()? == 0 { Direction::Read } else { Direction::Write };
    let (flags, cause, at) = (fields.u8()?, fields.u8()?, fields.ns()?);
    let (seq, len, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (bytes, lost) = left_out(fields, flags, cause, size)?;
    // The first recordings do not say.
    let told = fields.u8().is_some_and(|told| told != 0);
    let (ack, missed) = (fields.u32().filter(|_| told), fields.u32().unwrap_or(0));
    Some(TcpSegment {
        sock,
        direction,
        at,
        seq,
        len,
        syn: flags & FLAG_SYN != 0,
        fin: flags & FLAG_FIN != 0,
        rst: flags & FLAG_RST != 0,
        zero_window: flags & FLAG_ZERO_WINDOW != 0,
        ack,
        missed,
        timed_out: flags & FLAG_TIMED_OUT != 0,
        bytes,
        lost,
    })
}

pub(super) fn put_info(info: &SockInfo, body: &mut Vec<u8>) {
    put_close(info.sock, info.at, body);
    body.push(flag(info.srtt_us.is_some(), FLAG_SRTT) | flag(info.retransmits.is_some(), FLAG_RETRANSMITS));
    for n in [info.srtt_us, info.retransmits] {
        body.extend_from_slice(&n.unwrap_or(0).to_le_bytes());
    }
}

pub(super) fn info(fields: &mut FrameFields<'_>) -> Option<SockInfo> {
    let (sock, at) = close(fields)?;
    let flags = fields.u8()?;
    let (srtt_us, retransmits) = (fields.u32()?, fields.u32()?);
    Some(SockInfo {
        sock,
        at,
        srtt_us: (flags & FLAG_SRTT != 0).then_some(srtt_us),
        retransmits: (flags & FLAG_RETRANSMITS != 0).then_some(retransmits),
    })
}

pub(super) fn put_close(sock: SocketCookie, at: Ns, body: &mut Vec<u8>) {
    body.extend_from_slice(&sock.0.to_le_bytes());
    body.extend_from_slice(&at.0.to_le_bytes());
}

pub(super) fn close(fields: &mut FrameFields<'_>) -> Option<(SocketCookie, Ns)> {
    Some((SocketCookie(fields.u64()?), fields.ns()?))
}

fn flag(on: bool, flag: u8) -> u8 {
    if on { flag } else { 0 }
}

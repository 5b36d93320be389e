//! Followed sockets as the edge knows them: which records are emitted of them and how often, what the pairing of
//! both layers needs of those that carry TLS, and their verdicts.

use std::collections::HashMap;

use observer_common::record::Verdict;
use observer_common::sock::verdict_word;

use super::pairing::{SocketPairing, SocketPeer, WireEvent};
use super::ring::KnownTcpState;
use capture::conn::tunnel;
use capture::limits;
use capture::record::{Record, SockInfo, SockOpen, SocketCookie, SocketOrigin, TcpSegment};
use capture::units::{Direction, LossCause, Ns};

/// Sockets known at once: as many as the kernel's table holds. Of one that is not known the
/// segments go up all the same.
const MAX_SOCKETS: usize = observer_common::limits::MAX_SOCKS as usize;

/// What TCP knows of a socket is told again at most so often …
const INFO_EVERY_NS: u64 = 100_000_000;

/// Records of application data reported to the pairing: one of the first tells whose they are.
const WIRE_RECORDS: u32 = 8;

/// Bytes read on a TLS socket before its payload is left out, if nobody asked for it: the handshake
/// takes 3-8 KiB, an answer that is worth looking at has been claimed by then.
const TLS_UNCLAIMED: u64 = 256 * 1024;

/// A record of at least so many bytes asks for something: the shortest call of a model is longer;
/// the handshake's end, alerts and control frames of HTTP/2 are shorter. A client's certificate is
/// not, but nothing is answered to it but tickets, and its first request clears it.
const REQUEST_RECORD: u32 = 113;

/// Records looked at in one segment: ChangeCipherSpec, Finished, a request's head and the beginning of its body.
const SEGMENT_RECORDS: usize = 4;
const RECORD_HEAD: usize = 5;
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// All followed sockets.
#[derive(Debug, Default)]
pub(super) struct FollowedSockets {
    known: HashMap<SocketCookie, FollowedSocket>,
}

#[derive(Debug)]
struct FollowedSocket {
    peer: SocketPeer,
    attach: SocketOrigin,
    /// The socket carries TLS; `None`: nothing was sent yet but to a proxy.
    tls: Option<bool>,
    /// Pieces that asked a proxy for a tunnel; `None`: it is no proxy that is spoken to.
    tunnel: Option<u32>,
    /// Records of application data that were reported to the pairing.
    reported: u32,
    /// The socket sent a record that asks for something, and something was read since.
    asked: bool,
    answered: bool,
    /// Bytes that were read.
    read: u64,
    /// Sequence number behind the last byte that the application sent, as far as it came up.
    sent: Option<u32>,
    emitted: KnownTcpState,
    emitted_at: Ns,
    /// The pipeline has decided about it.
    decided: bool,
    /// We have, for want of anybody who did.
    silenced: bool,
}

impl FollowedSockets {
    /// A socket is followed from here on. Its first segments, as far as their heads alone matter, come with it.
    pub(super) fn open(&mut self, open: &SockOpen, syns: [Option<u32>; 2], sink: &mut dyn FnMut(&Record<'_>)) {
        if self.known.len() < MAX_SOCKETS {
            let peer = SocketPeer { tgid: open.tgid, addr: open.peer };
            self.known.insert(open.sock, FollowedSocket::new(peer, open.attach));
        }
        sink(&Record::SockOpen(*open));
        let at = open.connect_at.unwrap_or(open.at);
        let ways = [(Direction::Read, open.at, syns[0]), (Direction::Write, at, syns[1])];
        for (direction, at, seq) in ways.into_iter().rev() {
            if let Some(seq) = seq {
                sink(&Record::Segment(syn(open.sock, direction, at, seq)));
            }
        }
    }

    /// A segment. Returns true when it is a TLS client's greeting.
    pub(super) fn segment(
        &mut self,
        segment: &TcpSegment<'_>,
        known: KnownTcpState,
        pairing: &mut SocketPairing,
        sink: &mut dyn FnMut(&Record<'_>),
    ) -> bool {
        let Some(one) = self.known.get_mut(&segment.sock) else {
            sink(&Record::Segment(*segment));
            return false;
        };
        if let Some(info) = one.news(segment.sock, segment.at, known) {
            sink(&Record::SockInfo(info));
        }
        sink(&Record::Segment(*segment));
        one.passed(segment, pairing)
    }

    /// What TCP knows, on its own account.
    pub(super) fn info(&mut self, sock: SocketCookie, at: Ns, known: KnownTcpState, sink: &mut dyn FnMut(&Record<'_>)) {
        if let Some(one) = self.known.get_mut(&sock) {
            one.set_known(at, known);
        }
        sink(&Record::SockInfo(info(sock, at, known)));
    }

    /// The socket is closed.
    pub(super) fn close(
        &mut self,
        sock: SocketCookie,
        at: Ns,
        known: KnownTcpState,
        sink: &mut dyn FnMut(&Record<'_>),
    ) {
        self.known.remove(&sock);
        if known != KnownTcpState::default() {
            sink(&Record::SockInfo(info(sock, at, known)));
        }
        sink(&Record::SockClose { sock, at });
    }

    /// All of them.
    pub(super) fn followed(&self) -> impl Iterator<Item = SocketCookie> {
        self.known.keys().copied()
    }

    /// Marks a socket as closed of which no record said so. False: one did.
    pub(super) fn forget(&mut self, sock: SocketCookie) -> bool {
        self.known.remove(&sock).is_some()
    }

    /// The process is gone, and what it held with it.
    pub(super) fn exited(&mut self, tgid: u32) {
        self.known.retain(|_, one| one.peer.tgid != tgid);
    }

    /// The word for the kernel when `verdict` was reached about a socket.
    pub(super) fn decide(&mut self, sock: SocketCookie, verdict: Verdict) -> u64 {
        let sent = self.known.get(&sock).and_then(|one| one.sent).unwrap_or(0);
        if verdict == Verdict::Ignore {
            self.known.remove(&sock);
        } else if let Some(one) = self.known.get_mut(&sock) {
            one.decided = true;
        }
        verdict_word(sock.0, verdict, sent)
    }

    /// A TLS socket whose payload nobody asked for and that has told what the pairing needs: the rest
    /// is not worth its copying.
    pub(super) fn silence(&mut self, sock: SocketCookie) -> bool {
        let Some(one) = self.known.get_mut(&sock) else { return false };
        let enough = one.reported >= WIRE_RECORDS || one.read > TLS_UNCLAIMED;
        let now = one.tls == Some(true) && enough && !one.decided && !one.silenced;
        one.silenced |= now;
        now
    }
}

impl FollowedSocket {
    fn new(peer: SocketPeer, attach: SocketOrigin) -> Self {
        FollowedSocket {
            peer,
            attach,
            tls: None,
            tunnel: None,
            reported: 0,
            asked: false,
            answered: false,
            read: 0,
            sent: None,
            emitted: KnownTcpState::default(),
            emitted_at: Ns(0),
            decided: false,
            silenced: false,
        }
    }

    /// What TCP knows, if it is worth telling: a retransmission always, the round trip when it moved by an eighth.
    fn news(&mut self, sock: SocketCookie, at: Ns, known: KnownTcpState) -> Option<SockInfo> {
        let again = known.retransmits.unwrap_or(0) > self.emitted.retransmits.unwrap_or(0);
        let moved = match (known.srtt_us, self.emitted.srtt_us) {
            (Some(now), Some(told)) => now.abs_diff(told) > told / 8,
            (now, told) => now.is_some() && told.is_none(),
        };
        let due = moved && at - self.emitted_at >= INFO_EVERY_NS;
        (again || due).then(|| {
            self.set_known(at, known);
            info(sock, at, known)
        })
    }

    fn set_known(&mut self, at: Ns, known: KnownTcpState) {
        (self.emitted, self.emitted_at) = (known, at);
    }

    /// Gives a segment to the pairing. True: it was a ClientHello.
    fn passed(&mut self, segment: &TcpSegment<'_>, pairing: &mut SocketPairing) -> bool {
        let mut hello = false;
        match segment.direction {
            Direction::Read => {
                self.read += u64::from(segment.len);
                if self.asked && !self.answered && segment.len > 0 {
                    self.answered = true;
                    pairing.wire(segment.sock.0, segment.at, self.peer, WireEvent::Answered);
                }
            }
            Direction::Write if segment.len > 0 => {
                let end = segment.seq.wrapping_add(segment.len);
                if self.sent.is_none_or(|sent| end.wrapping_sub(sent).cast_signed() > 0) {
                    self.sent = Some(end);
                    hello = self.sent(segment, pairing);
                }
            }
            Direction::Write => {}
        }
        if self.tls == Some(true) && (segment.fin || segment.rst) {
            let end = WireEvent::End { by_peer: segment.direction == Direction::Read, reset: segment.rst };
            pairing.wire(segment.sock.0, segment.at, self.peer, end);
        }
        hello
    }

    /// What is sent is for a proxy; TLS may follow.
    fn asks_proxy(&mut self, bytes: &[u8]) -> bool {
        if self.tunnel.is_none() && tunnel::begins(bytes) {
            self.tunnel = Some(0);
        }
        let Some(pieces) = &mut self.tunnel else { return false };
        *pieces += 1;
        !begins_tls(bytes) && *pieces <= limits::TUNNEL_PIECES
    }

    fn sent(&mut self, segment: &TcpSegment<'_>, pairing: &mut SocketPairing) -> bool {
        let first = self.tls.is_none();
        if first && self.asks_proxy(segment.bytes) {
            return false;
        }
        let tls = *self.tls.get_or_insert(begins_tls(segment.bytes));
        if !tls {
            return false;
        }
        let hello = first && begins_hello(segment.bytes);
        if hello || (first && self.attach == SocketOrigin::Mid) {
            pairing.wire(segment.sock.0, segment.at, self.peer, WireEvent::Hello);
        }
        if !hello && self.reported < WIRE_RECORDS {
            for record in application_data(segment.bytes) {
                self.reported += 1;
                self.asked |= record >= REQUEST_RECORD;
                pairing.wire(segment.sock.0, segment.at, self.peer, WireEvent::Out { record });
            }
        }
        hello
    }
}

/// The lengths of the application-data records that begin in a segment. A client may send its
/// handshake's end and its first request together (Node does); in TLS 1.3 the record after the
/// ChangeCipherSpec looks like application data and is the handshake's.
fn application_data(mut bytes: &[u8]) -> impl Iterator<Item = u32> {
    let mut finished = false;
    std::iter::from_fn(move || {
        let (kind, length) = record_head(bytes)?;
        bytes = bytes.get(RECORD_HEAD + usize::from(length)..).unwrap_or_default();
        let counts = kind == APPLICATION_DATA && !finished;
        finished = kind == CHANGE_CIPHER_SPEC;
        Some(counts.then_some(u32::from(length)))
    })
    .take(SEGMENT_RECORDS)
    .flatten()
}

/// Type and length of a TLS record.
fn record_head(bytes: &[u8]) -> Option<(u8, u16)> {
    match bytes {
        [kind @ CHANGE_CIPHER_SPEC..=APPLICATION_DATA, 3, _, high, low, ..] => {
            Some((*kind, u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    }
}

fn begins_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [CHANGE_CIPHER_SPEC..=APPLICATION_DATA, 3, ..])
}

/// Type, version (2), length (2), message type.
fn begins_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [HANDSHAKE, 3, _, _, _, 1, ..])
}

fn info(sock: SocketCookie, at: Ns, known: KnownTcpState) -> SockInfo {
    SockInfo { sock, at, srtt_us: known.srtt_us, retransmits: known.retransmits }
}

/// Bytes that the ring had no room for.
pub(super) fn lost(sock: SocketCookie, direction: Direction, at: Ns, seq: u32, len: u32) -> TcpSegment<'static> {
    TcpSegment { len, syn: false, lost: Some(LossCause::RingFull), ..syn(sock, direction, at, seq) }
}

fn syn(sock: SocketCookie, direction: Direction, at: Ns, seq: u32) -> TcpSegment<'static> {
    TcpSegment {
        sock,
        direction,
        at,
        seq,
        len: 0,
        syn: true,
        fin: false,
        rst: false,
        zero_window: false,
        ack: None,
        missed: 0,
        timed_out: false,
        bytes: &[],
        lost: None,
    }
}

#[cfg(test)]
mod tests;

//! Followed sockets as the edge knows them: what is told of them and how often, what the join of both layers needs of those
//! that carry TLS, and their verdicts.

use std::collections::HashMap;

use observer_common::record::Verdict;
use observer_common::sock::verdict_word;

use super::join::{Join, Peer, Wire};
use super::ring::Known;
use crate::conn::tunnel;
use crate::limits;
use crate::record::{Attach, Record, Segment, Sock, SockInfo, SockOpen};
use crate::units::{Direction, LossCause, Ns};

/// Sockets known at once: as many as the kernel's table holds. Of one that is not known the segments go up all the same.
const MAX_SOCKETS: usize = observer_common::limits::MAX_SOCKS as usize;

/// What TCP knows of a socket is told again at most so often …
const INFO_EVERY_NS: u64 = 100_000_000;

/// Records of application data reported to the join: one of the first tells whose they are.
const WIRE_RECORDS: u32 = 8;

/// Bytes read on a TLS socket before its payload is left out, if nobody asked for it: the handshake takes 3-8 KiB, an answer
/// that is worth looking at has been claimed by then.
const TLS_UNCLAIMED: u64 = 256 * 1024;

/// Records looked at in one segment: ChangeCipherSpec, Finished, a request's head and the beginning of its body.
const SEGMENT_RECORDS: usize = 4;
const RECORD_HEAD: usize = 5;
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// All followed sockets.
#[derive(Debug, Default)]
pub struct Socks {
    known: HashMap<Sock, One>,
}

#[derive(Debug)]
struct One {
    peer: Peer,
    attach: Attach,
    /// It carries TLS; `None`: nothing was sent yet but to a proxy.
    tls: Option<bool>,
    /// Pieces that asked a proxy for a tunnel; `None`: it is no proxy that is spoken to.
    tunnel: Option<u32>,
    /// Records of application data that were reported to the join.
    reported: u32,
    /// Bytes that were read.
    read: u64,
    /// Sequence number behind the last byte that the application sent, as far as it came up.
    sent: Option<u32>,
    told: Known,
    told_at: Ns,
    /// The pipeline has decided about it.
    decided: bool,
    /// We have, for want of anybody who did.
    silenced: bool,
}

impl Socks {
    /// A socket is followed from here on. Its first segments, as far as their heads alone matter, come with it.
    pub fn open(&mut self, open: &SockOpen, syns: [Option<u32>; 2], sink: &mut dyn FnMut(&Record<'_>)) {
        if self.known.len() < MAX_SOCKETS {
            let peer = Peer { tgid: open.tgid, addr: open.peer };
            self.known.insert(open.sock, One::new(peer, open.attach));
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
    pub fn segment(
        &mut self,
        segment: &Segment<'_>,
        known: Known,
        join: &mut Join,
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
        one.passed(segment, join)
    }

    /// What TCP knows, on its own account.
    pub fn info(&mut self, sock: Sock, at: Ns, known: Known, sink: &mut dyn FnMut(&Record<'_>)) {
        if let Some(one) = self.known.get_mut(&sock) {
            one.tell(at, known);
        }
        sink(&Record::SockInfo(info(sock, at, known)));
    }

    /// The socket is closed.
    pub fn close(&mut self, sock: Sock, at: Ns, known: Known, sink: &mut dyn FnMut(&Record<'_>)) {
        self.known.remove(&sock);
        if known != Known::default() {
            sink(&Record::SockInfo(info(sock, at, known)));
        }
        sink(&Record::SockClose { sock, at });
    }

    /// All of them.
    pub fn followed(&self) -> impl Iterator<Item = Sock> {
        self.known.keys().copied()
    }

    /// It is closed, and no record told so. False: one did.
    pub fn forget(&mut self, sock: Sock) -> bool {
        self.known.remove(&sock).is_some()
    }

    /// The process is gone, and what it held with it.
    pub fn exited(&mut self, tgid: u32) {
        self.known.retain(|_, one| one.peer.tgid != tgid);
    }

    /// The word for the kernel when `verdict` was reached about a socket.
    pub fn decide(&mut self, sock: Sock, verdict: Verdict) -> u64 {
        let sent = self.known.get(&sock).and_then(|one| one.sent).unwrap_or(0);
        if verdict == Verdict::Ignore {
            self.known.remove(&sock);
        } else if let Some(one) = self.known.get_mut(&sock) {
            one.decided = true;
        }
        verdict_word(sock.0, verdict, sent)
    }

    /// A TLS socket whose payload nobody asked for and that has told what the join needs: the rest is not worth its copying.
    pub fn silence(&mut self, sock: Sock) -> bool {
        let Some(one) = self.known.get_mut(&sock) else { return false };
        let enough = one.reported >= WIRE_RECORDS || one.read > TLS_UNCLAIMED;
        let now = one.tls == Some(true) && enough && !one.decided && !one.silenced;
        one.silenced |= now;
        now
    }
}

impl One {
    fn new(peer: Peer, attach: Attach) -> Self {
        One {
            peer,
            attach,
            tls: None,
            tunnel: None,
            reported: 0,
            read: 0,
            sent: None,
            told: Known::default(),
            told_at: Ns(0),
            decided: false,
            silenced: false,
        }
    }

    /// What TCP knows, if it is worth telling: a retransmission always, the round trip when it moved by an eighth.
    fn news(&mut self, sock: Sock, at: Ns, known: Known) -> Option<SockInfo> {
        let again = known.retransmits.unwrap_or(0) > self.told.retransmits.unwrap_or(0);
        let moved = match (known.srtt_us, self.told.srtt_us) {
            (Some(now), Some(told)) => now.abs_diff(told) > told / 8,
            (now, told) => now.is_some() && told.is_none(),
        };
        let due = moved && at - self.told_at >= INFO_EVERY_NS;
        (again || due).then(|| {
            self.tell(at, known);
            info(sock, at, known)
        })
    }

    fn tell(&mut self, at: Ns, known: Known) {
        (self.told, self.told_at) = (known, at);
    }

    /// What the join needs of it. True: a ClientHello.
    fn passed(&mut self, segment: &Segment<'_>, join: &mut Join) -> bool {
        let mut hello = false;
        match segment.direction {
            Direction::Read => self.read += u64::from(segment.len),
            Direction::Write if segment.len > 0 => {
                let end = segment.seq.wrapping_add(segment.len);
                if self.sent.is_none_or(|sent| end.wrapping_sub(sent).cast_signed() > 0) {
                    self.sent = Some(end);
                    hello = self.said(segment, join);
                }
            }
            Direction::Write => {}
        }
        if self.tls == Some(true) && (segment.fin || segment.rst) {
            let end = Wire::End { by_peer: segment.direction == Direction::Read, reset: segment.rst };
            join.wire(segment.sock.0, segment.at, self.peer, end);
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

    fn said(&mut self, segment: &Segment<'_>, join: &mut Join) -> bool {
        let first = self.tls.is_none();
        if first && self.asks_proxy(segment.bytes) {
            return false;
        }
        let tls = *self.tls.get_or_insert(begins_tls(segment.bytes));
        if !tls {
            return false;
        }
        let hello = first && begins_hello(segment.bytes);
        if hello || (first && self.attach == Attach::Mid) {
            join.wire(segment.sock.0, segment.at, self.peer, Wire::Hello);
        }
        if !hello && self.reported < WIRE_RECORDS {
            for record in application_data(segment.bytes) {
                self.reported += 1;
                join.wire(segment.sock.0, segment.at, self.peer, Wire::Out { record });
            }
        }
        hello
    }
}

/// The lengths of the application-data records that begin in a segment. A client may send its handshake's end and its first request
/// together (Node does); in TLS 1.3 the record after the ChangeCipherSpec looks like application data and is the handshake's.
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

fn info(sock: Sock, at: Ns, known: Known) -> SockInfo {
    SockInfo { sock, at, srtt_us: known.srtt_us, retransmits: known.retransmits }
}

/// Bytes that the ring had no room for.
pub fn lost(sock: Sock, direction: Direction, at: Ns, seq: u32, len: u32) -> Segment<'static> {
    Segment { len, syn: false, lost: Some(LossCause::RingFull), ..syn(sock, direction, at, seq) }
}

fn syn(sock: Sock, direction: Direction, at: Ns, seq: u32) -> Segment<'static> {
    Segment {
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
mod tests {
    use super::*;

    const SOCK: Sock = Sock(9);

    fn opened(attach: Attach) -> (Socks, Vec<String>) {
        let (mut socks, mut said) = (Socks::default(), Vec::new());
        let open = SockOpen {
            sock: SOCK,
            tgid: 7,
            start_ns: 1,
            local: None,
            peer: "127.0.0.1:443".parse().unwrap(),
            at: Ns(20),
            connect_at: Some(Ns(10)),
            attach,
        };
        socks.open(&open, [Some(100), Some(200)], &mut |record| said.push(kind(record)));
        (socks, said)
    }

    fn kind(record: &Record<'_>) -> String {
        match record {
            Record::SockOpen(_) => "open".into(),
            Record::Segment(s) if s.syn => format!("syn {:?} {} at {}", s.direction, s.seq, s.at.0),
            Record::Segment(s) => format!("{:?} {}", s.direction, s.len),
            Record::SockInfo(i) => format!("info {:?} {:?}", i.srtt_us, i.retransmits),
            Record::SockClose { .. } => "close".into(),
            other => format!("{other:?}"),
        }
    }

    fn segment(direction: Direction, seq: u32, bytes: &[u8]) -> Segment<'_> {
        Segment {
            len: u32::try_from(bytes.len()).unwrap(),
            bytes,
            syn: false,
            ..syn(SOCK, direction, Ns(1_000_000_000), seq)
        }
    }

    fn pass(socks: &mut Socks, segment: &Segment<'_>, known: Known) -> (bool, Vec<String>) {
        let mut said = Vec::new();
        let hello = socks.segment(segment, known, &mut Join::default(), &mut |record| said.push(kind(record)));
        (hello, said)
    }

    fn knows(srtt: u32, again: u32) -> Known {
        Known { srtt_us: Some(srtt), retransmits: Some(again) }
    }

    #[test]
    fn a_birth_comes_with_its_numbers() {
        let (_, said) = opened(Attach::Born);
        assert_eq!(said, ["open", "syn Write 200 at 10", "syn Read 100 at 20"]);
    }

    #[test]
    fn news_of_tcp_are_told_once() {
        let (mut socks, _) = opened(Attach::Born);
        let read = segment(Direction::Read, 101, b"x");
        assert_eq!(pass(&mut socks, &read, knows(80, 0)).1, ["info Some(80) Some(0)", "Read 1"]);
        assert_eq!(pass(&mut socks, &read, knows(200, 0)).1, ["Read 1"], "a moved round trip waits its time");
        let later = Segment { at: Ns(1_000_000_000 + INFO_EVERY_NS), ..read };
        assert_eq!(pass(&mut socks, &later, knows(84, 0)).1, ["Read 1"], "hardly moved");
        assert_eq!(pass(&mut socks, &later, knows(84, 1)).1, ["info Some(84) Some(1)", "Read 1"], "sent again");
        assert_eq!(pass(&mut socks, &later, Known::default()).1, ["Read 1"]);
    }

    #[test]
    fn records_are_found_and_the_handshakes_end_is_none() {
        let hello = [22, 3, 1, 0, 9, 1, 0, 0, 5];
        let mut both = vec![20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 2, 9, 9, 23, 3, 3, 0, 3, 9, 9, 9];
        assert_eq!(application_data(&both).collect::<Vec<_>>(), [3]);
        both.extend([23, 3, 3, 1, 0, 9]);
        assert_eq!(application_data(&both).collect::<Vec<_>>(), [3, 256], "one that goes on in the next segment");
        let (mut socks, _) = opened(Attach::Born);
        assert!(pass(&mut socks, &segment(Direction::Write, 201, &hello), Known::default()).0);
        assert!(!pass(&mut socks, &segment(Direction::Write, 201, &hello), Known::default()).0, "the same once more");
        for bytes in [&b"POST / HTTP/1.1"[..], b"", b"\x16", b"\x17\x03\x03\xff"] {
            assert_eq!(application_data(bytes).count(), 0);
        }
    }

    #[test]
    fn a_verdict_holds_for_what_was_sent() {
        let (mut socks, _) = opened(Attach::Born);
        pass(&mut socks, &segment(Direction::Write, u32::MAX - 1, b"GET"), Known::default());
        let word = socks.decide(SOCK, Verdict::Heads);
        assert_eq!(observer_common::sock::verdict_of(word, SOCK.0, 1), Verdict::Heads as u32);
        assert_eq!(observer_common::sock::verdict_of(word, SOCK.0, 2), Verdict::Unknown as u32, "more was sent");
        assert_eq!(observer_common::sock::verdict_of(word, 10, 1), Verdict::Unknown as u32, "another socket");
    }

    #[test]
    fn a_tls_socket_that_nobody_asks_for_falls_silent_once() {
        let (mut socks, _) = opened(Attach::Mid);
        let data = [23, 3, 3, 0, 1, 7];
        for n in 0..WIRE_RECORDS {
            assert!(!socks.silence(SOCK));
            pass(&mut socks, &segment(Direction::Write, 300 + n * 6, &data), Known::default());
        }
        assert!(socks.silence(SOCK) && !socks.silence(SOCK));
        let (mut socks, _) = opened(Attach::Born);
        pass(&mut socks, &segment(Direction::Write, 201, b"GET /"), Known::default());
        let body = vec![0; usize::try_from(TLS_UNCLAIMED).unwrap() + 1];
        pass(&mut socks, &segment(Direction::Read, 101, &body), Known::default());
        assert!(!socks.silence(SOCK), "plain text is the pipeline's to judge");
    }
}

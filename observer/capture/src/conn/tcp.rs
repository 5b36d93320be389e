//! One direction of a TCP connection, put in order from its segments.
//!
//! The segments are those that crossed the host's own IP layer: what the network lost never comes or comes again, what
//! it swapped comes swapped, and a peer may send anything at all. What the receiver's TCP would hand to the application
//! comes out, at the moment from which the application could have read it.

use std::collections::BTreeMap;

use super::Chunk;
use crate::limits;
use crate::record::TcpSegment;
use crate::units::{LossCause, Moment, Ns};

/// What one segment turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentOutcome {
    /// Payload bytes that had come before: a retransmission.
    pub again: u32,
    /// It waits for bytes before it: the network lost or swapped a segment.
    pub waits: bool,
    /// It closed a hole that had been known since then: what waited behind it could be read only now.
    pub filled: Option<Ns>,
    /// A keep-alive: it only asks whether the other side is there.
    pub keepalive: bool,
    /// A reset that the receiver believes.
    pub reset: bool,
    /// It lies where no window reaches, or begins a direction that has begun: the receiver drops it.
    pub strange: bool,
}

impl SegmentOutcome {
    /// A keep-alive's byte of garbage is no retransmission.
    fn unless_keepalive(self) -> SegmentOutcome {
        if self.keepalive { SegmentOutcome { keepalive: true, ..SegmentOutcome::default() } } else { self }
    }
}

/// Order of one direction. Invariants: what comes out is in order and, with the sizes of the gaps, without holes; every
/// byte comes out once; at most `limits::TCP_PIECES` segments and `limits::TCP_BYTES` bytes wait. Where two segments
/// disagree about a byte, the one that came out first stands.
///
/// A hole is the network's until shown otherwise: it is filled by a retransmission. It is ours (a
/// gap) when the receiver acknowledges bytes that we never had, when it is older than
/// `limits::TCP_HOLE_NS`, or when the caps are reached.
#[derive(Debug, Default)]
pub struct TcpReassembler {
    /// Sequence number of position 0; `None` before the first segment.
    base: Option<u32>,
    /// Position of the next byte to come out.
    next: u64,
    waiting: BTreeMap<u64, WaitingSegment>,
    waiting_bytes: usize,
    fin: Option<Fin>,
    far: OutOfReachSegments,
    /// With `base` unknown: the next acknowledgement or segment is where it goes on, and nothing is missing.
    anywhere: bool,
    ordinal: u64,
}

/// A segment that waits.
#[derive(Clone)]
struct WaitingSegment {
    bytes: Box<[u8]>,
    len: u32,
    lost: Option<LossCause>,
    at: Ns,
}

/// Sizes only: payload must not reach a log.
impl std::fmt::Debug for WaitingSegment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Piece({} of {} bytes, {:?})", self.bytes.len(), self.len, self.at)
    }
}

#[derive(Clone, Copy, Debug)]
struct Fin {
    pos: u64,
    at: Ns,
}

/// Segments out of reach that continue each other: we have lost more than a window.
#[derive(Clone, Copy, Debug, Default)]
struct OutOfReachSegments {
    end: u32,
    count: u32,
}

/// After so many of them in a row they are believed.
const FAR_BELIEVED: u32 = 4;

/// Where chunks go.
type TcpChunkSink<'a> = &'a mut dyn FnMut(Chunk<'_>, Moment);

impl TcpReassembler {
    /// The first payload byte will have this sequence number: nothing before it is missing. No effect once begun.
    pub fn anchor(&mut self, seq: u32) {
        self.base.get_or_insert(seq);
    }

    /// What the next segment will turn out to be, as far as it tells of the network.
    #[must_use]
    pub fn preview(&self, segment: &TcpSegment<'_>) -> SegmentOutcome {
        let first = segment.seq.wrapping_add(u32::from(segment.syn));
        let Some(base) = self.base else { return SegmentOutcome::default() };
        let ahead = i64::from(first.wrapping_sub(expected(base, self.next)).cast_signed());
        let len = i64::from(segment.len);
        if ahead.unsigned_abs() > limits::TCP_REACH {
            return SegmentOutcome { strange: true, ..SegmentOutcome::default() };
        }
        SegmentOutcome {
            again: u32::try_from((-ahead).clamp(0, len)).unwrap_or(0),
            waits: ahead > 0 && len > 0,
            filled: self.hole_since().filter(|_| ahead <= 0 && ahead + len > 0),
            keepalive: len <= 1 && ahead == -1 && !segment.fin && !segment.syn,
            ..SegmentOutcome::default()
        }
        .unless_keepalive()
    }

    /// The next segment of this direction.
    pub fn push(&mut self, segment: &TcpSegment<'_>, out: TcpChunkSink<'_>) -> SegmentOutcome {
        let first = segment.seq.wrapping_add(u32::from(segment.syn));
        if segment.syn {
            self.anchor(first);
        }
        if segment.syn && self.base != Some(first) {
            return SegmentOutcome { strange: true, ..SegmentOutcome::default() };
        }
        let Some(ahead) = self.ahead(first, segment, out) else {
            return SegmentOutcome { reset: segment.rst, ..SegmentOutcome::default() };
        };
        if ahead.unsigned_abs() > limits::TCP_REACH {
            return self.out_of_reach(first, segment, out);
        }
        self.far.count = 0;
        if segment.rst {
            return SegmentOutcome { reset: self.believes_reset(ahead), ..SegmentOutcome::default() };
        }
        if segment.len <= 1 && ahead == -1 && !segment.fin && !segment.syn {
            return SegmentOutcome { keepalive: true, ..SegmentOutcome::default() };
        }
        self.place(segment, ahead, out)
    }

    /// The receiver has all bytes before `ack`: those of them that we do not have will not come any more.
    pub fn acknowledged(&mut self, ack: u32, at: Ns, out: TcpChunkSink<'_>) {
        let Some(base) = self.base else {
            // What was left out on purpose ends here: a segment that comes again from before it is none of ours.
            self.base = std::mem::take(&mut self.anywhere).then_some(ack);
            return;
        };
        // The end of the direction counts as a byte of its own.
        let beyond = i64::from(ack.wrapping_sub(expected(base, self.next)).cast_signed()) - 1;
        let Some(beyond) = u64::try_from(beyond).ok().filter(|&n| n > 0 && n <= limits::TCP_REACH) else { return };
        let acked = self.fin.map_or(self.next + beyond, |fin| fin.pos.min(self.next + beyond));
        while self.next < acked {
            let hole_end = self.waiting.keys().next().map_or(acked, |&pos| pos.min(acked));
            self.skip_to(hole_end, LossCause::RingFull, at, out);
            self.deliver_waiting(at, out);
        }
    }

    /// Time passed: a hole that nothing filled for long is a gap.
    pub fn settle(&mut self, now: Ns, out: TcpChunkSink<'_>) {
        while let Some((_, piece)) = self.waiting.first_key_value()
            && now - piece.at >= limits::TCP_HOLE_NS
        {
            self.give_up_first(LossCause::RingFull, now, out);
        }
    }

    /// The connection is over: what waits comes out behind its gaps.
    pub fn finish(&mut self, at: Ns, out: TcpChunkSink<'_>) {
        while !self.waiting.is_empty() {
            self.give_up_first(LossCause::RingFull, at, out);
        }
        if let Some(fin) = self.fin {
            self.skip_to(fin.pos, LossCause::RingFull, at, out);
        }
    }

    /// Bytes were left out on purpose: it goes on where the receiver says that it is, else with the
    /// next segment, and nothing is missing.
    pub fn lose_place(&mut self) {
        *self = TcpReassembler { ordinal: self.ordinal, anywhere: true, ..TcpReassembler::default() };
    }

    /// When the direction's end came, once all bytes before it are out.
    #[must_use]
    pub fn ended(&self) -> Option<Ns> {
        self.fin.filter(|fin| self.next >= fin.pos).map(|fin| fin.at)
    }

    /// Position of the next byte to come out.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Since when bytes are missing that others wait for.
    #[must_use]
    pub fn hole_since(&self) -> Option<Ns> {
        self.waiting.values().map(|piece| piece.at).min()
    }

    /// Bytes that wait for their predecessors now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.waiting_bytes
    }

    /// An acknowledgement tells something: of a hole, or where it goes on.
    #[must_use]
    pub fn wants_acknowledgement(&self) -> bool {
        self.anywhere || self.unsettled()
    }

    /// Something waits for time to pass.
    #[must_use]
    pub fn unsettled(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How far `first` lies ahead of the next byte. Before anything is known, a segment with
    /// payload is where we join (one byte may be a keep-alive, which lies before the next byte).
    fn ahead(&mut self, first: u32, segment: &TcpSegment<'_>, out: TcpChunkSink<'_>) -> Option<i64> {
        let base = match self.base {
            Some(base) => base,
            None if segment.len > 1 => {
                self.base = Some(first);
                if !std::mem::take(&mut self.anywhere) {
                    let moment = self.moment(segment.at);
                    out(Chunk::Gap { bytes: None, cause: LossCause::LateAttach }, moment);
                }
                first
            }
            None => return None,
        };
        Some(i64::from(first.wrapping_sub(expected(base, self.next)).cast_signed()))
    }

    /// The receiver takes a reset exactly at the next byte, or at the one behind the direction's
    /// end. With holes of ours before it, that is where the farthest byte ended.
    fn believes_reset(&self, ahead: i64) -> bool {
        let farthest = self.waiting.iter().map(|(pos, piece)| pos + u64::from(piece.len)).max();
        let end = farthest.unwrap_or(self.next).saturating_sub(self.next);
        ahead == 0 || u64::try_from(ahead).is_ok_and(|ahead| ahead == end || self.fin.is_some() && ahead == end + 1)
    }

    fn place(&mut self, segment: &TcpSegment<'_>, ahead: i64, out: TcpChunkSink<'_>) -> SegmentOutcome {
        let before = u64::try_from(-ahead).unwrap_or(0);
        let start = self.next.saturating_add(u64::try_from(ahead).unwrap_or(0));
        // What lies before the next byte is known.
        let old = u32::try_from(before).unwrap_or(u32::MAX).min(segment.len);
        let piece = SegmentFacts { len: segment.len - old, lost: segment.lost };
        let bytes = segment.bytes.get(..segment.len as usize).unwrap_or(segment.bytes);
        let bytes = bytes.get(old as usize..).unwrap_or_default();
        if segment.fin && (before == 0 || piece.len > 0 || u64::from(segment.len) == before) {
            self.fin.get_or_insert(Fin { pos: start + u64::from(piece.len), at: segment.at });
        }
        let mut seen = SegmentOutcome { again: old, ..SegmentOutcome::default() };
        if piece.len == 0 {
            return seen;
        }
        if start > self.next {
            seen.waits = true;
            seen.again += self.wait(start, piece, bytes, segment.at, out);
            return seen;
        }
        let hole = self.hole_since();
        self.deliver(piece, bytes, segment.at, out);
        let before = self.waiting.len();
        self.deliver_waiting(segment.at, out);
        seen.filled = hole.filter(|_| self.waiting.len() < before);
        seen
    }

    /// Keeps a segment until its predecessors come. Returns how many of its bytes wait already.
    fn wait(&mut self, start: u64, piece: SegmentFacts, bytes: &[u8], at: Ns, out: TcpChunkSink<'_>) -> u32 {
        let bytes = bytes.get(..limits::TCP_BYTES).unwrap_or(bytes);
        while !self.waiting.is_empty() && !self.has_room(bytes.len()) {
            self.give_up_first(LossCause::Cap, at, out);
        }
        if start <= self.next {
            // Giving up the hole has brought its turn.
            let old = u32::try_from(self.next - start).unwrap_or(u32::MAX).min(piece.len);
            if old < piece.len {
                let rest = bytes.get(old as usize..).unwrap_or_default();
                self.deliver(SegmentFacts { len: piece.len - old, ..piece }, rest, at, out);
                self.deliver_waiting(at, out);
            }
            return 0;
        }
        let again = self.overlap(start, piece.len);
        if again >= piece.len {
            return again;
        }
        let kept = WaitingSegment { bytes: bytes.into(), len: piece.len, lost: piece.lost, at };
        self.waiting_bytes += bytes.len();
        if let Some(shorter) = self.waiting.insert(start, kept) {
            self.waiting_bytes -= shorter.bytes.len();
        }
        again
    }

    /// How much of [start, start + len) one waiting segment covers already.
    fn overlap(&self, start: u64, len: u32) -> u32 {
        let Some((&pos, piece)) = self.waiting.range(..=start).next_back() else { return 0 };
        let covered = (pos + u64::from(piece.len)).saturating_sub(start);
        u32::try_from(covered).unwrap_or(u32::MAX).min(len)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < limits::TCP_PIECES && self.waiting_bytes + bytes <= limits::TCP_BYTES
    }

    /// The hole before the first waiting segment is a gap.
    fn give_up_first(&mut self, cause: LossCause, at: Ns, out: TcpChunkSink<'_>) {
        if let Some(&pos) = self.waiting.keys().next() {
            self.skip_to(pos, cause, at, out);
            self.deliver_waiting(at, out);
        }
    }

    fn deliver_waiting(&mut self, at: Ns, out: TcpChunkSink<'_>) {
        while let Some((&pos, _)) = self.waiting.first_key_value()
            && pos <= self.next
            && let Some((pos, piece)) = self.waiting.pop_first()
        {
            self.waiting_bytes -= piece.bytes.len();
            let old = u32::try_from(self.next - pos).unwrap_or(u32::MAX).min(piece.len);
            let bytes = piece.bytes.get(old as usize..).unwrap_or_default();
            self.deliver(SegmentFacts { len: piece.len - old, lost: piece.lost }, bytes, at, out);
        }
    }

    /// The segment's turn has come.
    fn deliver(&mut self, piece: SegmentFacts, bytes: &[u8], at: Ns, out: TcpChunkSink<'_>) {
        let end = self.next.saturating_add(u64::from(piece.len));
        if !bytes.is_empty() {
            self.next += bytes.len() as u64;
            let moment = self.moment(at);
            out(Chunk::Data(bytes), moment);
        }
        self.skip_to(end, piece.lost.unwrap_or(LossCause::Truncated), at, out);
    }

    fn skip_to(&mut self, end: u64, cause: LossCause, at: Ns, out: TcpChunkSink<'_>) {
        if end > self.next {
            let bytes = end - self.next;
            self.next = end;
            let moment = self.moment(at);
            out(Chunk::Gap { bytes: Some(bytes), cause }, moment);
        }
    }

    /// No window reaches there: a stray or hostile segment, unless several continue each other.
    fn out_of_reach(&mut self, first: u32, segment: &TcpSegment<'_>, out: TcpChunkSink<'_>) -> SegmentOutcome {
        if segment.len > 1 && !segment.rst {
            let follows = self.far.count > 0 && self.far.end == first;
            self.far = OutOfReachSegments {
                end: first.wrapping_add(segment.len),
                count: if follows { self.far.count + 1 } else { 1 },
            };
        }
        if self.far.count < FAR_BELIEVED {
            return SegmentOutcome { strange: true, ..SegmentOutcome::default() };
        }
        self.finish(segment.at, out);
        let moment = self.moment(segment.at);
        out(Chunk::Gap { bytes: None, cause: LossCause::RingFull }, moment);
        *self = TcpReassembler { base: Some(first), ordinal: self.ordinal, ..TcpReassembler::default() };
        self.place(segment, 0, out)
    }

    /// Each piece that comes out counts as a call of its own: a segment is where a message may begin.
    fn moment(&mut self, at: Ns) -> Moment {
        self.ordinal += 1;
        Moment { at, arrival: Some(at), call: self.ordinal }
    }
}

#[derive(Clone, Copy)]
struct SegmentFacts {
    len: u32,
    lost: Option<LossCause>,
}

/// The sequence number of a position.
fn expected(base: u32, next: u64) -> u32 {
    let [a, b, c, d, ..] = next.to_le_bytes();
    base.wrapping_add(u32::from_le_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests;

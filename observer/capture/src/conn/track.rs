//! One direction of a connection: which bytes came, in order, and which are missing.

use std::collections::BTreeMap;

use super::Chunk;
use crate::limits;
use crate::record::TlsData;
use crate::units::{LossCause, Moment, Ns};

/// What it took to put a direction in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderRepairs {
    /// Bytes that came twice and were dropped.
    pub duplicate_bytes: u64,
    /// Records that came before their predecessor and waited for it.
    pub reordered: u64,
}

/// Position keeping of one direction. Invariants: what comes out is in order and, with the sizes of the gaps, without
/// holes; every byte comes out once, as data or as part of a gap; at most `limits::REORDER_PIECES` pieces and
/// `limits::REORDER_BYTES` bytes wait.
///
/// Two CPUs may put the records of two calls on the ring in the wrong order, a few microseconds apart. So a record
/// that leaves a hole waits for its predecessor, until something `limits::REORDER_NS` later happens on the
/// connection or the caps are reached; then the hole is a gap.
#[derive(Debug, Default)]
pub struct TlsReassembler {
    /// Position of the next byte to come out; `None` before the first.
    next: Option<u64>,
    /// With `next` unknown: the next record is where it goes on.
    anywhere: bool,
    /// Up to here bytes are known to be missing, and why: the rest of a call of which only a part was sent up.
    missing: Option<MissingBytes>,
    waiting: BTreeMap<u64, WaitingPiece>,
    waiting_bytes: usize,
    /// The call whose bytes came out last, and its ordinal.
    call: Option<ReassembledCall>,
    ordinal: u64,
    repairs: OrderRepairs,
}

#[derive(Clone, Copy, Debug)]
struct MissingBytes {
    end: u64,
    cause: LossCause,
    call: ReassembledCall,
}

/// A call: where it began and when it returned. Two calls of one direction never share both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReassembledCall {
    start: u64,
    at: Ns,
    /// Since when its bytes exist: those of a read once it returns, those of a write when it is entered.
    exists: Ns,
    /// When its last byte had reached the host, where the socket layer could tell.
    arrival: Option<Ns>,
}

/// A record's facts, with its bytes either in the ring or kept.
#[derive(Clone)]
struct WaitingPiece {
    bytes: Box<[u8]>,
    facts: PieceFacts,
}

/// Sizes only: payload must not reach a log.
impl std::fmt::Debug for WaitingPiece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Piece({} bytes, {:?})", self.bytes.len(), self.facts)
    }
}

#[derive(Clone, Copy, Debug)]
struct PieceFacts {
    pos: u64,
    call: ReassembledCall,
    call_end: u64,
    lost: Option<LossCause>,
}

/// Where chunks go.
type TlsChunkSink<'a> = &'a mut dyn FnMut(Chunk<'_>, Moment);

impl TlsReassembler {
    /// The next record of this direction; when its bytes arrived is not known.
    pub fn push(&mut self, data: &TlsData<'_>, out: TlsChunkSink<'_>) {
        self.push_arrived(data, None, out);
    }

    /// The next record of this direction, and when the bytes of its call had arrived.
    pub fn push_arrived(&mut self, data: &TlsData<'_>, arrival: Option<Ns>, out: TlsChunkSink<'_>) {
        let start = data.start();
        let facts = PieceFacts {
            pos: data.pos,
            call: ReassembledCall { start, at: data.at, exists: data.exists(), arrival },
            call_end: start.saturating_add(u64::from(data.call_len)),
            lost: data.lost,
        };
        if self.missing.is_some_and(|missing| missing.call != facts.call) {
            self.settle_missing(out);
        }
        let next = match self.next {
            Some(next) => next,
            None if self.anywhere => data.pos,
            None if data.born => 0,
            None => {
                self.gap(None, LossCause::LateAttach, facts.call, out);
                data.pos
            }
        };
        self.next = Some(next);
        if data.pos > next {
            self.wait(data.bytes, facts, out);
        } else {
            self.deliver(data.bytes, facts, out);
            self.deliver_waiting(out);
        }
    }

    /// Something happened on the connection at `now`: what has waited long enough comes out.
    pub fn settle(&mut self, now: Ns, out: TlsChunkSink<'_>) {
        if self.missing.is_some_and(|missing| missing.call.at < now) {
            self.settle_missing(out);
        }
        while let Some((_, piece)) = self.waiting.first_key_value()
            && now - piece.facts.call.at >= limits::REORDER_NS
        {
            self.give_up_first(out);
        }
    }

    /// The direction ended at position `end` (`None`: unknown): the rest comes out, and what is missing is named.
    pub fn finish(&mut self, end: Option<u64>, born: bool, at: Ns, out: TlsChunkSink<'_>) {
        self.settle_missing(out);
        while !self.waiting.is_empty() {
            self.give_up_first(out);
        }
        self.settle_missing(out);
        let Some(next) = self.next.or((born && !self.anywhere).then_some(0)) else { return };
        if let Some(end) = end.filter(|&end| end > next) {
            self.next = Some(end);
            self.gap(
                Some(end - next),
                LossCause::RingFull,
                ReassembledCall { start: next, at, exists: at, arrival: None },
                out,
            );
        }
    }

    /// All before `pos` has been told of or never will be: the rest of it is a gap. `None`: up to
    /// where it went is not known, nor that anything is missing, but it may.
    pub fn reach(&mut self, pos: Option<u64>, at: Ns, out: TlsChunkSink<'_>) {
        self.settle_missing(out);
        while self.waiting.first_key_value().is_some_and(|(&first, _)| pos.is_none_or(|pos| first < pos)) {
            self.give_up_first(out);
        }
        let Some(next) = self.next else { return };
        let missing = pos.map(|pos| pos.saturating_sub(next));
        if missing != Some(0) {
            self.next = Some(next + missing.unwrap_or(0));
            self.gap(missing, LossCause::RingFull, ReassembledCall { start: next, at, exists: at, arrival: None }, out);
            self.deliver_waiting(out);
        }
    }

    /// Bytes are left out on purpose from here on: the next record is where it goes on, and nothing is missing.
    pub fn lose_place(&mut self) {
        *self = TlsReassembler {
            call: self.call,
            ordinal: self.ordinal,
            repairs: self.repairs,
            anywhere: true,
            ..TlsReassembler::default()
        };
    }

    /// Bytes that wait for their predecessor now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.waiting_bytes
    }

    /// Something waits for time to pass.
    #[must_use]
    pub fn unsettled(&self) -> bool {
        self.missing.is_some() || !self.waiting.is_empty()
    }

    /// The counts since the last call.
    pub fn take_repairs(&mut self) -> OrderRepairs {
        std::mem::take(&mut self.repairs)
    }

    fn wait(&mut self, bytes: &[u8], facts: PieceFacts, out: TlsChunkSink<'_>) {
        while !self.waiting.is_empty() && !self.has_room(bytes.len()) {
            self.give_up_first(out);
        }
        if self.next >= Some(facts.pos) {
            self.deliver(bytes, facts, out);
            return self.deliver_waiting(out);
        }
        self.repairs.reordered += 1;
        self.waiting_bytes += bytes.len();
        if let Some(twice) = self.waiting.insert(facts.pos, WaitingPiece { bytes: bytes.into(), facts }) {
            self.waiting_bytes -= twice.bytes.len();
            self.repairs.duplicate_bytes += twice.bytes.len() as u64;
        }
        if !self.has_room(0) {
            self.give_up_first(out);
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < limits::REORDER_PIECES && self.waiting_bytes + bytes <= limits::REORDER_BYTES
    }

    /// The hole before the first waiting piece is a gap.
    fn give_up_first(&mut self, out: TlsChunkSink<'_>) {
        let (Some((&pos, piece)), Some(next)) = (self.waiting.first_key_value(), self.next) else { return };
        if pos > next {
            let call = piece.facts.call;
            self.next = Some(pos);
            self.gap(Some(pos - next), LossCause::RingFull, call, out);
        }
        self.deliver_waiting(out);
    }

    fn deliver_waiting(&mut self, out: TlsChunkSink<'_>) {
        while let Some((&pos, piece)) = self.waiting.first_key_value() {
            if self.missing.is_some_and(|missing| missing.call != piece.facts.call) {
                self.settle_missing(out);
            }
            if self.next < Some(pos) {
                return;
            }
            if let Some((_, piece)) = self.waiting.pop_first() {
                self.waiting_bytes -= piece.bytes.len();
                self.deliver(&piece.bytes, piece.facts, out);
            }
        }
    }

    /// `facts.pos <= next`: the part that is new comes out.
    fn deliver(&mut self, bytes: &[u8], facts: PieceFacts, out: TlsChunkSink<'_>) {
        let next = self.next.unwrap_or(facts.pos);
        let known = usize::try_from(next - facts.pos).unwrap_or(usize::MAX).min(bytes.len());
        self.repairs.duplicate_bytes += known as u64;
        if let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) {
            self.next = Some(next.saturating_add(new.len() as u64));
            let moment = self.moment(facts.call);
            out(Chunk::Data(new), moment);
        }
        let lost = facts.lost.filter(|_| self.next < Some(facts.call_end));
        self.missing = lost.map(|cause| MissingBytes { end: facts.call_end, cause, call: facts.call });
    }

    fn settle_missing(&mut self, out: TlsChunkSink<'_>) {
        let (Some(missing), Some(next)) = (self.missing.take(), self.next) else { return };
        if missing.end > next {
            self.next = Some(missing.end);
            self.gap(Some(missing.end - next), missing.cause, missing.call, out);
        }
    }

    fn gap(&mut self, bytes: Option<u64>, cause: LossCause, call: ReassembledCall, out: TlsChunkSink<'_>) {
        let moment = self.moment(call);
        out(Chunk::Gap { bytes, cause }, moment);
    }

    fn moment(&mut self, call: ReassembledCall) -> Moment {
        if self.call != Some(call) {
            self.call = Some(call);
            self.ordinal += 1;
        }
        Moment { at: call.exists, arrival: call.arrival, call: self.ordinal }
    }
}

//! Model test: whatever the ring does to the records of one direction, what comes out of its
//! `TlsReassembler` is the oracle's bytes in order, with exact gaps where bytes are missing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Chunk, TlsReassembler};
use crate::record::{ConnKey, TlsData};
use crate::units::{Direction, LossCause, Ns};

/// What happens to one call on its way.
#[derive(Clone, Debug)]
enum Op {
    /// It comes whole, cut into pieces of at most this size.
    Call { len: u16, piece: u16 },
    /// No room on the ring.
    Lost { len: u16 },
    /// Only the first `kept` bytes come, and the record says so.
    Cut { len: u16, kept: u16, cause: LossCause },
    /// The last record comes again.
    Duplicate,
    /// The next record comes after the one that follows it.
    Swap,
    /// Time passes.
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    let cause = prop_oneof![Just(LossCause::Truncated), Just(LossCause::Fault)];
    prop_oneof![
        6 => (1..600u16, 40..200u16).prop_map(|(len, piece)| Op::Call { len, piece }),
        1 => (1..300u16).prop_map(|len| Op::Lost { len }),
        1 => (1..300u16, 0..300u16, cause).prop_map(|(len, kept, cause)| Op::Cut { len, kept: kept % len, cause }),
        1 => Just(Op::Duplicate),
        1 => Just(Op::Swap),
        1 => Just(Op::Wait),
    ]
}

/// The byte at a position of the direction.
fn oracle(pos: u64) -> u8 {
    (pos.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

#[derive(Clone)]
struct Sent {
    data: TlsData<'static>,
    bytes: Vec<u8>,
}

/// A ring after the ops, the end position, and which bytes were lost for which cause.
struct Ring {
    records: Vec<Sent>,
    end: u64,
    lost: BTreeMap<LossCause, u64>,
}

fn ring(ops: &[Op]) -> Ring {
    let mut ring = Ring { records: Vec::new(), end: 0, lost: BTreeMap::new() };
    let (mut at, mut swap) = (1_000_000u64, None);
    for op in ops {
        at += 1_000;
        let before = ring.records.len();
        match *op {
            Op::Call { len, piece } => {
                for offset in (0..len).step_by(usize::from(piece)) {
                    let kept = piece.min(len - offset);
                    ring.records.push(sent(ring.end, len, offset, kept, at, None));
                }
                ring.end += u64::from(len);
            }
            Op::Lost { len } => {
                *ring.lost.entry(LossCause::RingFull).or_default() += u64::from(len);
                ring.end += u64::from(len);
            }
            Op::Cut { len, kept, cause } => {
                ring.records.push(sent(ring.end, len, 0, kept, at, Some(cause)));
                *ring.lost.entry(cause).or_default() += u64::from(len - kept);
                ring.end += u64::from(len);
            }
            Op::Duplicate => ring.records.extend(ring.records.last().cloned()),
            Op::Swap => swap = Some(ring.records.len()),
            Op::Wait => at += 50_000_000,
        }
        // Two calls race over their places on the ring: the pieces of one call stay together.
        if let Some(first) = swap.filter(|&first| first < before && ring.records.len() > before) {
            ring.records[first..].rotate_left(before - first);
            swap = None;
        }
    }
    ring
}

fn sent(start: u64, len: u16, offset: u16, kept: u16, at: u64, lost: Option<LossCause>) -> Sent {
    let pos = start + u64::from(offset);
    let data = TlsData {
        conn: ConnKey::default(),
        direction: Direction::Read,
        at: Ns(at),
        entered: Ns(at),
        pos,
        call_len: u32::from(len),
        offset: u32::from(offset),
        born: true,
        lost,
        bytes: &[],
    };
    Sent { data, bytes: (pos..pos + u64::from(kept)).map(oracle).collect() }
}

/// What came out: checks every byte against the oracle as it comes.
#[derive(Default)]
struct Heard {
    pos: u64,
    lost: BTreeMap<LossCause, u64>,
    calls: Vec<(u64, Ns)>,
}

impl Heard {
    fn take(&mut self, chunk: Chunk<'_>, at: crate::units::Moment) {
        match chunk {
            Chunk::Data(bytes) => {
                assert!(!bytes.is_empty());
                for &byte in bytes {
                    assert_eq!(byte, oracle(self.pos), "at {}", self.pos);
                    self.pos += 1;
                }
                self.calls.push((at.call, at.at));
            }
            Chunk::Gap { bytes, cause } => {
                let bytes = bytes.expect("sizes are known");
                assert!(bytes > 0);
                self.pos += bytes;
                *self.lost.entry(cause).or_default() += bytes;
            }
        }
    }
}

fn play(ring: &Ring) -> Heard {
    let (mut track, mut heard) = (TlsReassembler::default(), Heard::default());
    for sent in &ring.records {
        track.settle(sent.data.at, &mut |chunk, at| heard.take(chunk, at));
        track.push(&TlsData { bytes: &sent.bytes, ..sent.data }, &mut |chunk, at| heard.take(chunk, at));
        assert!(track.held() <= crate::limits::REORDER_BYTES + usize::from(u16::MAX));
    }
    track.finish(Some(ring.end), true, Ns(u64::MAX), &mut |chunk, at| heard.take(chunk, at));
    assert!(!track.unsettled() && track.held() == 0);
    heard
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_byte_comes_once_in_order_or_is_named_lost(ops in proptest::collection::vec(op(), 1..40)) {
        let ring = ring(&ops);
        let heard = play(&ring);
        prop_assert_eq!(heard.pos, ring.end);
        prop_assert_eq!(heard.lost.values().sum::<u64>(), ring.lost.values().sum::<u64>());
        if !ops.iter().any(|op| matches!(op, Op::Swap)) {
            prop_assert_eq!(&heard.lost, &ring.lost);
        }
        // Pieces of one call share ordinal and stamp; ordinals grow.
        prop_assert!(heard.calls.windows(2).all(|w| w[0].0 <= w[1].0));
        prop_assert!(heard.calls.windows(2).all(|w| (w[0].0 == w[1].0) == (w[0].1 == w[1].1)));
    }

    #[test]
    fn nothing_is_lost_by_swaps_and_duplicates_alone(ops in proptest::collection::vec(op(), 1..40)) {
        let ops: Vec<Op> = ops.into_iter().filter(|op| !matches!(op, Op::Lost { .. } | Op::Cut { .. } | Op::Wait)).collect();
        let heard = play(&ring(&ops));
        prop_assert_eq!(heard.lost, BTreeMap::new());
    }

    #[test]
    fn hostile_records_do_not_panic_or_grow(
        records in proptest::collection::vec((any::<u64>(), any::<u32>(), any::<u32>(), 0..5000usize, any::<bool>(), any::<u64>()), 0..60)
    ) {
        let mut track = TlsReassembler::default();
        let mut out = |_: Chunk<'_>, _: crate::units::Moment| {};
        let bytes = vec![7u8; 5000];
        for (pos, call_len, offset, len, lost, at) in records {
            let data = TlsData {
                conn: ConnKey::default(), direction: Direction::Read, at: Ns(at), entered: Ns(0), pos, call_len, offset,
                born: lost, lost: lost.then_some(LossCause::Fault), bytes: &bytes[..len],
            };
            track.push(&data, &mut out);
            track.settle(Ns(at), &mut out);
            prop_assert!(track.held() <= crate::limits::REORDER_BYTES + 5000);
        }
        track.finish(Some(u64::MAX), true, Ns(0), &mut out);
        prop_assert_eq!(track.held(), 0);
    }
}

#[test]
fn a_joined_connection_begins_with_an_unknown_gap() {
    let (mut track, mut heard) = (TlsReassembler::default(), Vec::new());
    let mut record = sent(5_000, 3, 0, 3, 9, None);
    record.data.born = false;
    for _ in 0..2 {
        track.push(&TlsData { bytes: &record.bytes, ..record.data }, &mut |chunk, _| heard.push(format!("{chunk:?}")));
    }
    assert_eq!(heard, ["Gap(? bytes, late_attach)", "Data(3 bytes)"]);
    assert_eq!(track.take_repairs().duplicate_bytes, 3);
}

#[test]
fn the_first_record_of_a_born_connection_may_be_lost_and_its_tail_too() {
    let (mut track, mut heard) = (TlsReassembler::default(), Vec::new());
    let record = sent(100, 3, 0, 3, 9, None);
    track.push(&TlsData { bytes: &record.bytes, ..record.data }, &mut |chunk, _| heard.push(format!("{chunk:?}")));
    assert_eq!((heard.len(), track.unsettled(), track.held()), (0, true, 3));
    track.settle(Ns(9 + crate::limits::REORDER_NS), &mut |chunk, _| heard.push(format!("{chunk:?}")));
    track.finish(Some(110), true, Ns(20), &mut |chunk, _| heard.push(format!("{chunk:?}")));
    assert_eq!(heard, ["Gap(100 bytes, ring_full)", "Data(3 bytes)", "Gap(7 bytes, ring_full)"]);
}

#[test]
fn lose_place_goes_on_anywhere_without_a_gap() {
    let (mut track, mut heard) = (TlsReassembler::default(), Vec::new());
    for (start, at) in [(0, 9), (700, 50)] {
        let record = sent(start, 3, 0, 3, at, None);
        track.push(&TlsData { bytes: &record.bytes, ..record.data }, &mut |chunk, at| {
            heard.push(format!("{chunk:?} of call {}", at.call));
        });
        track.lose_place();
    }
    assert_eq!(heard, ["Data(3 bytes) of call 1", "Data(3 bytes) of call 2"]);
}

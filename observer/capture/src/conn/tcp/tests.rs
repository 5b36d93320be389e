//! Model test: whatever a network does to the segments of one direction, what comes out is the oracle's bytes, once, in
//! order, with exact gaps where the observer (not the network) lost them.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers and texts of the tests' own making"
)]

use proptest::prelude::*;

use super::{SegmentOutcome, TcpReassembler};
use crate::conn::Chunk;
use crate::limits;
use crate::record::{SocketCookie, TcpSegment};
use crate::units::{Direction, LossCause, Ns};

/// What happens to the next stretch of the sender's bytes.
#[derive(Clone, Debug)]
enum Op {
    /// It arrives as one segment.
    Send { len: u16 },
    /// It arrives after the `later` segments that follow it.
    Late { len: u16, later: u8 },
    /// The network loses it; a retransmission, cut otherwise, comes after `later` segments.
    Lose { len: u16, later: u8, cut: u16 },
    /// Bytes that were sent before come again, from `back` before, `len` of them.
    Again { back: u16, len: u16 },
    /// A keep-alive, with or without its byte of garbage.
    KeepAlive { garbage: bool },
    /// Only the first `kept` bytes were copied.
    Cut { len: u16, kept: u16 },
    /// Time passes.
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..900u16).prop_map(|len| Op::Send { len }),
        2 => (1..900u16, 1..6u8).prop_map(|(len, later)| Op::Late { len, later }),
        2 => (1..900u16, 1..8u8, 1..900u16).prop_map(|(len, later, cut)| Op::Lose { len, later, cut }),
        2 => (1..2000u16, 1..3000u16).prop_map(|(back, len)| Op::Again { back, len }),
        1 => any::<bool>().prop_map(|garbage| Op::KeepAlive { garbage }),
        1 => (1..900u16, 0..900u16).prop_map(|(len, kept)| Op::Cut { len, kept: kept % len }),
        1 => Just(Op::Wait),
    ]
}

/// The byte at a position of the direction.
fn oracle(pos: u64) -> u8 {
    (pos.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

#[derive(Clone, Debug)]
struct Sent {
    at: u64,
    pos: i64,
    len: u32,
    kept: u32,
}

/// The segments in the order of their arrival, and how many bytes there are.
fn network(ops: &[Op], cuts: bool) -> (Vec<Sent>, u64) {
    let (mut wire, mut late, mut end, mut at) = (Vec::new(), Vec::<(u8, Sent)>::new(), 0u64, 1_000_000u64);
    for op in ops {
        at += 1_000;
        let here = |pos: u64, len: u16| Sent { at, pos: pos.cast_signed(), len: len.into(), kept: len.into() };
        let sent = match *op {
            Op::Send { len } => Some(here(end, len)),
            Op::Late { len, later } => {
                late.push((later, here(end, len)));
                None
            }
            Op::Lose { len, later, cut } => {
                // The retransmission is cut otherwise: two segments that overlap.
                let cut = cut % len;
                late.push((later, here(end, len - cut / 2)));
                late.push((later, here(end + u64::from(len - cut), cut)));
                None
            }
            Op::Again { back, len } => {
                let back = u64::from(back).min(end);
                let len = u64::from(len).min(back);
                (len > 0).then(|| here(end - back, u16::try_from(len).unwrap()))
            }
            Op::KeepAlive { garbage } => (end > 0).then(|| here(end - 1, garbage.into())),
            Op::Cut { len, kept } => Some(Sent { kept: if cuts { kept } else { len }.into(), ..here(end, len) }),
            Op::Wait => {
                at += 1_000_000_000;
                None
            }
        };
        if let Op::Send { len } | Op::Late { len, .. } | Op::Lose { len, .. } | Op::Cut { len, .. } = *op {
            end += u64::from(len);
        }
        if let Some(sent) = sent {
            wire.push(sent);
            for (later, sent) in std::mem::take(&mut late) {
                if later <= 1 {
                    wire.push(Sent { at, ..sent });
                } else {
                    late.push((later - 1, sent));
                }
            }
        }
    }
    wire.extend(late.into_iter().map(|(_, sent)| Sent { at, ..sent }));
    (wire, end)
}

#[derive(Default)]
struct Heard {
    pos: u64,
    lost: u64,
    ordinal: u64,
    last: Ns,
}

impl Heard {
    fn take(&mut self, chunk: Chunk<'_>, at: crate::units::Moment) {
        assert!(at.call > self.ordinal && at.at >= self.last && at.arrival == Some(at.at));
        (self.ordinal, self.last) = (at.call, at.at);
        match chunk {
            Chunk::Data(bytes) => {
                assert!(!bytes.is_empty());
                for &byte in bytes {
                    assert_eq!(byte, oracle(self.pos), "at {}", self.pos);
                    self.pos += 1;
                }
            }
            Chunk::Gap { bytes, .. } => {
                let bytes = bytes.expect("sizes are known");
                assert!(bytes > 0);
                self.pos += bytes;
                self.lost += bytes;
            }
        }
    }
}

/// A segment without payload, at 0.
fn bare() -> TcpSegment<'static> {
    TcpSegment {
        sock: SocketCookie(1),
        direction: Direction::Read,
        at: Ns(0),
        seq: 0,
        len: 0,
        syn: false,
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

fn segment(isn: u32, sent: &Sent, bytes: &mut Vec<u8>) -> TcpSegment<'static> {
    *bytes = (0..u64::from(sent.kept)).map(|n| oracle(sent.pos.cast_unsigned().wrapping_add(n))).collect();
    let seq = isn.wrapping_add(1).wrapping_add(sent.pos as u32);
    let lost = (sent.kept < sent.len).then_some(LossCause::Truncated);
    TcpSegment { at: Ns(sent.at), seq, len: sent.len, lost, ..bare() }
}

fn syn(isn: u32) -> TcpSegment<'static> {
    TcpSegment { at: Ns(1), seq: isn, syn: true, ..bare() }
}

fn play(isn: u32, wire: &[Sent], keep: impl Fn(usize) -> bool) -> (TcpReassembler, Heard, Vec<SegmentOutcome>) {
    let (mut tcp, mut heard, mut bytes) = (TcpReassembler::default(), Heard::default(), Vec::new());
    tcp.push(&syn(isn), &mut |chunk, at| heard.take(chunk, at));
    let mut all = Vec::new();
    for (_, sent) in wire.iter().enumerate().filter(|(n, _)| keep(*n)) {
        let segment = segment(isn, sent, &mut bytes);
        all.push(tcp.push(&TcpSegment { bytes: &bytes, ..segment }, &mut |chunk, at| heard.take(chunk, at)));
        assert!(tcp.held() <= limits::TCP_BYTES && tcp.waiting.len() <= limits::TCP_PIECES);
    }
    (tcp, heard, all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_network_that_delivers_in_the_end_costs_nothing(ops in proptest::collection::vec(op(), 1..60), isn: u32) {
        let (wire, end) = network(&ops, false);
        let (mut tcp, mut heard, seen) = play(isn, &wire, |_| true);
        prop_assert!(!tcp.unsettled(), "a hole is left");
        tcp.finish(Ns(u64::MAX), &mut |chunk, at| heard.take(chunk, at));
        prop_assert_eq!((heard.pos, heard.lost), (end, 0));
        // Payload that came = payload that is new + payload that came again (a keep-alive's byte counts as neither).
        let came: u64 = wire.iter().zip(&seen).filter(|(_, s)| !s.keepalive).map(|(w, _)| u64::from(w.len)).sum();
        let again: u64 = seen.iter().map(|s| u64::from(s.again)).sum();
        prop_assert!(came - end >= again);
        let in_order = !ops.iter().any(|op| matches!(op, Op::Late { .. } | Op::Lose { .. }));
        prop_assert!(!in_order || came - end == again);
    }

    #[test]
    fn what_the_observer_lost_is_a_gap_of_its_size(
        ops in proptest::collection::vec(op(), 1..60), isn: u32, dropped in proptest::collection::vec(any::<bool>(), 60), acks: bool
    ) {
        let (wire, end) = network(&ops, true);
        let keep = |n: usize| !(n % 3 == 1 && dropped.get(n % 60).copied().unwrap_or(false));
        let (mut tcp, mut heard, _) = play(isn, &wire, keep);
        let mut covered = vec![false; usize::try_from(end).unwrap()];
        for (_, sent) in wire.iter().enumerate().filter(|(n, _)| keep(*n)) {
            // A single byte just before the next one is taken for a keep-alive.
            if sent.len > 1 {
                (sent.pos..sent.pos + i64::from(sent.len)).for_each(|pos| covered[usize::try_from(pos).unwrap()] = true);
            }
        }
        if acks {
            let ack = isn.wrapping_add(1).wrapping_add(end as u32).wrapping_add(1);
            tcp.acknowledged(ack, Ns(u64::MAX), &mut |chunk, at| heard.take(chunk, at));
            prop_assert_eq!(heard.pos, end);
        } else {
            tcp.settle(Ns(u64::MAX), &mut |chunk, at| heard.take(chunk, at));
        }
        prop_assert!(!tcp.unsettled() && tcp.held() == 0);
        let missing = covered.iter().filter(|covered| !**covered).count() as u64;
        let truncated: u64 = wire.iter().map(|sent| u64::from(sent.len - sent.kept)).sum();
        let tail = end - heard.pos;
        prop_assert!(heard.lost + tail <= missing + truncated);
        if truncated == 0 {
            prop_assert!(heard.lost + tail + 8 >= missing, "{} + {} of {}", heard.lost, tail, missing);
        }
    }

    #[test]
    fn hostile_segments_do_not_panic_or_grow(
        segments in proptest::collection::vec(
            (any::<u32>(), prop_oneof![0..3000u32, any::<u32>()], any::<[bool; 4]>(), 0..3000usize, any::<u64>(), any::<bool>()), 0..80)
    ) {
        let mut tcp = TcpReassembler::default();
        let mut out = |_: Chunk<'_>, _: crate::units::Moment| {};
        let payload = vec![7u8; 3000];
        let near = 1u32 << 31;
        for (seq, len, [syn, fin, rst, close], bytes, at, cut) in segments {
            let seq = if close { near.wrapping_add(seq % 5000) } else { seq };
            let segment = TcpSegment {
                at: Ns(at), seq, len, syn, fin, rst, bytes: &payload[..bytes],
                lost: cut.then_some(LossCause::Truncated), ..bare()
            };
            tcp.push(&segment, &mut out);
            tcp.acknowledged(seq, Ns(at), &mut out);
            tcp.settle(Ns(at), &mut out);
            prop_assert!(tcp.held() <= limits::TCP_BYTES && tcp.waiting.len() <= limits::TCP_PIECES);
        }
        tcp.finish(Ns(0), &mut out);
        prop_assert_eq!(tcp.held(), 0);
    }
}

/// What was left out on purpose ends where the receiver says that it is: neither a segment from
/// before it that comes again nor one that comes too early makes a gap.
#[test]
fn after_bytes_left_out_the_receivers_word_tells_where_it_goes_on() {
    for acknowledged in [true, false] {
        let (mut tcp, mut heard) = (TcpReassembler::default(), Vec::new());
        tcp.push(&syn(7), &mut |_, _| {});
        push(&mut tcp, 7, 0, 100, 10, &mut heard);
        tcp.lose_place();
        assert!(tcp.wants_acknowledgement());
        if acknowledged {
            tcp.acknowledged(8 + 5_000, Ns(20), &mut |_, _| panic!("nothing is known to be missing"));
            assert!(!tcp.wants_acknowledgement());
        }
        push(&mut tcp, 7, 4_000, 500, 30, &mut heard);
        push(&mut tcp, 7, 5_050, 50, 40, &mut heard);
        push(&mut tcp, 7, 5_000, 50, 50, &mut heard);
        assert_eq!(tcp.unsettled(), !acknowledged, "{heard:?}");
    }
}

/// Pushes one segment of the oracle's bytes and writes down what came out.
fn push(tcp: &mut TcpReassembler, isn: u32, pos: i64, len: u32, at: u64, heard: &mut Vec<String>) -> SegmentOutcome {
    let mut bytes = Vec::new();
    let segment = segment(isn, &Sent { at, pos, len, kept: len }, &mut bytes);
    tcp.push(&TcpSegment { bytes: &bytes, ..segment }, &mut |chunk, at| heard.push(format!("{chunk:?} at {}", at.at.0)))
}

#[test]
fn what_waited_could_be_read_only_when_the_hole_was_filled() {
    let (mut tcp, mut heard) = (TcpReassembler::default(), Vec::new());
    tcp.push(&syn(u32::MAX), &mut |_, _| {});
    assert!(push(&mut tcp, u32::MAX, 10, 10, 100, &mut heard).waits);
    assert_eq!(tcp.hole_since(), Some(Ns(100)));
    assert_eq!(push(&mut tcp, u32::MAX, 0, 10, 900, &mut heard).filled, Some(Ns(100)));
    assert_eq!(heard, ["Data(10 bytes) at 900", "Data(10 bytes) at 900"]);
    assert_eq!(
        push(&mut tcp, u32::MAX, 5, 15, 950, &mut heard),
        SegmentOutcome { again: 15, ..SegmentOutcome::default() }
    );
    assert_eq!(push(&mut tcp, u32::MAX, 15, 10, 960, &mut heard).again, 5);
}

#[test]
fn a_direction_joined_in_the_middle_begins_with_an_unknown_gap_and_not_at_a_keepalive() {
    let (mut tcp, mut heard) = (TcpReassembler::default(), Vec::new());
    push(&mut tcp, 7, 4999, 1, 90, &mut heard);
    push(&mut tcp, 7, 5000, 10, 100, &mut heard);
    assert!(push(&mut tcp, 7, 5009, 0, 110, &mut heard).keepalive);
    assert!(push(&mut tcp, 7, 5009, 1, 120, &mut heard).keepalive);
    assert_eq!(heard, ["Gap(? bytes, late_attach) at 100", "Data(10 bytes) at 100"]);
    assert_eq!(push(&mut tcp, 7, 4000, 500, 130, &mut heard).again, 500);
}

#[test]
fn an_end_is_one_once_all_before_it_came() {
    let (mut tcp, mut heard) = (TcpReassembler::default(), Vec::new());
    tcp.push(&syn(3), &mut |_, _| {});
    let fin = TcpSegment { at: Ns(50), seq: 24, fin: true, ..bare() };
    tcp.push(&fin, &mut |_, _| {});
    assert_eq!(tcp.ended(), None);
    push(&mut tcp, 3, 0, 20, 60, &mut heard);
    assert_eq!(tcp.ended(), Some(Ns(50)));
    tcp.push(&TcpSegment { at: Ns(70), ..fin }, &mut |_, _| {});
    assert_eq!(tcp.ended(), Some(Ns(50)), "a retransmitted end is the same end");
}

#[test]
fn a_reset_counts_at_the_next_byte_only() {
    let (mut tcp, mut heard) = (TcpReassembler::default(), Vec::new());
    tcp.push(&syn(3), &mut |_, _| {});
    push(&mut tcp, 3, 0, 20, 60, &mut heard);
    let rst = TcpSegment { at: Ns(70), seq: 24, rst: true, ..bare() };
    for (seq, believed) in [(24, true), (25, false), (3, false), (24 + 5_000, false), (24 + (1 << 31), false)] {
        assert_eq!(tcp.push(&TcpSegment { seq, ..rst }, &mut |_, _| {}).reset, believed, "{seq}");
    }
    tcp.push(&TcpSegment { rst: false, fin: true, ..rst }, &mut |_, _| {});
    assert!(tcp.push(&TcpSegment { seq: 25, ..rst }, &mut |_, _| {}).reset, "behind the end");
    assert!(TcpReassembler::default().push(&rst, &mut |_, _| {}).reset, "nothing is known: refused connections");
}

#[test]
fn a_stray_segment_far_away_changes_nothing_but_a_lost_gigabyte_is_noticed() {
    let (mut tcp, mut heard) = (TcpReassembler::default(), Vec::new());
    tcp.push(&syn(3), &mut |_, _| {});
    push(&mut tcp, 3, 0, 20, 60, &mut heard);
    assert!(push(&mut tcp, 3, 1 << 30, 20, 70, &mut heard).strange);
    assert!(push(&mut tcp, 3, -(1 << 30), 20, 70, &mut heard).strange);
    assert_eq!(heard.len(), 1);
    for n in 0..4 {
        push(&mut tcp, 3, (1 << 30) + n * 100, 100, 80, &mut heard);
    }
    assert_eq!(heard, ["Data(20 bytes) at 60", "Gap(? bytes, ring_full) at 80", "Data(100 bytes) at 80"]);
}

#[test]
fn another_beginning_of_a_direction_that_has_begun_is_strange() {
    let (mut tcp, mut heard) = (TcpReassembler::default(), Vec::new());
    assert_eq!(tcp.push(&syn(3), &mut |_, _| {}), SegmentOutcome::default());
    assert_eq!(tcp.push(&syn(3), &mut |_, _| {}), SegmentOutcome::default(), "retransmitted");
    assert!(tcp.push(&syn(99), &mut |_, _| {}).strange);
    push(&mut tcp, 3, 0, 20, 60, &mut heard);
    assert_eq!(heard, ["Data(20 bytes) at 60"]);
}

#[test]
fn acknowledged_bytes_that_never_came_are_ours_to_miss() {
    let (mut tcp, mut heard) = (TcpReassembler::default(), Vec::new());
    tcp.push(&syn(3), &mut |_, _| {});
    push(&mut tcp, 3, 10, 10, 60, &mut heard);
    tcp.acknowledged(4, Ns(65), &mut |_, _| panic!("nothing is acknowledged"));
    tcp.acknowledged(24, Ns(70), &mut |chunk, _| heard.push(format!("{chunk:?}")));
    assert_eq!(heard, ["Gap(10 bytes, ring_full)", "Data(10 bytes)"]);
}

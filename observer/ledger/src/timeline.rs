//! The points of one stream, for `inspect stream ID`.
//!
//! A thousand open streams hold half a million points, so each is written down as what sets it
//! apart from the one before it: 9 to 14 bytes for those of ordinary streams, and not a nanosecond
//! is lost by that.

use super::varint::{self, go, way};
use capture::limits;
use capture::units::{Moment, Ns};
use dialects::DeltaKind;

/// One point of a stream's timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimelinePoint {
    /// On the arrival clock, where known.
    pub t_arrival: Option<Ns>,
    /// On the read clock.
    pub t_read: Ns,
    /// `visible`, `reasoning`, `tool`, `refusal`, `audio`, `keepalive`, `event`, `gap`; `record` of
    /// a shape. An event with several kinds of delta shows as the first of this list.
    pub kind: &'static str,
    /// Characters of its deltas of that kind.
    pub chars: u32,
    /// Bytes of the event's data; of a gap, the bytes lost (0 when unknown).
    pub bytes: u32,
    /// Bytes of the event on the wire (in the body).
    pub wire_bytes: u32,
}

/// What a point shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PointKind {
    Delta(DeltaKind),
    KeepAlive,
    #[default]
    Event,
    Gap,
    Record,
}

/// The kinds by the number they are written down as.
const KINDS: [PointKind; 9] = [
    PointKind::Delta(DeltaKind::Visible),
    PointKind::Delta(DeltaKind::Reasoning),
    PointKind::Delta(DeltaKind::Tool),
    PointKind::Delta(DeltaKind::Refusal),
    PointKind::Delta(DeltaKind::Audio),
    PointKind::KeepAlive,
    PointKind::Event,
    PointKind::Gap,
    PointKind::Record,
];

/// Stands in a kind's number: the arrival is known and follows.
const ARRIVED: u64 = 16;

impl PointKind {
    fn name(self) -> &'static str {
        match self {
            Self::Delta(DeltaKind::Visible) => "visible",
            Self::Delta(DeltaKind::Reasoning) => "reasoning",
            Self::Delta(DeltaKind::Tool) => "tool",
            Self::Delta(DeltaKind::Refusal) => "refusal",
            Self::Delta(DeltaKind::Audio) => "audio",
            Self::KeepAlive => "keepalive",
            Self::Event => "event",
            Self::Gap => "gap",
            Self::Record => "record",
        }
    }
}

/// A point that can still grow, or has just been read back.
#[derive(Clone, Copy, Debug, Default)]
struct RawPoint {
    read: Ns,
    arrival: Option<Ns>,
    kind: PointKind,
    chars: u32,
    bytes: u32,
    wire_bytes: u32,
}

/// The longest point: its kind, two stamps and three sizes.
const LONGEST: usize = 1 + 2 * varint::LONGEST + 3 * 5;

/// Room is asked for in steps, not doubled: half of a doubled buffer stands empty for the whole life of most streams.
const STEP: usize = 512;

/// The last points: `limits::TIMELINE` of them, and `limits::TIMELINE_BYTES` at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// All but the newest, the oldest first, behind `gone` bytes of such as are not kept any more.
    packed: Vec<u8>,
    gone: usize,
    /// How many.
    count: usize,
    /// From where the oldest one's stamp is counted.
    base: Ns,
    /// The stamp of the last packed one.
    last: Ns,
    newest: Option<RawPoint>,
    /// Older points, which are not kept.
    dropped: u64,
}

impl Timeline {
    pub(super) fn push(&mut self, at: Moment, kind: PointKind, chars: u64, bytes: u64, wire_bytes: u64) {
        let cap = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let point = RawPoint {
            read: at.at,
            arrival: at.arrival,
            kind,
            chars: cap(chars),
            bytes: cap(bytes),
            wire_bytes: cap(wire_bytes),
        };
        if let Some(before) = self.newest.replace(point) {
            self.pack(before);
        }
    }

    /// A piece of a body of sound. The pieces of one read are one point.
    pub(super) fn media(&mut self, at: Moment, bytes: u64) {
        let audio = PointKind::Delta(DeltaKind::Audio);
        match self.newest.as_mut().filter(|last| (last.read, last.kind) == (at.at, audio)) {
            Some(last) => {
                last.bytes = last.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
                last.wire_bytes = last.bytes;
            }
            None => self.push(at, audio, 0, bytes, bytes),
        }
    }

    /// Those kept, the oldest first.
    pub(super) fn points(&self) -> impl Iterator<Item = TimelinePoint> {
        let (mut bytes, mut last) = (self.kept().iter().copied(), self.base);
        let packed = std::iter::from_fn(move || {
            let point = unpack(&mut bytes, last)?;
            last = point.read;
            Some(point)
        });
        packed.chain(self.newest).map(|p| TimelinePoint {
            t_arrival: p.arrival,
            t_read: p.read,
            kind: p.kind.name(),
            chars: p.chars,
            bytes: p.bytes,
            wire_bytes: p.wire_bytes,
        })
    }

    /// How many points came before those kept.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes held beside itself, once it has been shrunk.
    pub(super) fn len(&self) -> usize {
        self.kept().len()
    }

    /// The stream ended: give back the spare room.
    pub(super) fn shrink(&mut self) {
        self.close_up();
        self.packed.shrink_to_fit();
    }

    /// Gives the points up.
    pub(super) fn clear(&mut self) {
        let dropped = self.dropped + self.count as u64 + u64::from(self.newest.is_some());
        *self = Timeline { dropped, ..Timeline::default() };
    }

    fn pack(&mut self, point: RawPoint) {
        while self.count + 1 >= limits::TIMELINE || self.len() + LONGEST > limits::TIMELINE_BYTES {
            self.drop_oldest();
        }
        self.make_room();
        let (kind, arrived) = (number(point.kind), if point.arrival.is_some() { ARRIVED } else { 0 });
        let sizes = [point.chars.into(), point.bytes.into(), way(point.bytes.into(), point.wire_bytes.into())];
        let (mut piece, mut length) = ([0; LONGEST], 0);
        let mut put = |number| {
            varint::put(number, |byte| {
                if let Some(place) = piece.get_mut(length) {
                    *place = byte;
                    length += 1;
                }
            });
        };
        put(kind | arrived);
        put(way(self.last.0, point.read.0));
        if let Some(arrival) = point.arrival {
            put(way(point.read.0, arrival.0));
        }
        sizes.into_iter().for_each(put);
        self.packed.extend_from_slice(piece.get(..length).unwrap_or_default());
        self.last = point.read;
        self.count += 1;
    }

    /// For one point more.
    fn make_room(&mut self) {
        if self.packed.capacity() - self.packed.len() >= LONGEST {
            return;
        }
        // Moving the kept bytes pays only once a good part of the room is behind them.
        if self.gone >= STEP / 2 {
            self.close_up();
        } else {
            self.packed.reserve_exact(STEP);
        }
    }

    fn close_up(&mut self) {
        self.packed.drain(..self.gone);
        self.gone = 0;
    }

    fn kept(&self) -> &[u8] {
        self.packed.get(self.gone..).unwrap_or_default()
    }

    fn drop_oldest(&mut self) {
        let mut bytes = self.kept().iter().copied();
        let oldest = unpack(&mut bytes, self.base);
        self.gone = self.packed.len() - bytes.len();
        self.base = oldest.map_or(self.last, |point| point.read);
        self.count = self.count.saturating_sub(1);
        self.dropped += 1;
    }
}

fn number(kind: PointKind) -> u64 {
    KINDS.iter().position(|known| *known == kind).map_or(0, |number| number as u64)
}

/// The next point; `last`: the stamp of the one before it.
fn unpack(bytes: &mut impl Iterator<Item = u8>, last: Ns) -> Option<RawPoint> {
    let first = varint::take(bytes)?;
    let kind = *KINDS.get(usize::try_from(first & !ARRIVED).ok()?)?;
    let mut next = || varint::take(bytes);
    let read = go(last.0, next()?);
    let arrival = if first & ARRIVED == 0 { None } else { Some(Ns(go(read, next()?))) };
    let (chars, size) = (next()?, next()?);
    let wire_bytes = go(size, next()?);
    let [chars, size, wire_bytes] = [chars, size, wire_bytes].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    Some(RawPoint { read: Ns(read), arrival, kind, chars, bytes: size, wire_bytes })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    type Pushed = (Moment, PointKind, u32, u32, u32);

    fn filled(points: &[Pushed]) -> Timeline {
        let mut timeline = Timeline::default();
        for &(at, kind, chars, bytes, wire) in points {
            timeline.push(at, kind, chars.into(), bytes.into(), wire.into());
            assert!(timeline.len() <= limits::TIMELINE_BYTES);
            assert!(timeline.packed.capacity() <= limits::TIMELINE_BYTES + 2 * STEP);
        }
        timeline
    }

    /// The points kept are the newest, and all of them is as it was pushed.
    fn same(timeline: &Timeline, pushed: &[Pushed]) {
        let kept: Vec<TimelinePoint> = timeline.points().collect();
        assert_eq!(kept.len() as u64 + timeline.dropped(), pushed.len() as u64);
        for (point, &(at, kind, chars, bytes, wire_bytes)) in kept.iter().rev().zip(pushed.iter().rev()) {
            let (t_arrival, t_read, kind) = (at.arrival, at.at, kind.name());
            assert_eq!(*point, TimelinePoint { t_arrival, t_read, kind, chars, bytes, wire_bytes });
        }
    }

    fn at(read: u64, arrival: Option<u64>) -> Moment {
        Moment { at: Ns(read), arrival: arrival.map(Ns), call: 0 }
    }

    /// A chunk every 150 ms, read 3 ms after it came, of 5 characters in 320 bytes.
    fn ordinary(count: u64) -> Vec<Pushed> {
        let chunk = |i| {
            let read = 5_000_000_000_000 + i * 150_000_000;
            let kind = PointKind::Delta(DeltaKind::Visible);
            (at(read, Some(read - 3_000_000)), kind, 5, 320, 335)
        };
        (0..count).map(chunk).collect()
    }

    #[test]
    fn of_an_ordinary_stream_all_points_up_to_the_cap_are_kept_in_a_third_of_the_room_that_they_would_take() {
        for count in [1, 2, 511, 512, 513, 5000] {
            let (pushed, kept) = (ordinary(count), limits::TIMELINE.min(usize::try_from(count).unwrap()));
            let timeline = filled(&pushed);
            same(&timeline, &pushed);
            assert_eq!(timeline.points().count(), kept);
            assert!(timeline.len() <= kept * 14, "{} bytes", timeline.len());
        }
    }

    #[test]
    fn points_as_large_as_can_be_are_held_in_the_same_room() {
        let stamps = [0, u64::MAX / 3, u64::MAX];
        let point = |i: usize| {
            let kind = KINDS[i % KINDS.len()];
            (
                at(stamps[i % 3], Some(stamps[(i + 1) % 3])),
                kind,
                u32::MAX,
                u32::MAX,
                u32::MAX * u32::from(i.is_multiple_of(2)),
            )
        };
        let pushed: Vec<Pushed> = (0..2000).map(point).collect();
        let timeline = filled(&pushed);
        same(&timeline, &pushed);
        assert!(timeline.points().count() > limits::TIMELINE_BYTES / LONGEST);
    }

    #[test]
    fn the_kinds_have_numbers_of_their_own() {
        let numbers: HashSet<u64> = KINDS.into_iter().map(number).collect();
        assert_eq!(numbers.len(), KINDS.len());
        assert!(numbers.iter().all(|number| *number < ARRIVED));
    }

    #[test]
    fn pieces_of_one_read_of_sound_are_one_point() {
        let mut timeline = Timeline::default();
        for (read, bytes) in [(5, 10), (5, 20), (9, 7), (9, u64::MAX)] {
            timeline.media(at(read, None), bytes);
        }
        let seen: Vec<(u64, u32, u32)> = timeline.points().map(|p| (p.t_read.0, p.bytes, p.wire_bytes)).collect();
        assert_eq!(seen, [(5, 30, 30), (9, u32::MAX, u32::MAX)]);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_was_pushed(
            points in proptest::collection::vec(
                (any::<u64>(), any::<Option<u64>>(), 0..KINDS.len(), any::<[u32; 3]>()), 0..700),
        ) {
            let pushed: Vec<Pushed> = points
                .into_iter()
                .map(|(read, arrival, kind, [chars, bytes, wire])| (at(read, arrival), KINDS[kind], chars, bytes, wire))
                .collect();
            same(&filled(&pushed), &pushed);
        }
    }
}

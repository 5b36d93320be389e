//! The points of one stream, for `inspect stream ID`.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use crate::dialect::DeltaKind;
use crate::limits;
use crate::units::{Moment, Ns};

/// One point of a stream's timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// On the arrival clock, where known.
    pub t_arrival: Option<Ns>,
    /// On the read clock.
    pub t_read: Ns,
    /// `visible`, `reasoning`, `tool`, `refusal`, `audio`, `keepalive`, `event`, `gap`; `record` of a shape. An event with several kinds of
    /// delta shows as the first of this list.
    pub kind: &'static str,
    /// Characters of its deltas of that kind.
    pub chars: u32,
    /// Bytes of the event's data; of a gap, the bytes lost (0 when unknown).
    pub bytes: u32,
    /// Bytes of the event on the wire (in the body).
    pub wire_bytes: u32,
}

/// What a point shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PointKind {
    Delta(DeltaKind),
    KeepAlive,
    Event,
    Gap,
    Record,
}

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

/// A point in 32 bytes: a thousand open streams hold half a million of them.
#[derive(Clone, Copy, Debug)]
struct Packed {
    read: Ns,
    arrival: Option<NonZeroU64>,
    chars: u32,
    bytes: u32,
    wire_bytes: u32,
    kind: PointKind,
}

const _: () = assert!(size_of::<Packed>() == 32);

/// The last `limits::TIMELINE` points.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    points: VecDeque<Packed>,
}

impl Timeline {
    pub(super) fn push(&mut self, at: Moment, kind: PointKind, chars: u64, bytes: u64, wire_bytes: u64) {
        if self.points.len() >= limits::TIMELINE {
            self.points.pop_front();
        }
        let cap = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        self.points.push_back(Packed {
            read: at.read,
            arrival: at.arrival.and_then(|ns| NonZeroU64::new(ns.0)),
            chars: cap(chars),
            bytes: cap(bytes),
            wire_bytes: cap(wire_bytes),
            kind,
        });
    }

    /// A piece of a body of sound. The pieces of one read are one point.
    pub(super) fn media(&mut self, at: Moment, bytes: u64) {
        let audio = PointKind::Delta(DeltaKind::Audio);
        match self.points.back_mut().filter(|last| (last.read, last.kind) == (at.read, audio)) {
            Some(last) => {
                last.bytes = last.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
                last.wire_bytes = last.bytes;
            }
            None => self.push(at, audio, 0, bytes, bytes),
        }
    }

    pub(super) fn points(&self) -> impl Iterator<Item = Point> {
        self.points.iter().map(|p| Point {
            t_arrival: p.arrival.map(|ns| Ns(ns.get())),
            t_read: p.read,
            kind: p.kind.name(),
            chars: p.chars,
            bytes: p.bytes,
            wire_bytes: p.wire_bytes,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The stream ended: give back the spare room.
    pub(super) fn shrink(&mut self) {
        self.points.shrink_to_fit();
    }

    pub(super) fn clear(&mut self) {
        self.points = VecDeque::new();
    }
}

//! When chunks, records and reads came, and the gaps and stalls between them.

use super::{PointKind, Stream};
use crate::conn::Path;
use crate::ledger::{Audience, Happening, Milestone, Stall};
use crate::limits;
use crate::units::Moment;

/// The events of one read so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) at: Moment,
    events: u32,
}

impl Stream {
    /// A TLS record of an answer that nobody can look into. `first`: it may be taken for the first there was.
    pub fn record(&mut self, bytes: u32, at: Moment, first: bool, path: Option<&Path>, audience: &mut dyn Audience) {
        self.entry.streaming = true;
        if first {
            self.reach(Milestone::Byte, at.read, audience);
        }
        self.entry.wire.records += 1;
        self.entry.wire.bytes += u64::from(bytes);
        self.timeline.push(at, PointKind::Record, 0, 0, u64::from(bytes));
        self.active(at.read);
        let last = self.last_chunk.replace(at);
        let gap = last.map(|last| at.read - last.read);
        let mut stalls = Vec::new();
        if let (Some(gap), Some(last)) = (gap, last) {
            self.entry.arrival_gaps.add(gap);
            stalls = self.stalls.gap(last, at, path, &self.entry.arrival_gaps);
        }
        audience.hear(Happening::Record { entry: &self.entry, gap: gap.map(|ns| ns as f64 / 1e9) });
        self.tell_stalls(stalls, audience);
    }

    pub(super) fn chunk(&mut self, at: Moment, chars: u64, path: Option<&Path>, audience: &mut dyn Audience) {
        let last = self.last_chunk.replace(at).filter(|_| !self.entry.live);
        let gap = last.map(|last| at.read - last.read);
        let arrived = last.and_then(|last| Some(at.arrival? - last.arrival?));
        self.entry.chunks += 1;
        let mut stalls = Vec::new();
        if let (Some(gap), Some(last)) = (gap, last) {
            self.entry.gaps.add(gap);
            stalls = self.stalls.gap(last, at, path, &self.entry.gaps);
        }
        if let Some(arrived) = arrived {
            self.entry.arrival_gaps.add(arrived);
        }
        audience.hear(Happening::Chunk {
            entry: &self.entry,
            gap: gap.map(|ns| ns as f64 / 1e9),
            arrival_gap: arrived.map(|ns| ns as f64 / 1e9),
            chars: u32::try_from(chars).unwrap_or(u32::MAX),
        });
        self.tell_stalls(stalls, audience);
    }

    /// The gap before an event of an API whose chunks are not known.
    pub(super) fn event_gap(&mut self, at: Moment) {
        let Some(last) = self.last_chunk.replace(at) else { return };
        self.entry.gaps.add(at.read - last.read);
        if let (Some(arrival), Some(before)) = (at.arrival, last.arrival) {
            self.entry.arrival_gaps.add(arrival - before);
        }
    }

    pub(super) fn tell_stalls(&mut self, stalls: Vec<Stall>, audience: &mut dyn Audience) {
        for stall in stalls {
            if self.entry.stalls.len() < limits::STALLS {
                self.entry.stalls.push(stall);
            } else {
                self.entry.note("more_stalls");
            }
            audience.hear(Happening::Stall { entry: &self.entry, stall });
        }
    }

    pub(super) fn batch(&mut self, at: Moment, audience: &mut dyn Audience) {
        if let Some(batch) = self.read.as_mut().filter(|batch| batch.at.call == at.call) {
            batch.events = batch.events.saturating_add(1);
            return;
        }
        self.flush_read(audience);
        self.entry.reads += 1;
        self.read = Some(Batch { at, events: 1 });
    }

    pub(super) fn flush_read(&mut self, audience: &mut dyn Audience) {
        if let Some(batch) = self.read.take() {
            // Of plain text only the arrival is known.
            let arrival = batch.at.arrival.filter(|_| !self.entry.arrival_only());
            let lag = arrival.map(|arrival| batch.at.read.seconds_since(arrival));
            audience.hear(Happening::Read { entry: &self.entry, events: batch.events, lag });
        }
    }
}

//! When chunks, records and reads came, and the gaps and stalls between them.

use super::{OpenCall, PointKind};
use crate::event::emit;
use crate::{AnswerStall, CallEventKind, CallMilestone, EventSink};
use capture::conn::NetworkPath;
use capture::limits;
use capture::units::Moment;

/// The events of one read so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadBatch {
    pub(super) at: Moment,
    events: u32,
}

impl OpenCall {
    /// A TLS record of an answer that nobody can look into. `first`: it may be taken for the first there was.
    pub fn record(
        &mut self,
        bytes: u32,
        at: Moment,
        first: bool,
        path: Option<&NetworkPath>,
        sink: &mut dyn EventSink,
    ) {
        self.entry.streaming = true;
        if first {
            self.reach(CallMilestone::Byte, at.at, sink);
        }
        self.entry.wire.records += 1;
        self.entry.wire.bytes += u64::from(bytes);
        self.timeline.push(at, PointKind::Record, 0, 0, u64::from(bytes));
        self.active(at.at);
        let last = self.last_chunk.replace(at);
        let gap = last.map(|last| at.at - last.at);
        let mut stalls = Vec::new();
        if let (Some(gap), Some(last)) = (gap, last) {
            self.entry.arrival_gaps.add(gap);
            stalls = self.stalls.gap(last, at, path, &self.entry.arrival_gaps);
        }
        emit(sink, &self.entry, CallEventKind::Record { gap: gap.map(|ns| ns as f64 / 1e9) });
        self.record_stalls(stalls, sink);
    }

    pub(super) fn chunk(&mut self, at: Moment, chars: u64, path: Option<&NetworkPath>, sink: &mut dyn EventSink) {
        let last = self.last_chunk.replace(at).filter(|_| !self.entry.live_input);
        let gap = last.map(|last| at.at - last.at);
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
        let seconds = |ns: u64| ns as f64 / 1e9;
        let chars = u32::try_from(chars).unwrap_or(u32::MAX);
        let (gap, arrival_gap) = (gap.map(seconds), arrived.map(seconds));
        emit(sink, &self.entry, CallEventKind::Chunk { gap, arrival_gap, chars });
        self.record_stalls(stalls, sink);
    }

    /// The gap before an event of an API whose chunks are not known.
    pub(super) fn event_gap(&mut self, at: Moment) {
        let Some(last) = self.last_chunk.replace(at) else { return };
        self.entry.gaps.add(at.at - last.at);
        if let (Some(arrival), Some(before)) = (at.arrival, last.arrival) {
            self.entry.arrival_gaps.add(arrival - before);
        }
    }

    pub(super) fn record_stalls(&mut self, stalls: Vec<AnswerStall>, sink: &mut dyn EventSink) {
        for stall in stalls {
            if self.entry.stalls.len() < limits::STALLS {
                self.entry.stalls.push(stall);
            } else {
                self.entry.note("more_stalls");
            }
            emit(sink, &self.entry, CallEventKind::Stall(stall));
        }
    }

    pub(super) fn batch(&mut self, at: Moment, sink: &mut dyn EventSink) {
        if let Some(batch) = self.read.as_mut().filter(|batch| batch.at.call == at.call) {
            batch.events = batch.events.saturating_add(1);
            return;
        }
        self.flush_read(sink);
        self.entry.reads += 1;
        self.read = Some(ReadBatch { at, events: 1 });
    }

    pub(super) fn flush_read(&mut self, sink: &mut dyn EventSink) {
        if let Some(batch) = self.read.take() {
            // Of plain text only the arrival is known.
            let arrival = batch.at.arrival.filter(|_| !self.entry.arrival_only());
            let lag = arrival.map(|arrival| batch.at.at.seconds_since(arrival));
            emit(sink, &self.entry, CallEventKind::Read { events: batch.events, lag });
        }
    }
}

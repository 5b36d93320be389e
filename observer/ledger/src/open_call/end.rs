//! How a call ended.

use super::OpenCall;
use crate::event::emit;
use crate::{CallEventKind, CallMilestone, CallOutcome, EventSink};
use capture::proto::ExchangeEnd;
use capture::units::Ns;

impl OpenCall {
    /// The call is over.
    pub(crate) fn end(&mut self, how: ExchangeEnd, at: Ns, idle_limit: u64, sink: &mut dyn EventSink) {
        let outcome = self.outcome(how, at, idle_limit);
        if let Some(at) = self.sentence.finish().filter(|_| outcome == CallOutcome::Complete) {
            self.reach(CallMilestone::Sentence, at, sink);
        }
        self.flush_read(sink);
        let gaps = if self.entry.shape { &self.entry.arrival_gaps } else { &self.entry.gaps };
        let stalls = self.stalls.judge(gaps);
        self.record_stalls(stalls, sink);
        self.entry.outcome = Some(outcome);
        self.entry.ended = Some(self.marker.filter(|_| outcome == CallOutcome::Complete).unwrap_or(at));
        if self.entry.chunks >= 2 && self.whole && !self.entry.live_input {
            self.entry.head_burst_ratio = Some(self.burst_chars as f64 / self.entry.visible_chars as f64);
        }
        self.entry.gaps.freeze();
        self.entry.arrival_gaps.freeze();
        self.timeline.shrink();
        emit(sink, &self.entry, CallEventKind::Closed);
    }

    /// How the call ended, as one of the outcomes. What the provider said goes before how the
    /// connection ended: SDKs close the socket right after the end marker.
    fn outcome(&self, how: ExchangeEnd, at: Ns, idle_limit: u64) -> CallOutcome {
        if self.entry.shape {
            return shape_outcome(how);
        }
        let whole_body = how == ExchangeEnd::Complete && (self.media_body || !self.entry.streaming);
        match self.entry.status {
            Some(400..) => return CallOutcome::HttpError,
            _ if self.error_seen => return CallOutcome::ErrorEvent,
            Some(_) if self.marker.is_some() || whole_body => return CallOutcome::Complete,
            _ if self.marker.is_some() => return CallOutcome::Complete,
            _ if self.tail_lost.is_some() => return CallOutcome::Lost,
            _ => {}
        }
        match how {
            ExchangeEnd::Complete | ExchangeEnd::PeerClosed => CallOutcome::Truncated,
            ExchangeEnd::Reset => CallOutcome::Reset,
            ExchangeEnd::LocalClosed if at - self.entry.last_read >= idle_limit => CallOutcome::IdleTimeout,
            ExchangeEnd::LocalClosed => CallOutcome::ClientCancel,
            ExchangeEnd::ProcessExit => CallOutcome::ProcessExit,
            ExchangeEnd::Lost => CallOutcome::Lost,
        }
    }
}

/// Of a shape nothing is known but how its connection went on.
fn shape_outcome(how: ExchangeEnd) -> CallOutcome {
    match how {
        ExchangeEnd::Complete => CallOutcome::Complete,
        ExchangeEnd::Reset => CallOutcome::Reset,
        ExchangeEnd::LocalClosed => CallOutcome::ClientCancel,
        ExchangeEnd::ProcessExit => CallOutcome::ProcessExit,
        ExchangeEnd::PeerClosed | ExchangeEnd::Lost => CallOutcome::Lost,
    }
}

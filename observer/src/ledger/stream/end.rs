//! How a call ended.

use super::Stream;
use crate::ledger::{Audience, Happening, Milestone, Outcome};
use crate::proto::End;
use crate::units::Ns;

impl Stream {
    /// The call is over.
    pub(in crate::ledger) fn end(&mut self, how: End, at: Ns, idle_limit: u64, audience: &mut dyn Audience) {
        let outcome = self.outcome(how, at, idle_limit);
        if let Some(at) = self.sentence.finish().filter(|_| outcome == Outcome::Complete) {
            self.reach(Milestone::Sentence, at, audience);
        }
        self.flush_read(audience);
        let gaps = if self.entry.shape { &self.entry.arrival_gaps } else { &self.entry.gaps };
        let stalls = self.stalls.judge(gaps);
        self.tell_stalls(stalls, audience);
        self.entry.outcome = Some(outcome);
        self.entry.ended = Some(self.marker.filter(|_| outcome == Outcome::Complete).unwrap_or(at));
        if self.entry.chunks >= 2 && self.whole && !self.entry.live {
            self.entry.head_burst_ratio = Some(self.burst_chars as f64 / self.entry.visible_chars as f64);
        }
        self.entry.gaps.freeze();
        self.entry.arrival_gaps.freeze();
        self.timeline.shrink();
        audience.hear(Happening::Closed(&self.entry));
    }

    /// The taxonomy of interface.md. What the provider said goes before how the connection ended: SDKs close the
    /// socket right after the end marker.
    fn outcome(&self, how: End, at: Ns, idle_limit: u64) -> Outcome {
        if self.entry.shape {
            return shape_outcome(how);
        }
        let whole_body = how == End::Complete && (self.media_body || !self.entry.streaming);
        match self.entry.status {
            Some(400..) => return Outcome::HttpError,
            _ if self.error_seen => return Outcome::ErrorEvent,
            Some(_) if self.marker.is_some() || whole_body => return Outcome::Complete,
            _ if self.marker.is_some() => return Outcome::Complete,
            _ if self.tail_lost.is_some() => return Outcome::Lost,
            _ => {}
        }
        match how {
            End::Complete | End::PeerClosed => Outcome::Truncated,
            End::Reset => Outcome::Reset,
            End::LocalClosed if at - self.entry.last_read >= idle_limit => Outcome::IdleTimeout,
            End::LocalClosed => Outcome::ClientCancel,
            End::ProcessExit => Outcome::ProcessExit,
            End::Lost => Outcome::Lost,
        }
    }
}

/// Of a shape nothing is known but how its connection went on.
fn shape_outcome(how: End) -> Outcome {
    match how {
        End::Complete => Outcome::Complete,
        End::Reset => Outcome::Reset,
        End::LocalClosed => Outcome::ClientCancel,
        End::ProcessExit => Outcome::ProcessExit,
        End::PeerClosed | End::Lost => Outcome::Lost,
    }
}
